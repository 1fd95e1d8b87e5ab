// Attention of every position to every other on tensor cores, with f32's accuracy: each number is the sum of two bf16
// ones, and three of the four products of halves are summed. Scores never leave the registers.

#include "split.cuh"

// Queries, keys and values out of one product's results [parts][entries * positions][3 * heads * D], queries and keys
// rotated by their positions' angles (pairs of neighbours), queries also times `scale`; as bf16 halves
// [query, key, value][high, low][entries][heads][positions][D]. A thread has two pairs.
extern "C" __global__ void attention_split(const float* numbers, const float* unscale, const float* cosines,
                                           const float* sines, bits16* split, long long apart, int positions,
                                           int heads, int head_dim, float scale) {
    const int width = heads * head_dim;
    const long long row = blockIdx.x;
    const long long entry = row / positions, position = row % positions;
    const long long size = (long long)gridDim.x * width;
    const float inverse = unscale[row];
    for (int i = 4 * threadIdx.x; i < 3 * width; i += 4 * blockDim.x) {
        float4 x = *reinterpret_cast<const float4*>(numbers + row * 3 * width + i);
        if (apart) {
            const float4 y = *reinterpret_cast<const float4*>(numbers + apart + row * 3 * width + i);
            x.x += y.x, x.y += y.y, x.z += y.z, x.w += y.w;
        }
        const int which = i / width, channel = i % width, head = channel / head_dim, place = channel % head_dim;
        float factor = inverse;
        if (which == 0) factor *= scale;
        x.x *= factor, x.y *= factor, x.z *= factor, x.w *= factor;
        if (which < 2) {
            const long long angle = position * (head_dim / 2) + place / 2;
            const float2 c = *reinterpret_cast<const float2*>(cosines + angle);
            const float2 s = *reinterpret_cast<const float2*>(sines + angle);
            x = make_float4(x.x * c.x - x.y * s.x, x.x * s.x + x.y * c.x, x.z * c.y - x.w * s.y, x.z * s.y + x.w * c.y);
        }
        uint2 high, low;
        split_brain(x.x, x.y, high.x, low.x);
        split_brain(x.z, x.w, high.y, low.y);
        bits16* to = split + 2 * which * size + ((entry * heads + head) * positions + position) * head_dim + place;
        *reinterpret_cast<uint2*>(to) = high;
        *reinterpret_cast<uint2*>(to + size) = low;
    }
}

// To 2 units in the last place; 0 where that is below the smallest normal number.
__device__ inline float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// KEYS rows of D numbers of keys and of values, each as two halves, in shared memory, rows 16 bytes apart from each other.
template <int D, int KEYS>
struct Stage {
    static constexpr int ROW = D + 8;
    bits16 rows[4][KEYS][ROW];

    template <int THREADS>
    __device__ void load(const bits16* keys, long long size, int first, int positions) {
        constexpr int PIECES = D / 8, AT_ONCE = THREADS / PIECES;  // rows that all threads have together
        static_assert(THREADS % PIECES == 0 && KEYS % AT_ONCE == 0, "threads share the rows equally");
        const int row = threadIdx.x / PIECES, piece = 8 * (threadIdx.x % PIECES);
        const bits16* from = keys + (long long)(first + row) * D + piece;
#pragma unroll
        for (int which = 0; which < 4; which++) {
#pragma unroll
            for (int i = 0; i < KEYS; i += AT_ONCE) {
                const bool there = first + row + i < positions;
                fetch(&rows[which][row + i][piece], there ? from + i * D : keys, there);
            }
            from += size;
        }
    }
};

// A block has as many queries of one head of one entry as its warps have contiguous_aligned, each TALL times 16. `split` is what
// attention_split makes; `scale` held log2(e), so that weights are powers of two. out is [entries][positions][heads][D].
template <int D, int KEYS, int TALL, int WARPS>
__device__ void attention(const bits16* split, float* out, int positions, int heads) {
    extern __shared__ __align__(16) unsigned char memory[];
    Stage<D, KEYS>* stages = reinterpret_cast<Stage<D, KEYS>*>(memory);
    constexpr int STEPS = D / 16;
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const long long size = (long long)gridDim.y * positions * D;
    const bits16* queries = split + (long long)blockIdx.y * positions * D;
    const bits16* keys = queries + 2 * size;

    const int first = (blockIdx.x * WARPS + warp) * TALL * 16 + lane / 4;
    bits32 query[2][TALL][STEPS][4];
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int t = 0; t < TALL; t++) {
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int row = first + t * 16 + i % 2 * 8;
                    const int column = step * 16 + i / 2 * 8 + lane % 4 * 2;
                    const bits16* from = queries + half * size + (long long)row * D + column;
                    query[half][t][step][i] = row < positions ? *reinterpret_cast<const bits32*>(from) : 0u;
                }
            }
        }
    }

    float found[TALL][D / 8][4] = {};
    float most[TALL][2], sums[TALL][2];
#pragma unroll
    for (int t = 0; t < TALL; t++) most[t][0] = most[t][1] = -INFINITY, sums[t][0] = sums[t][1] = 0.0f;

    const int tiles = (positions + KEYS - 1) / KEYS;
    stages[0].template load<WARPS * LANES>(keys, size, 0, positions);
    fetch_end();
    for (int tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) {
            stages[(tile + 1) % 2].template load<WARPS * LANES>(keys, size, (tile + 1) * KEYS, positions);
        }
        fetch_end();
        fetched_but<1>();
        __syncthreads();
        const Stage<D, KEYS>& stage = stages[tile % 2];

        float scores[TALL][KEYS / 8][4] = {};
        const int key_row = lane / 16 * 8 + lane % 8, key_column = lane / 8 % 2 * 8;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            bits32 key[2][KEYS / 16][4];
#pragma unroll
            for (int half = 0; half < 2; half++) {
#pragma unroll
                for (int pair = 0; pair < KEYS / 16; pair++) {
                    load_matrices(key[half][pair], &stage.rows[half][pair * 16 + key_row][step * 16 + key_column]);
                }
            }
            // high · low, low · high, high · high.
#pragma unroll
            for (int product = 0; product < 3; product++) {
#pragma unroll
                for (int i = 0; i < KEYS / 8; i++) {
                    const bits32(&k)[4] = key[product == 0][i / 2];
#pragma unroll
                    for (int t = 0; t < TALL; t++) {
                        multiply(scores[t][i], query[product == 1][t][step], k[i % 2 * 2], k[i % 2 * 2 + 1]);
                    }
                }
            }
        }

        if ((tile + 1) * KEYS > positions) {
#pragma unroll
            for (int i = 0; i < KEYS / 8; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    if (tile * KEYS + i * 8 + lane % 4 * 2 + j % 2 < positions) continue;
#pragma unroll
                    for (int t = 0; t < TALL; t++) scores[t][i][j] = -INFINITY;
                }
            }
        }
        float shrink[TALL][2];
        bits32 weight[2][TALL][KEYS / 16][4];
#pragma unroll
        for (int t = 0; t < TALL; t++) {
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float largest = most[t][r];
#pragma unroll
                for (int i = 0; i < KEYS / 8; i++) {
                    largest = fmaxf(largest, fmaxf(scores[t][i][2 * r], scores[t][i][2 * r + 1]));
                }
                largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
                largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 2));
                shrink[t][r] = power_of_two(most[t][r] - largest);
                most[t][r] = largest;
                float sum = 0.0f;
#pragma unroll
                for (int i = 0; i < KEYS / 8; i++) {
#pragma unroll
                    for (int j = 0; j < 2; j++) {
                        scores[t][i][2 * r + j] = power_of_two(scores[t][i][2 * r + j] - largest);
                        sum += scores[t][i][2 * r + j];
                    }
                }
                sums[t][r] = sums[t][r] * shrink[t][r] + sum;
            }
#pragma unroll
            for (int block = 0; block < KEYS / 16; block++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float(&from)[4] = scores[t][2 * block + i / 2];
                    split_brain(from[i % 2 * 2], from[i % 2 * 2 + 1], weight[0][t][block][i], weight[1][t][block][i]);
                }
            }
        }

        const int value_row = lane / 8 % 2 * 8 + lane % 8, value_column = lane / 16 * 8;
        constexpr int GROUP = STEPS < 4 / TALL ? STEPS : 4 / TALL;  // pairs of columns whose sums are made in turn
#pragma unroll
        for (int group = 0; group < STEPS; group += GROUP) {
            // What this tile adds is summed on its own: tensor cores cut off what they add, and that would pile up.
            float added[TALL][2 * GROUP][4] = {};
#pragma unroll
            for (int block = 0; block < KEYS / 16; block++) {
                bits32 value[2][GROUP][4];
#pragma unroll
                for (int half = 0; half < 2; half++) {
#pragma unroll
                    for (int pair = 0; pair < GROUP; pair++) {
                        const int column = (group + pair) * 16 + value_column;
                        load_matrices_transposed(value[half][pair],
                                                 &stage.rows[2 + half][block * 16 + value_row][column]);
                    }
                }
#pragma unroll
                for (int product = 0; product < 3; product++) {
#pragma unroll
                    for (int i = 0; i < 2 * GROUP; i++) {
                        const bits32(&v)[4] = value[product == 0][i / 2];
#pragma unroll
                        for (int t = 0; t < TALL; t++) {
                            multiply(added[t][i], weight[product == 1][t][block], v[i % 2 * 2], v[i % 2 * 2 + 1]);
                        }
                    }
                }
            }
#pragma unroll
            for (int t = 0; t < TALL; t++) {
#pragma unroll
                for (int i = 0; i < 2 * GROUP; i++) {
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        float& to = found[t][2 * group + i][j];
                        to = to * shrink[t][j / 2] + added[t][i][j];
                    }
                }
            }
        }
        __syncthreads();
    }

    const int entry = blockIdx.y / heads, head = blockIdx.y % heads;
#pragma unroll
    for (int t = 0; t < TALL; t++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            sums[t][r] += __shfl_xor_sync(ALL_LANES, sums[t][r], 1);
            sums[t][r] += __shfl_xor_sync(ALL_LANES, sums[t][r], 2);
            const float inverse = 1.0f / sums[t][r];
            const int row = first + t * 16 + r * 8;
            if (row >= positions) continue;
            float* to = out + (((long long)entry * positions + row) * heads + head) * D + lane % 4 * 2;
#pragma unroll
            for (int i = 0; i < D / 8; i++) {
                *reinterpret_cast<float2*>(to + i * 8) =
                    make_float2(found[t][i][2 * r] * inverse, found[t][i][2 * r + 1] * inverse);
            }
        }
    }
}

#define ATTENTION(NAME, D, KEYS, TALL, WARPS, BLOCKS)                                                                  \
    extern "C" __global__ void __launch_bounds__(WARPS* LANES, BLOCKS)                                                 \
        NAME(const bits16* split, float* out, int positions, int heads) {                                              \
        attention<D, KEYS, TALL, WARPS>(split, out, positions, heads);                                                        \
    }
ATTENTION(attention_16, 16, 64, 1, 4, 4)
ATTENTION(attention_32, 32, 64, 1, 4, 4)
ATTENTION(attention_64, 64, 64, 1, 4, 3)
ATTENTION(attention_128, 128, 32, 1, 4, 2)
