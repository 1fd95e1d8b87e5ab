// What enters the two transformers: embeddings of codes, and rows of words.
#pragma once

#include "common.cuh"

struct EmbedArgs {
    const void* table;              // [codebook * vocabulary + code][width]
    const int* codes;               // [frame][codebooks]
    const float* given;             // rows that are fed as they are, or null
    float* out;                     // [row][width]
    const float* out_scale;         // of the first norm, [width]
    __nv_bfloat16* out_parts;
    float* out_squares;             // [row][tile]
    int is_bf16, width, vocabulary, codebooks, parts_stride, batch, frames, first;
};

__device__ __forceinline__ float embedding(const EmbedArgs& p, int codebook, int code, int channel) {
    const long long place = ((long long)codebook * p.vocabulary + code) * p.width + channel;
    return p.is_bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(p.table)[place])
                     : static_cast<const float*>(p.table)[place];
}

// Rows of the backbone: sums of a frame's embeddings, each for all batch rows; or rows that are given.
extern "C" __global__ void __launch_bounds__(256) embed_frames(const EmbedArgs p) {
    wait_for_inputs();
    let_next_begin();
    const int channel = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    const bool inside = channel < p.width;
    float value = 0.0f;
    if (inside && p.given) value = p.given[(long long)row * p.width + channel];
    if (inside && !p.given) {
        const int* codes = p.codes + (long long)(row / p.batch) * p.codebooks;
        for (int codebook = 0; codebook < p.codebooks; codebook++) value += embedding(p, codebook, codes[codebook], channel);
    }
    if (inside) {
        p.out[(long long)row * p.width + channel] = value;
        write_parts(p.out_parts, row, p.parts_stride, channel, value * p.out_scale[channel]);
    }
    const float square = sum_of_sixteen(value * value);
    if (inside && channel % TILE == 0) p.out_squares[(long long)row * ((p.width + TILE - 1) / TILE) + channel / TILE] = square;
}

// Rows of the depth decoder behind the backbone's output: code after code of each frame, position `first` (1 or more)
// and those behind it; of a position the frames side by side, of a frame its batch rows.
extern "C" __global__ void __launch_bounds__(256) embed_codes(const EmbedArgs p) {
    wait_for_inputs();
    let_next_begin();
    const int channel = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (channel >= p.width) return;
    const int rows = p.frames * p.batch, codebook = p.first + row / rows - 1, frame = row % rows / p.batch;
    write_parts(p.out_parts, row, p.parts_stride, channel, embedding(p, codebook, p.codes[frame * p.codebooks + codebook], channel));
}
