// A number in 32 bits as two in 16 whose sum it is, to about as many digits; and what tensor cores make of such halves.

#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned short bits16;
typedef unsigned int bits32;

constexpr int LANES = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Two bf16 numbers in one register, the first in the low half; and what they leave of both numbers.
__device__ inline void split_brain(float a, float b, bits32& high, bits32& low) {
    const __nv_bfloat162 near = __floats2bfloat162_rn(a, b);
    const __nv_bfloat162 rest = __floats2bfloat162_rn(a - __low2float(near), b - __high2float(near));
    high = *reinterpret_cast<const bits32*>(&near);
    low = *reinterpret_cast<const bits32*>(&rest);
}

// The same in f16, whose numbers must be below 65504.
__device__ inline void split_half(float a, float b, bits32& high, bits32& low) {
    const __half2 near = __floats2half2_rn(a, b);
    const __half2 rest = __floats2half2_rn(a - __low2float(near), b - __high2float(near));
    high = *reinterpret_cast<const bits32*>(&near);
    low = *reinterpret_cast<const bits32*>(&rest);
}

// The power of two that brings the largest number of a row between 2^14 and 2^15, so that both f16 halves of numbers
// 2^18 times smaller still are normal; and its inverse.
__device__ inline float scale_of(float largest, float& unscale) {
    int exponent = 0;
    frexpf(largest, &exponent);
    exponent = min(max(15 - exponent, -100), 100);
    if (!(largest > 0.0f)) exponent = 0;
    unscale = ldexpf(1.0f, -exponent);
    return ldexpf(1.0f, exponent);
}

// The largest, and the sum, over a block of at most 32 warps, known to all of its threads. Sums have one order.
__device__ inline float block_largest(float x) {
    __shared__ float parts[LANES];
    for (int far = LANES / 2; far > 0; far /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, far));
    __syncthreads();
    if (threadIdx.x % LANES == 0) parts[threadIdx.x / LANES] = x;
    __syncthreads();
    x = parts[0];
    for (int warp = 1; warp < blockDim.x / LANES; warp++) x = fmaxf(x, parts[warp]);
    return x;
}

__device__ inline float block_sum(float x) {
    __shared__ float parts[LANES];
    for (int far = LANES / 2; far > 0; far /= 2) x += __shfl_xor_sync(ALL_LANES, x, far);
    __syncthreads();
    if (threadIdx.x % LANES == 0) parts[threadIdx.x / LANES] = x;
    __syncthreads();
    x = parts[0];
    for (int warp = 1; warp < blockDim.x / LANES; warp++) x += parts[warp];
    return x;
}

__device__ inline bits32 shared_place(const void* pointer) {
    return static_cast<bits32>(__cvta_generic_to_shared(pointer));
}

// Four 8 x 8 matrices from shared memory; each lane names one row.
__device__ inline void load_matrices(bits32 (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_place(row)));
}

__device__ inline void load_matrices_transposed(bits32 (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_place(row)));
}

// sums += a b for 16 x 16 numbers a and 16 x 8 numbers b, in bf16. It takes some thirty cycles until the sums are there for
// the next product, so callers have many sums that they go through in turn; `volatile` keeps their order.
__device__ inline void multiply(float (&sums)[4], const bits32 (&a)[4], bits32 b0, bits32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};\n"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Sixteen bytes into shared memory, without waiting; zeros where there are none.
__device__ inline void fetch(void* to, const void* from, bool there) {
    const int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_place(to)), "l"(from), "r"(bytes));
}
__device__ inline void fetch_end() { asm volatile("cp.async.commit_group;\n"); }
template <int N>
__device__ inline void fetched_but() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N));
}
