// Kernels of our own for NVIDIA GPUs, where candle's operations read and write the same numbers many times over.
// Rows lie one after the other; every index that may pass 2^31 is 64 bits wide.

#include <cuda_fp16.h>

// Convolution over rows with few channels, as the upper levels of a vocoder have them.
//
// out[r][o] = sum over taps t and inputs c of in[r - (taps - 1 - t) * step][c] * weight[o][t][c]; rows beyond either end
// are zero. A block computes GROUP outputs of many rows; its weights lie in shared memory, [t][c][GROUP].
template <int GROUP>
__device__ void taps_forward(const float* in, const float* weight, float* out, long long rows, int inputs, int outputs,
                             int taps, long long step) {
    extern __shared__ float shared[];
    const int first = blockIdx.y * GROUP;
    const int width = taps * inputs;
    for (int i = threadIdx.x; i < width * GROUP; i += blockDim.x) {
        shared[i] = weight[(long long)(first + i % GROUP) * width + i / GROUP];
    }
    __syncthreads();
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long row = (long long)blockIdx.x * blockDim.x + threadIdx.x; row < rows; row += threads) {
        float sums[GROUP];
        for (int o = 0; o < GROUP; o++) sums[o] = 0.0f;
        for (int tap = 0; tap < taps; tap++) {
            const long long seen = row - (taps - 1 - tap) * step;
            if (seen < 0 || seen >= rows) continue;
            const float* x = in + seen * inputs;
            const float* w = shared + tap * inputs * GROUP;
            if (inputs % 4 == 0) {
                for (int c = 0; c < inputs; c += 4) {
                    const float4 four = *reinterpret_cast<const float4*>(x + c);
                    for (int o = 0; o < GROUP; o++) {
                        sums[o] += four.x * w[c * GROUP + o];
                        sums[o] += four.y * w[(c + 1) * GROUP + o];
                        sums[o] += four.z * w[(c + 2) * GROUP + o];
                        sums[o] += four.w * w[(c + 3) * GROUP + o];
                    }
                }
            } else {
                for (int c = 0; c < inputs; c++) {
                    for (int o = 0; o < GROUP; o++) sums[o] += x[c] * w[c * GROUP + o];
                }
            }
        }
        for (int o = 0; o < GROUP; o++) out[row * outputs + first + o] = sums[o];
    }
}

#define TAPS_FORWARD(GROUP)                                                                                            \
    extern "C" __global__ void taps_forward_##GROUP(const float* in, const float* weight, float* out, long long rows,  \
                                                    int inputs, int outputs, int taps, long long step) {               \
        taps_forward<GROUP>(in, weight, out, rows, inputs, outputs, taps, step);                                       \
    }
TAPS_FORWARD(12)
TAPS_FORWARD(4)
TAPS_FORWARD(1)

// The gradient of that convolution's weight, as one part for each chunk of rows, so that sums have an order:
// parts[chunk][o][t][c] = sum over the chunk's rows of in[r - (taps - 1 - t) * step][c] * gradient[r][o], step > 0.
//
// A block is one chunk and one tap. Its threads share the pairs of C inputs and O outputs, and as many slices of the rows
// as there are threads for.
template <int C, int O>
__device__ void taps_gradient(const float* in, const float* gradient, float* parts, long long rows, int inputs,
                              int outputs, int taps, long long step, long long chunk) {
    extern __shared__ float shared[];
    const int tap = blockIdx.y;
    const int across = inputs / C;
    const int pairs = across * (outputs / O);
    const int slices = blockDim.x / pairs;
    const int pair = threadIdx.x % pairs;
    const int slice = threadIdx.x / pairs;
    const int c = (pair % across) * C;
    const int o = (pair / across) * O;
    const int both = inputs * outputs;
    if (slice < slices) {
        float sums[C][O];
        for (int i = 0; i < C; i++) {
            for (int j = 0; j < O; j++) sums[i][j] = 0.0f;
        }
        const long long shift = (taps - 1 - tap) * step;
        const long long begin = blockIdx.x * chunk;
        const long long end = begin + chunk < rows ? begin + chunk : rows;
        for (long long row = begin + slice; row < end; row += slices) {
            if (row < shift) continue;
            const float* x = in + (row - shift) * inputs + c;
            const float* g = gradient + row * outputs + o;
            for (int i = 0; i < C; i++) {
                const float number = x[i];
                for (int j = 0; j < O; j++) sums[i][j] += number * g[j];
            }
        }
        for (int i = 0; i < C; i++) {
            for (int j = 0; j < O; j++) shared[slice * both + (c + i) * outputs + o + j] = sums[i][j];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < both; i += blockDim.x) {
        float sum = 0.0f;
        for (int s = 0; s < slices; s++) sum += shared[s * both + i];
        const long long output = i % outputs;
        parts[((blockIdx.x * (long long)outputs + output) * taps + tap) * inputs + i / outputs] = sum;
    }
}

#define TAPS_GRADIENT(C, O)                                                                                            \
    extern "C" __global__ void taps_gradient_##C##_##O(const float* in, const float* gradient, float* parts,           \
                                                       long long rows, int inputs, int outputs, int taps,              \
                                                       long long step, long long chunk) {                              \
        taps_gradient<C, O>(in, gradient, parts, rows, inputs, outputs, taps, step, chunk);                            \
    }
TAPS_GRADIENT(4, 4)
TAPS_GRADIENT(4, 1)
TAPS_GRADIENT(1, 4)
TAPS_GRADIENT(1, 1)

// x where x is positive, slope * x elsewhere; and the gradient of that.
extern "C" __global__ void prelu_forward(const float* in, float* out, long long count, float slope) {
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += threads) {
        const float x = in[i];
        out[i] = x > 0.0f ? x : slope * x;
    }
}

extern "C" __global__ void prelu_gradient(const float* in, const float* gradient, float* out, long long count,
                                          float slope) {
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += threads) {
        out[i] = in[i] > 0.0f ? gradient[i] : slope * gradient[i];
    }
}

// Rows in 32 bits times a weight held in 16: products and sums are 32 bits wide, and a row's result does not depend on
// the rows beside it. A warp computes one output of up to ROWS rows and reads the weight once for them.
//
// out[r][o] = sum over i of in[r][i] * weight[o][i]; inputs are a multiple of 4.
constexpr int ROWS = 8;
constexpr int WARP = 32;

__device__ inline float widened(unsigned short bits, bool brain) {
    if (brain) return __uint_as_float((unsigned int)bits << 16);
    return __half2float(__ushort_as_half(bits));
}

template <bool BRAIN>
__device__ void product_narrow(const float* in, const unsigned short* weight, float* out, int rows, int inputs,
                               int outputs) {
    const int lane = threadIdx.x % WARP;
    const int output = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    const int first = blockIdx.y * ROWS;
    const int count = rows - first < ROWS ? rows - first : ROWS;
    if (output >= outputs) return;  // a whole warp, for a warp has one output
    const unsigned short* w = weight + (long long)output * inputs;
    float sums[ROWS];
    for (int r = 0; r < ROWS; r++) sums[r] = 0.0f;
    for (int i = 4 * lane; i < inputs; i += 4 * WARP) {
        const ushort4 four = *reinterpret_cast<const ushort4*>(w + i);
        const float a = widened(four.x, BRAIN), b = widened(four.y, BRAIN);
        const float c = widened(four.z, BRAIN), d = widened(four.w, BRAIN);
        for (int r = 0; r < ROWS; r++) {
            if (r < count) {
                const float4 x = *reinterpret_cast<const float4*>(in + (long long)(first + r) * inputs + i);
                sums[r] += x.x * a + x.y * b + x.z * c + x.w * d;
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        float sum = sums[r];
        for (int far = WARP / 2; far > 0; far /= 2) sum += __shfl_xor_sync(0xffffffff, sum, far);
        if (lane == 0 && r < count) out[(long long)(first + r) * outputs + output] = sum;
    }
}

extern "C" __global__ void product_bf16(const float* in, const unsigned short* weight, float* out, int rows, int inputs,
                                        int outputs) {
    product_narrow<true>(in, weight, out, rows, inputs, outputs);
}

extern "C" __global__ void product_f16(const float* in, const unsigned short* weight, float* out, int rows, int inputs,
                                       int outputs) {
    product_narrow<false>(in, weight, out, rows, inputs, outputs);
}
