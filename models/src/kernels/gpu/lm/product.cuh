// Products of a few rows with a large weight, on tensor cores, without rounding the rows to 16 bits.
//
// A weight is bf16 (or a sum of bf16 planes, laid one behind the other along the inputs), packed so that a warp's loads
// are the operands of its matrix instructions. A row is two rows of bf16 parts. A block computes TILE * MT outputs of
// 4 * NT rows: each warp multiplies one of SLICES slices of the inputs, whose sums are added in their order. So a
// row's result depends on that row and the weight alone: not on the rows beside it, not on NT or MT.
#pragma once

#include "common.cuh"

constexpr int SLICES = 8;

struct ProductArgs {
    const uint4* weight;           // [tile][chunk][half][lane]
    const __nv_bfloat16* rows0;    // parts of the rows below `split`
    const __nv_bfloat16* rows1;    // parts of the others
    const float* squares;          // [row][count of square_parts]: sums of squares of the rows below `split`, or null
    const float* guidances;        // of each frame, or null: `guidance`
    float* out;                    // [row][out_stride]
    const float* out_scale;        // what results are multiplied with before they become parts, [outputs], or null
    __nv_bfloat16* out_parts;      // parts of the results
    float* out_squares;            // [row][tile]
    int split, square_parts, width;
    float eps;
    int rows, stride, chunks, row_chunks, outputs, out_stride, parts_stride, batch;
    float guidance;
};

enum Epilogue {
    STORE,      // out = result
    ADD,        // out += result; its parts and squares for the next norm
    BEGIN,      // out = result; its parts and squares for the next norm
    GATE,       // silu(gate) * up, as parts; the outputs of a tile are 8 gates and the 8 that they gate
    GUIDE,      // logits of a frame from its one or two rows
};

__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned int a0, const unsigned int a1, const unsigned int a2,
                                         const unsigned int a3, const unsigned int b0, const unsigned int b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// A weight is read once in a pass, and nothing writes it.
__device__ __forceinline__ uint4 load_weight(const uint4* place) {
    uint4 value;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(place));
    return value;
}

// `U` chunks of a slice are loaded while those before them are multiplied.
template <int NT, int MT, int U, Epilogue EPILOGUE>
__device__ __forceinline__ void product(const ProductArgs& p) {
    constexpr int ROWS = 4 * NT;
    __shared__ float found[SLICES][MT * TILE][ROWS + 1];
    __shared__ float scales[ROWS];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int group = lane >> 2, quad = lane & 3;
    const int tile = blockIdx.x * MT, row0 = blockIdx.y * ROWS;
    const int per_slice = (p.chunks + SLICES - 1) / SLICES;
    const int begin = warp * per_slice, end = min(begin + per_slice, p.chunks);
    const int tiles = (p.outputs + TILE - 1) / TILE;
    const uint4 zero = make_uint4(0, 0, 0, 0);

    const uint4* weight = p.weight + ((long long)tile * p.chunks) * 64 + lane;
    uint4 now[U][MT][2], next[U][MT][2];
    auto load = [&](uint4 (&to)[U][MT][2], int chunk) {
#pragma unroll
        for (int u = 0; u < U; u++) {
#pragma unroll
            for (int m = 0; m < MT; m++) {
                const bool there = chunk + u < end && (MT == 1 || tile + m < tiles);
                const uint4* place = weight + ((long long)m * p.chunks + chunk + u) * 64;
                to[u][m][0] = there ? load_weight(place) : zero;
                to[u][m][1] = there ? load_weight(place + 32) : zero;
            }
        }
    };
    load(now, begin);
    let_next_begin();
    wait_for_inputs();

    // Column `group` of each tile of eight is a part of a row.
    const __nv_bfloat16* columns[NT];
    bool there[NT];
#pragma unroll
    for (int n = 0; n < NT; n++) {
        const int row = row0 + n * 4 + (group >> 1);
        there[n] = row < p.rows;
        const __nv_bfloat16* rows = row < p.split ? p.rows0 + 2ll * row * p.stride : p.rows1 + 2ll * (row - p.split) * p.stride;
        columns[n] = rows + (group & 1) * p.stride + 8 * quad;
    }
    float sums[MT][NT][4];
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) sums[m][n][i] = 0.0f;
        }
    }
    // A weight of several planes is multiplied with the same rows again.
    int row_chunk = begin % p.row_chunks;
    for (int chunk = begin; chunk < end; chunk += U) {
        uint4 rows[U][NT];
#pragma unroll
        for (int u = 0; u < U; u++) {
#pragma unroll
            for (int n = 0; n < NT; n++) {
                const bool inside = there[n] && chunk + u < end;
                rows[u][n] = inside ? *reinterpret_cast<const uint4*>(columns[n] + row_chunk * CHUNK) : zero;
            }
            row_chunk = row_chunk + 1 == p.row_chunks ? 0 : row_chunk + 1;
        }
        load(next, chunk + U);
#pragma unroll
        for (int u = 0; u < U; u++) {
#pragma unroll
            for (int m = 0; m < MT; m++) {
                const uint4 upper = now[u][m][0], lower = now[u][m][1];
#pragma unroll
                for (int n = 0; n < NT; n++) {
                    multiply(sums[m][n], upper.x, lower.x, upper.y, lower.y, rows[u][n].x, rows[u][n].y);
                    multiply(sums[m][n], upper.z, lower.z, upper.w, lower.w, rows[u][n].z, rows[u][n].w);
                }
            }
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
#pragma unroll
            for (int m = 0; m < MT; m++) {
                now[u][m][0] = next[u][m][0];
                now[u][m][1] = next[u][m][1];
            }
        }
    }
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
            found[warp][m * TILE + group][n * 4 + quad] = sums[m][n][0] + sums[m][n][1];
            found[warp][m * TILE + group + 8][n * 4 + quad] = sums[m][n][2] + sums[m][n][3];
        }
    }
    for (int r = warp; r < ROWS; r += SLICES) {
        const int row = row0 + r;
        float scale = 1.0f;
        if (p.squares && row < p.split && row < p.rows) {
            float sum = 0.0f;
            for (int i = lane; i < p.square_parts; i += 32) sum += p.squares[(long long)row * p.square_parts + i];
            scale = 1.0f / sqrtf(sum_of_warp(sum) / (float)p.width + p.eps);
        }
        if (lane == 0) scales[r] = scale;
    }
    __syncthreads();

    auto result = [&](int output, int r) {
        float sum = found[0][output][r];
#pragma unroll
        for (int s = 1; s < SLICES; s++) sum += found[s][output][r];
        return sum * scales[r];
    };
    if (EPILOGUE == GATE) {
        for (int i = threadIdx.x; i < MT * 8 * ROWS; i += 256) {
            const int within = i % 8, m = i / 8 % MT, r = i / (8 * MT), row = row0 + r;
            const int channel = (tile + m) * 8 + within;
            if (row >= p.rows || 2 * channel >= p.outputs) continue;
            const float gate = result(m * TILE + within, r), up = result(m * TILE + 8 + within, r);
            write_parts(p.out_parts, row, p.parts_stride, channel, gate / (1.0f + expf(-gate)) * up);
        }
    } else if (EPILOGUE == GUIDE) {
        for (int i = threadIdx.x; i < MT * TILE * (ROWS / p.batch); i += 256) {
            const int within = i % (MT * TILE), r = i / (MT * TILE) * p.batch, row = row0 + r;
            const int output = tile * TILE + within;
            if (row >= p.rows || output >= p.outputs) continue;
            float logit = result(within, r);
            if (p.batch == 2) {
                const float unled = result(within, r + 1);
                logit = unled + (logit - unled) * (p.guidances ? p.guidances[row / p.batch] : p.guidance);
            }
            p.out[(long long)(row / p.batch) * p.out_stride + output] = logit;
        }
    } else {
        // Every thread of a half warp goes through the loop as often: they add their squares up.
        for (int i = threadIdx.x; i < MT * TILE * ROWS; i += 256) {
            const int within = i % (MT * TILE), r = i / (MT * TILE), row = row0 + r;
            const int output = tile * TILE + within;
            const bool inside = row < p.rows && output < p.outputs;
            float value = inside ? result(within, r) : 0.0f;
            float* out = p.out + (long long)row * p.out_stride + output;
            if (EPILOGUE == ADD && inside) value += *out;
            if (inside) *out = value;
            if (EPILOGUE == STORE) continue;
            if (inside) write_parts(p.out_parts, row, p.parts_stride, output, value * p.out_scale[output]);
            const float square = sum_of_sixteen(value * value);
            if (within % TILE == 0 && inside) p.out_squares[(long long)row * tiles + output / TILE] = square;
        }
    }
}

#define PRODUCT(NAME, EPILOGUE, NT, MT, U)                                                                     \
    extern "C" __global__ void __launch_bounds__(256, 2) product_##NAME##_##NT##_##MT(const ProductArgs p) { \
        product<NT, MT, U, EPILOGUE>(p);                                                                       \
    }
#define PRODUCTS(NAME, EPILOGUE)     \
    PRODUCT(NAME, EPILOGUE, 1, 1, 4) \
    PRODUCT(NAME, EPILOGUE, 1, 2, 2) \
    PRODUCT(NAME, EPILOGUE, 2, 1, 4) \
    PRODUCT(NAME, EPILOGUE, 2, 2, 2) \
    PRODUCT(NAME, EPILOGUE, 4, 1, 2) \
    PRODUCT(NAME, EPILOGUE, 4, 2, 2) \
    PRODUCT(NAME, EPILOGUE, 8, 1, 2) \
    PRODUCT(NAME, EPILOGUE, 8, 2, 1)
PRODUCTS(store, STORE)
PRODUCTS(add, ADD)
PRODUCTS(begin, BEGIN)
PRODUCTS(gate, GATE)
PRODUCTS(guide, GUIDE)

// Packs plane `plane` of a weight [outputs][inputs], whose numbers lie `output_step` and `input_step` apart, as bf16 or
// f32: what the planes before it leave, rounded to bf16. `gates` > 0: outputs are that many gates and as many that they
// gate, which become tiles of 8 and 8.
struct PackArgs {
    const void* from;
    __nv_bfloat16* to;
    long long output_step, input_step;
    int outputs, inputs, chunks, row_chunks, plane, gates, is_bf16, first;
};

extern "C" __global__ void pack(const PackArgs p) {
    // One thread for each channel of a padded input row of each padded output; neighbours share a chunk.
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const int padded = p.row_chunks * CHUNK;
    const int packed = (int)(place / padded), input = (int)(place % padded);
    if (packed >= (p.outputs + TILE - 1) / TILE * TILE) return;
    const int tile = packed / TILE, within = packed % TILE;
    int output = packed;
    bool inside = packed < p.outputs;
    if (p.gates > 0) {
        const int channel = tile * 8 + within % 8;
        output = within < 8 ? channel : p.gates + channel;
        inside = channel < p.gates;
    }
    float value = 0.0f;
    if (inside && input < p.inputs) {
        const long long at = output * p.output_step + input * p.input_step;
        value = p.is_bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(p.from)[at])
                          : static_cast<const float*>(p.from)[at];
    }
    __nv_bfloat16 part = __float2bfloat16_rn(value);
    for (int i = 0; i < p.plane; i++) {
        value -= __bfloat162float(part);
        part = __float2bfloat16_rn(value);
    }
    const int chunk = p.plane * p.row_chunks + input / CHUNK, channel = input % CHUNK;
    const int lane = (within % 8) * 4 + channel / 8, half = within / 8;
    const long long to = ((long long)(p.first + tile) * p.chunks + chunk) * 512 + half * 256 + lane * 8 + channel % 8;
    p.to[to] = part;
}
