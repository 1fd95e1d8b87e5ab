// Convolutions over time on tensor cores with f32's accuracy, whose products find their rows where they lie: numbers are the
// sums of two bf16 halves. A row's result does not depend on how many rows are beside it.

#include "split.cuh"

constexpr int DEEP = 32;        // numbers of a row that are multiplied before their sum is added to the others
constexpr int WIDE = DEEP + 8;  // and how far rows are apart in shared memory, so that eight of them meet no bank twice
constexpr int SOONER = 8;       // tiles whose products tensor cores sum themselves; what they add they cut off
constexpr int STAGES = 2;       // tiles that are in shared memory or on their way there: with few, more blocks have room

struct Convolution {
    const bits16* old_rows;  // the rows before the first, as halves [high, low][olds][inputs]: row -1 is the last of them
    const bits16* rows;      // [high, low][count][inputs], inputs a multiple of 8
    const bits16* weight;    // [depth / DEEP][high, low][outputs][DEEP]: what is read together is contiguous
    const float* bias;
    const float* add;  // added after the activation, where `adds`
    float* numbers;    // results in f32, where `wide`
    bits16* halves;    // results as halves, where `narrow`
    int count, olds, inputs, taps, outputs, depth;
    int first, step;    // tap t of row r is row r + first + t * step
    int batch, stride;  // a row of `stride` outputs one after the other becomes `stride` rows, `batch` beside each other
    int adds, wide, narrow, active;
    float slope;
};

template <int ROWS, int OUTPUTS>
struct ConvolutionStage {
    bits16 rows[2][ROWS][WIDE];
    bits16 weights[2][OUTPUTS][WIDE];
};

// Multiplies a tile: the high halves of this lane's rows begin at `rows`, the low ones `low_rows` behind them; likewise the weight's.
template <int TALL, int BROAD>
__device__ void multiply_tile(float (&added)[TALL][2 * BROAD][4], const bits16* rows, int low_rows, const bits16* weights,
                              int low_weights) {
#pragma unroll
    for (int step = 0; step < DEEP / 16; step++) {
        bits32 row[2][TALL][4], tap[2][BROAD][4];
#pragma unroll
        for (int half = 0; half < 2; half++) {
#pragma unroll
            for (int i = 0; i < TALL; i++) {
                load_matrices(row[half][i], rows + half * low_rows + i * 16 * WIDE + step * 16);
            }
#pragma unroll
            for (int j = 0; j < BROAD; j++) {
                load_matrices(tap[half][j], weights + half * low_weights + j * 16 * WIDE + step * 16);
            }
        }
        // high · low, low · high, high · high.
#pragma unroll
        for (int product = 0; product < 3; product++) {
#pragma unroll
            for (int j = 0; j < 2 * BROAD; j++) {
#pragma unroll
                for (int i = 0; i < TALL; i++) {
                    const bits32(&w)[4] = tap[product == 0][j / 2];
                    multiply(added[i][j], row[product == 1][i], w[j % 2 * 2], w[j % 2 * 2 + 1]);
                }
            }
        }
    }
}

// Adds what tensor cores have summed to the other sums.
template <int TALL, int BROAD>
__device__ void add_up(float (&sums)[TALL][2 * BROAD][4], float (&added)[TALL][2 * BROAD][4]) {
#pragma unroll
    for (int i = 0; i < TALL; i++) {
#pragma unroll
        for (int j = 0; j < 2 * BROAD; j++) {
#pragma unroll
            for (int k = 0; k < 4; k++) sums[i][j][k] += added[i][j][k], added[i][j][k] = 0.0f;
        }
    }
}

// Where a lane's rows of a tile in shared memory begin, and its part of the weight's, counted from a warp's first.
__device__ inline int lane_row() { return threadIdx.x % 16 * WIDE + threadIdx.x % LANES / 16 * 8; }
__device__ inline int lane_weight() {
    const int lane = threadIdx.x % LANES;
    return (lane / 16 * 8 + lane % 8) * WIDE + lane / 8 % 2 * 8;
}

// Writes a warp's results, the first of which is that of row `row_0` and output `output_0`.
template <int TALL, int BROAD>
__device__ void write_results(const Convolution& c, const float (&sums)[TALL][2 * BROAD][4], int row_0, int output_0) {
    const int lane = threadIdx.x % LANES;
    const int width = c.outputs / c.stride;
    const long long low_result = (long long)c.count * c.outputs;
    auto finished = [&](float x, int output, long long to) {
        x += c.bias[output];
        if (c.active && !(x > 0.0f)) x *= c.slope;
        if (c.adds) x += c.add[to];
        if (c.wide) c.numbers[to] = x;
        return x;
    };
#pragma unroll
    for (int i = 0; i < TALL; i++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = row_0 + i * 16 + lane / 4 + half * 8;
            if (row >= c.count) continue;
            const int time = row / c.batch, entry = row % c.batch;
#pragma unroll
            for (int j = 0; j < 2 * BROAD; j++) {
                const int output = output_0 + j * 8 + lane % 4 * 2;
                if (output >= c.outputs) continue;
                long long to = (long long)row * width + output;
                if (c.stride > 1) {
                    const int place = output / width;
                    to = (((long long)time * c.stride + place) * c.batch + entry) * width + output - place * width;
                }
                const float x = finished(sums[i][j][2 * half], output, to);
                if (!c.narrow) {
                    if (output + 1 < c.outputs) finished(sums[i][j][2 * half + 1], output + 1, to + 1);
                    continue;
                }
                // As halves a row has an even number of results.
                bits32 high, low;
                split_brain(x, finished(sums[i][j][2 * half + 1], output + 1, to + 1), high, low);
                *reinterpret_cast<bits32*>(c.halves + to) = high;
                *reinterpret_cast<bits32*>(c.halves + low_result + to) = low;
            }
        }
    }
}

// A block has ROWS x OUTPUTS results, one of its ACROSS x DOWN warps a part of them. How results are shared among blocks
// and warps does not change them: each is a sum of the products of halves in one order.
template <int ROWS, int OUTPUTS, int DOWN, int ACROSS>
__device__ void convolve(const Convolution& c) {
    extern __shared__ __align__(16) unsigned char memory[];
    using Stage = ConvolutionStage<ROWS, OUTPUTS>;
    Stage* stages = reinterpret_cast<Stage*>(memory);
    constexpr int THREADS = LANES * DOWN * ACROSS;
    constexpr int TALL = ROWS / DOWN / 16, BROAD = OUTPUTS / ACROSS / 16;  // 16 x 16 results of a warp
    const int warp = threadIdx.x / LANES;
    const int down = warp / ACROSS * TALL * 16, across = warp % ACROSS * BROAD * 16;
    const int row_0 = blockIdx.x * ROWS, output_0 = blockIdx.y * OUTPUTS;
    // A thread has one place of eight numbers in several rows: of the tile's rows and of its weight.
    constexpr int PIECES = DEEP / 8, AT_ONCE = THREADS / PIECES;
    static_assert(ROWS % AT_ONCE == 0, "threads share the rows equally");
    static_assert(AT_ONCE >= OUTPUTS || OUTPUTS % AT_ONCE == 0, "threads share the weight equally");
    const int piece = 8 * (threadIdx.x % PIECES), line = threadIdx.x / PIECES;
    const bits16* weight = c.weight + (long long)(output_0 + line) * DEEP + piece;
    const long long low_weight = (long long)c.outputs * DEEP, low_row = (long long)c.count * c.inputs;

    // A row's source where it must be looked for: before the first row, behind the last, or in two taps.
    auto load_somewhere = [&](Stage& stage, int tile) {
        const int place = tile * DEEP + piece;
        const int tap = place / c.inputs, channel = place - tap * c.inputs;
        for (int row = line; row < ROWS; row += AT_ONCE) {
            const int source = row_0 + row + c.first + tap * c.step;
            const bool there = row_0 + row < c.count && tap < c.taps && source < c.count && source >= -c.olds;
            const bits16* from = source < 0 ? c.old_rows + (long long)(c.olds + source) * c.inputs
                                            : c.rows + (long long)source * c.inputs;
            const long long low = source < 0 ? (long long)c.olds * c.inputs : low_row;
            from = there ? from + channel : c.rows;
            fetch(&stage.rows[0][row][piece], from, there);
            fetch(&stage.rows[1][row][piece], there ? from + low : c.rows, there);
        }
    };
    const bool whole_taps = c.inputs % DEEP == 0 && row_0 + ROWS <= c.count;
    int next_tap = 0, next_channel = 0;
    auto load = [&](int tile) {
        Stage& stage = stages[tile % STAGES];
        const int shift = row_0 + c.first + next_tap * c.step;
        if (whole_taps && shift >= 0 && shift + ROWS <= c.count) {
            const bits16* from = c.rows + (long long)(shift + line) * c.inputs + next_channel + piece;
#pragma unroll
            for (int row = 0; row < ROWS; row += AT_ONCE) {
                fetch(&stage.rows[0][row + line][piece], from, true);
                fetch(&stage.rows[1][row + line][piece], from + low_row, true);
                from += AT_ONCE * c.inputs;
            }
        } else {
            load_somewhere(stage, tile);
        }
        next_channel += DEEP;
        if (next_channel >= c.inputs) next_channel -= c.inputs, next_tap++;
#pragma unroll
        for (int output = 0; output < OUTPUTS; output += AT_ONCE) {
            if (AT_ONCE > OUTPUTS && line >= OUTPUTS) break;
            const bool there = output_0 + line + output < c.outputs;
            const bits16* from = there ? weight + output * DEEP : c.weight;
            fetch(&stage.weights[0][line + output][piece], from, there);
            fetch(&stage.weights[1][line + output][piece], there ? from + low_weight : from, there);
        }
        weight += 2 * low_weight;
    };

    float sums[TALL][2 * BROAD][4] = {}, added[TALL][2 * BROAD][4] = {};

    const int tiles = c.depth / DEEP;
#pragma unroll
    for (int tile = 0; tile < STAGES - 1; tile++) {
        if (tile < tiles) load(tile);
        fetch_end();
    }
    for (int tile = 0; tile < tiles; tile++) {
        fetched_but<STAGES - 2>();
        __syncthreads();
        // The stage that is loaded now is the one that all have finished with before they came here.
        if (tile + STAGES - 1 < tiles) load(tile + STAGES - 1);
        fetch_end();
        const Stage& stage = stages[tile % STAGES];
        multiply_tile<TALL, BROAD>(added, &stage.rows[0][down][0] + lane_row(), ROWS * WIDE,
                                   &stage.weights[0][across][0] + lane_weight(), OUTPUTS * WIDE);
        if ((tile + 1) % SOONER == 0 || tile + 1 == tiles) add_up<TALL, BROAD>(sums, added);
    }
    write_results<TALL, BROAD>(c, sums, row_0 + down, output_0 + across);
}

#include "span.cuh"

#define ARGUMENTS                                                                                                      \
    const bits16 *old_rows, const bits16 *rows, const bits16 *weight, const float *bias, const float *add,             \
        float *numbers, bits16 *halves, int count, int olds, int inputs, int taps, int outputs, int depth, int first,  \
        int step, int batch, int stride, int adds, int wide, int narrow, int active, float slope
#define CONVOLUTION                                                                                                    \
    const Convolution convolution {                                                                                    \
        old_rows, rows, weight, bias, add, numbers, halves, count, olds, inputs, taps, outputs, depth, first, step,    \
            batch, stride, adds, wide, narrow, active, slope                                                           \
    }
#define CONVOLVE(NAME, ROWS, OUTPUTS, DOWN, ACROSS)                                                                    \
    extern "C" __global__ void __launch_bounds__(LANES* DOWN* ACROSS) NAME(ARGUMENTS) {                                \
        CONVOLUTION;                                                                                                   \
        convolve<ROWS, OUTPUTS, DOWN, ACROSS>(convolution);                                                            \
    }
CONVOLVE(convolve_64_32, 64, 32, 2, 2)
CONVOLVE(convolve_64_64, 64, 64, 2, 2)
CONVOLVE(convolve_128_64, 128, 64, 4, 2)
CONVOLVE(convolve_256_16, 256, 16, 8, 1)

#define SPAN(NAME, ROWS, OUTPUTS, DOWN, ACROSS, WEIGHTS, BLOCKS)                                                       \
    extern "C" __global__ void __launch_bounds__(LANES* DOWN* ACROSS, BLOCKS) NAME(ARGUMENTS) {                        \
        CONVOLUTION;                                                                                                   \
        convolve_span<ROWS, OUTPUTS, DOWN, ACROSS, WEIGHTS>(convolution);                                              \
    }
SPAN(span_64_32, 64, 32, 2, 2, 3, 4)
SPAN(span_64_64, 64, 64, 2, 2, 2, 3)
SPAN(span_128_64, 128, 64, 4, 2, 2, 2)

// Rows in f32 as bf16 halves [high, low][count].
extern "C" __global__ void split_signal(const float* in, bits16* halves, long long count) {
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = 2 * ((long long)blockIdx.x * blockDim.x + threadIdx.x); i < count; i += 2 * threads) {
        bits32 high, low;
        split_brain(in[i], in[i + 1], high, low);
        *reinterpret_cast<bits32*>(halves + i) = high;
        *reinterpret_cast<bits32*>(halves + count + i) = low;
    }
}

// The last `kept` rows of those before and those behind the first, of both halves, eight numbers at a time: `old_rows` are
// [2][olds][inputs], `rows` [2][count][inputs], `last` [2][kept][inputs].
extern "C" __global__ void last_rows(const bits16* old_rows, const bits16* rows, bits16* last, int olds, int count, int kept,
                                     int inputs) {
    const int pieces = inputs / 8, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= 2 * kept * pieces) return;
    const int half = i / (kept * pieces), row = i / pieces % kept, piece = 8 * (i % pieces), source = count - kept + row;
    const bits16* from = source < 0 ? old_rows + ((long long)half * olds + olds + source) * inputs
                                    : rows + ((long long)half * count + source) * inputs;
    *reinterpret_cast<uint4*>(last + ((long long)half * kept + row) * inputs + piece) =
        *reinterpret_cast<const uint4*>(from + piece);
}

// Each place of `width` numbers `times` times, one after the other, eight numbers at a time.
extern "C" __global__ void repeat_places(const bits16* in, bits16* out, long long places, int width, int times) {
    const int pieces = width / 8;
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= places * times * pieces) return;
    const long long place = i / pieces;
    reinterpret_cast<uint4*>(out)[i] = reinterpret_cast<const uint4*>(in)[place / times * pieces + i % pieces];
}

// A weight in f32 [outputs][inputs] as bf16 halves [depth / DEEP][high, low][outputs][DEEP], with zeros from `inputs` on.
extern "C" __global__ void split_taps(const float* in, bits16* halves, int outputs, int inputs, int depth) {
    const long long size = (long long)outputs * depth;
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const long long output = i / depth, place = i % depth;
        const float x = place < inputs ? in[output * inputs + place] : 0.0f;
        const __nv_bfloat16 near = __float2bfloat16_rn(x);
        bits16* to = halves + (2 * (place / DEEP) * outputs + output) * DEEP + place % DEEP;
        to[0] = __bfloat16_as_ushort(near);
        to[(long long)outputs * DEEP] = __bfloat16_as_ushort(__float2bfloat16_rn(x - __bfloat162float(near)));
    }
}
