// What the kernels of the language model share: 16-bit parts of a number, and the order of dependent kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Channels of a row that a kernel's rows are padded to: two matrix instructions of 16.
constexpr int CHUNK = 32;
// Outputs of one matrix instruction.
constexpr int TILE = 16;

// Where a song is.
struct SongMemory {
    int position;                    // of the next frame that is fed to the backbone
    int failed;                      // 1 + codebook of the first logit that was no number
    unsigned int bad;                // that logit
    int unused;
    unsigned long long frame;        // number of the frame that is written
    unsigned long long failed_frame;
};

// Waits for the kernels before this one. Until then only weights may be read. Every kernel waits before it ends, so
// that a wait for it is a wait for all before it.
__device__ __forceinline__ void wait_for_inputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Allows the next kernel to begin with its weights.
__device__ __forceinline__ void let_next_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Writes a number as two bf16 that add up to it within 2^-18: row `row` of `parts` is two rows of 16-bit numbers.
__device__ __forceinline__ void write_parts(__nv_bfloat16* parts, long long row, int stride, int channel, float value) {
    const __nv_bfloat16 high = __float2bfloat16_rn(value);
    const __nv_bfloat16 low = __float2bfloat16_rn(value - __bfloat162float(high));
    __nv_bfloat16* place = parts + 2 * row * stride + channel;
    place[0] = high;
    place[stride] = low;
}

// The sum over the 16 lanes of a half warp, in each of them, always in the same order.
__device__ __forceinline__ float sum_of_sixteen(float value) {
    for (int step = 8; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

__device__ __forceinline__ float sum_of_warp(float value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}
