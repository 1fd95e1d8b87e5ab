// What lies between the products of a transformer whose rows are split for tensor cores: norms, gates, activations.
//
// A row that a product takes is two rows of f16, at `halves` and `halves + apart`, the next ones `stride` numbers on, times
// a power of two whose inverse is in `unscale`. A product's results are `parts` matrices, `apart` numbers from each other, whose sum times the row's
// `unscale` is meant. A block works on one row; the row lies in shared memory meanwhile.

#include "split.cuh"

extern __shared__ __align__(16) float row_memory[];

struct PartialResults {
    const float* numbers;
    long long apart;  // 0: there is one part
    const float* unscale;

    __device__ float4 four(long long place, float scale) const {
        float4 x = *reinterpret_cast<const float4*>(numbers + place);
        if (apart) {
            const float4 y = *reinterpret_cast<const float4*>(numbers + apart + place);
            x.x += y.x, x.y += y.y, x.z += y.z, x.w += y.w;
        }
        x.x *= scale, x.y *= scale, x.z *= scale, x.w *= scale;
        return x;
    }
};

__device__ inline float largest_of(float4 x) {
    return fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
}

// Writes the row in `row_memory` as halves. `largest` is this thread's.
__device__ inline void write_halves(float largest, int width, bits16* halves, int stride, long long apart,
                                    float* unscale) {
    const long long row = blockIdx.x;
    float inverse;
    const float scale = scale_of(block_largest(largest), inverse);
    if (threadIdx.x == 0) unscale[row] = inverse;
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        const float4 x = *reinterpret_cast<const float4*>(row_memory + i);
        uint2 high, low;
        split_half(x.x * scale, x.y * scale, high.x, low.x);
        split_half(x.z * scale, x.w * scale, high.y, low.y);
        *reinterpret_cast<uint2*>(halves + row * stride + i) = high;
        *reinterpret_cast<uint2*>(halves + apart + row * stride + i) = low;
    }
}

extern "C" __global__ void split_rows(const float* in, bits16* halves, float* unscale, int width, int stride,
                                      long long apart) {
    const long long row = blockIdx.x;
    float largest = 0.0f;
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        const float4 x = *reinterpret_cast<const float4*>(in + row * width + i);
        *reinterpret_cast<float4*>(row_memory + i) = x;
        largest = fmaxf(largest, largest_of(x));
    }
    write_halves(largest, width, halves, stride, apart, unscale);
}

// Rows of `taps` places in time side by side: each place of an entry's `positions` ones and those around it, with zeros beyond
// both ends. A place's channels lie in two tensors, the second of which may have none.
extern "C" __global__ void split_windows(const float* first, const float* second, bits16* halves, float* unscale,
                                         int first_width, int second_width, int positions, int taps, int stride,
                                         long long apart) {
    const int position = blockIdx.x % positions, width = first_width + second_width;
    float largest = 0.0f;
    for (int i = 4 * threadIdx.x; i < taps * width; i += 4 * blockDim.x) {
        const int away = i / width - taps / 2, channel = i % width;
        const long long row = (long long)blockIdx.x + away;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (position + away >= 0 && position + away < positions) {
            const float* from = channel < first_width ? first + row * first_width + channel
                                                      : second + row * second_width + channel - first_width;
            x = *reinterpret_cast<const float4*>(from);
        }
        *reinterpret_cast<float4*>(row_memory + i) = x;
        largest = fmaxf(largest, largest_of(x));
    }
    write_halves(largest, taps * width, halves, stride, apart, unscale);
}

// Divides the row in `row_memory`, whose squares this thread sums up to `squares` of, by the root of their mean, modulates it, and
// writes it as halves.
__device__ inline void write_norm(float squares, const float* weight, const float* shift, const float* scale,
                                  bits16* halves, float* unscale, int width, int stride, long long apart, float eps) {
    const float root = 1.0f / sqrtf(block_sum(squares) / width + eps);
    float largest = 0.0f;
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        float4 x = *reinterpret_cast<const float4*>(row_memory + i);
        const float4 w = *reinterpret_cast<const float4*>(weight + i);
        const float4 s = *reinterpret_cast<const float4*>(scale + i);
        const float4 b = *reinterpret_cast<const float4*>(shift + i);
        x.x = x.x * root * w.x * (1.0f + s.x) + b.x;
        x.y = x.y * root * w.y * (1.0f + s.y) + b.y;
        x.z = x.z * root * w.z * (1.0f + s.z) + b.z;
        x.w = x.w * root * w.w * (1.0f + s.w) + b.w;
        *reinterpret_cast<float4*>(row_memory + i) = x;
        largest = fmaxf(largest, largest_of(x));
    }
    write_halves(largest, width, halves, stride, apart, unscale);
}

// The norm by the root mean square of each row, times weight, then times 1 + scale plus shift: rows of `table`
// [entries][table_rows][width], an entry for every `positions` rows. Result as halves.
extern "C" __global__ void norm_split(const float* in, const float* weight, const float* table, bits16* halves,
                                      float* unscale, int width, int stride, long long apart, int positions,
                                      int table_rows, int shift_row, int scale_row, float eps) {
    const long long row = blockIdx.x;
    const float* entry = table + row / positions * table_rows * width;
    const float* shift = entry + shift_row * width;
    const float* scale = entry + scale_row * width;
    float squares = 0.0f;
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        const float4 x = *reinterpret_cast<const float4*>(in + row * width + i);
        *reinterpret_cast<float4*>(row_memory + i) = x;
        squares += x.x * x.x + x.y * x.y + (x.z * x.z + x.w * x.w);
    }
    write_norm(squares, weight, shift, scale, halves, unscale, width, stride, apart, eps);
}

// Rows minus their mean over the root of their variance, modulated as above, in f32.
extern "C" __global__ void layer_norm_modulated(const float* in, const float* table, float* out, int width, int positions,
                                              int table_rows, int shift_row, int scale_row, float eps) {
    const long long row = blockIdx.x;
    const float* entry = table + row / positions * table_rows * width;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        row_memory[i] = in[row * width + i];
        sum += row_memory[i];
    }
    const float mean = block_sum(sum) / width;
    float squares = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        row_memory[i] -= mean;
        squares += row_memory[i] * row_memory[i];
    }
    const float root = 1.0f / sqrtf(block_sum(squares) / width + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        out[row * width + i] = row_memory[i] * root * (1.0f + entry[scale_row * width + i]) + entry[shift_row * width + i];
    }
}

// x + y gate, y a product's results, the gate row `gate_row` of the table.
extern "C" __global__ void gated_sum_parts(const float* in, const float* numbers, const float* unscale,
                                           const float* table, float* out, long long apart, int width, int positions,
                                           int table_rows, int gate_row) {
    const long long row = blockIdx.x;
    const float* gate = table + (row / positions * table_rows + gate_row) * width;
    const PartialResults parts{numbers, apart, unscale};
    const float scale = unscale[row];
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        float4 x = *reinterpret_cast<const float4*>(in + row * width + i);
        const float4 y = parts.four(row * width + i, scale);
        const float4 g = *reinterpret_cast<const float4*>(gate + i);
        x.x += y.x * g.x, x.y += y.y * g.y, x.z += y.z * g.z, x.w += y.w * g.w;
        *reinterpret_cast<float4*>(out + row * width + i) = x;
    }
}

// Both one after the other: x + y gate is written, and its norm as halves.
extern "C" __global__ void gated_norm_split(const float* in, const float* numbers, const float* unscale_in,
                                            const float* gates, float* out, const float* weight, const float* table,
                                            bits16* halves, float* unscale, long long apart_in, int width, int stride,
                                            long long apart, int positions, int table_rows, int gate_row, int shift_row,
                                            int scale_row, float eps) {
    const long long row = blockIdx.x, entry = row / positions * table_rows;
    const float* gate = gates + (entry + gate_row) * width;
    const PartialResults parts{numbers, apart_in, unscale_in};
    const float scale_in = unscale_in[row];
    float squares = 0.0f;
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        float4 x = *reinterpret_cast<const float4*>(in + row * width + i);
        const float4 y = parts.four(row * width + i, scale_in);
        const float4 g = *reinterpret_cast<const float4*>(gate + i);
        x.x += y.x * g.x, x.y += y.y * g.y, x.z += y.z * g.z, x.w += y.w * g.w;
        *reinterpret_cast<float4*>(out + row * width + i) = x;
        *reinterpret_cast<float4*>(row_memory + i) = x;
        squares += x.x * x.x + x.y * x.y + (x.z * x.z + x.w * x.w);
    }
    const float* shift = table + (entry + shift_row) * width;
    const float* scale = table + (entry + scale_row) * width;
    write_norm(squares, weight, shift, scale, halves, unscale, width, stride, apart, eps);
}

__device__ inline float silu(float x) { return x / (1.0f + expf(-x)); }

// silu(gate) up of both side by side in a product's results, as halves.
extern "C" __global__ void silu_up_split(const float* numbers, const float* unscale, bits16* halves, float* unscale_out,
                                         long long apart, int width, int stride, long long apart_out) {
    const long long row = blockIdx.x;
    const PartialResults parts{numbers, apart, unscale};
    const float scale = unscale[row];
    float largest = 0.0f;
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        const float4 gate = parts.four(row * 2 * width + i, scale);
        const float4 up = parts.four(row * 2 * width + width + i, scale);
        const float4 x =
            make_float4(silu(gate.x) * up.x, silu(gate.y) * up.y, silu(gate.z) * up.z, silu(gate.w) * up.w);
        *reinterpret_cast<float4*>(row_memory + i) = x;
        largest = fmaxf(largest, largest_of(x));
    }
    write_halves(largest, width, halves, stride, apart_out, unscale_out);
}

// A product's results in f32, with a bias where there is one.
extern "C" __global__ void finish_rows(const float* numbers, const float* unscale, const float* bias, float* out,
                                       long long apart, int width, int biased) {
    const long long row = blockIdx.x;
    const PartialResults parts{numbers, apart, unscale};
    const float scale = unscale[row];
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        float4 x = parts.four(row * width + i, scale);
        if (biased) {
            const float4 b = *reinterpret_cast<const float4*>(bias + i);
            x.x += b.x, x.y += b.y, x.z += b.z, x.w += b.w;
        }
        *reinterpret_cast<float4*>(out + row * width + i) = x;
    }
}

// A weight in f32, times a power of two, as two of f16.
extern "C" __global__ void split_weight(const float* in, bits16* high, bits16* low, long long count, float scale) {
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += threads) {
        const float x = in[i] * scale;
        const __half near = __float2half_rn(x);
        high[i] = __half_as_ushort(near);
        low[i] = __half_as_ushort(__float2half_rn(x - __half2float(near)));
    }
}
