// Attention of new positions to the paged KV cache of a song: rotates queries and keys, appends, and attends.
//
// Keys and values lie in pages, found through a table, so that memory grows without another graph. A block is one span
// of positions of one key head, and `tile` queries of one batch row; what spans found is put together in their order by
// the block that ends last. So what a position finds depends on it and on what it sees alone.
#pragma once

#include "common.cuh"

// Where the KV cache of a song lies that has a pass beside others.
struct SongCache {
    const unsigned long long* pages;     // as in `AttentionArgs`
    long long page;                      // positions of a page
};

struct AttentionArgs {
    const float* joined;                 // [row][heads + 2 * kv_heads][head_dim]: queries, keys, values, all before RoPE
    const unsigned long long* pages;     // where pages begin: [layer][batch row][kv head][keys, values][position]
    const float* cosines;                // [position][head_dim / 2]
    const float* sines;
    const int* start;                    // position of the first rows, or null: 0
    const SongCache* caches;             // of several songs with `batches` rows each, in the place of `pages` and `page`; or null
    const SongMemory* songs;             // where those are, in the place of `start`
    __nv_bfloat16* out_parts;            // [row], heads * head_dim channels
    float* found;                        // [batch row][span][time][head][2 + head_dim]
    unsigned int* arrived;               // [batch row][tile of times][kv head]
    int offset, rows, batch, first_batch, batches, layer;
    int heads, kv_heads, head_dim, page, parts_stride, spans, times, appended, tile, span;
    float scale;
};

constexpr int ATTENDERS = 256;
// Queries that a thread works on at once.
constexpr int ABREAST = 4;
// Numbers behind a key in shared memory: lanes that read the same channels of eight keys meet in no bank.
constexpr int KEY_GAP = 8;

// Threads that share the channels of one span in as many groups, each with its own positions.
__device__ __forceinline__ int groups_of(int head_dim) { return max(1, min(8, ATTENDERS / (head_dim / 2))); }

__device__ __forceinline__ float2 pair_at(const __half* place) { return __half22float2(*reinterpret_cast<const __half2*>(place)); }
__device__ __forceinline__ float2 pair_at(const float* place) { return *reinterpret_cast<const float2*>(place); }
__device__ __forceinline__ void set_pair(__half* place, float2 value) { *reinterpret_cast<__half2*>(place) = __float22half2_rn(value); }
__device__ __forceinline__ void set_pair(float* place, float2 value) { *reinterpret_cast<float2*>(place) = value; }

// Copies contiguous rows of `bytes` bytes into rows that lie `stride` bytes apart in shared memory.
__device__ __forceinline__ void copy_rows(void* to, const void* from, int rows, int bytes, int stride) {
    const unsigned int target = static_cast<unsigned int>(__cvta_generic_to_shared(to));
    const char* source = static_cast<const char*>(from);
    if (bytes % 16 == 0) {
        const int each = bytes / 16;
        for (int i = threadIdx.x; i < rows * each; i += ATTENDERS) {
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target + i / each * stride + i % each * 16), "l"(source + (long long)i * 16));
        }
    } else {
        const int each = bytes / 4;
        for (int i = threadIdx.x; i < rows * each; i += ATTENDERS) {
            asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(target + i / each * stride + i % each * 4), "l"(source + (long long)i * 4));
        }
    }
}

template <typename N>
__device__ __forceinline__ void attention(const AttentionArgs& p) {
    extern __shared__ __align__(16) char shared[];
    __shared__ bool is_last;
    const int kv_head = blockIdx.y, b = blockIdx.z % p.batch, from = blockIdx.x * p.span;
    const int song = p.caches ? b / p.batches : 0;
    const int start = p.caches ? p.songs[song].position : (p.start ? *p.start : 0) + p.offset;
    const int times = p.rows / p.batch, first = (int)blockIdx.z / p.batch * p.tile, here = min(p.tile, times - first);
    const int last = start + first + here - 1;                // the last position that a query of this block is at
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = ATTENDERS / 32;
    const int half = p.head_dim / 2, group = p.heads / p.kv_heads, gap = p.head_dim + KEY_GAP;
    const int joined = (p.heads + 2 * p.kv_heads) * p.head_dim;
    if (from >= start + p.appended) {
        wait_for_inputs();
        let_next_begin();
        return;
    }
    N* const keys = reinterpret_cast<N*>(shared);             // [place][gap]
    N* const values = keys + p.span * gap;                    // [place][head_dim]
    float* const partial = reinterpret_cast<float*>(values + p.span * p.head_dim);  // [group][query][head_dim]
    float* const queries = partial + groups_of(p.head_dim) * ABREAST * p.head_dim;  // [query][head_dim] of a tile of times
    float* const scores = queries + p.tile * group * p.head_dim;                    // [query][span]
    float* const totals = scores + p.tile * group * p.span;                         // [query][2]

    // What the KV cache had before this pass is read while the pass before this kernel still runs.
    const int size = p.caches ? (int)p.caches[song].page : p.page, cache_row = p.caches ? b % p.batches : p.first_batch + b;
    N* const page = reinterpret_cast<N*>((p.caches ? p.caches[song].pages : p.pages)[from / size]);
    const long long head_place = ((long long)(p.layer * p.batches + cache_row) * p.kv_heads + kv_head) * 2 * size;
    N* const cached_keys = page + (head_place + from % size) * p.head_dim;
    N* const cached_values = page + (head_place + size + from % size) * p.head_dim;
    const int old = max(0, min(start - from, p.span));
    copy_rows(keys, cached_keys, old, p.head_dim * sizeof(N), gap * sizeof(N));
    copy_rows(values, cached_values, old, p.head_dim * sizeof(N), p.head_dim * sizeof(N));
    asm volatile("cp.async.commit_group;");
    wait_for_inputs();
    let_next_begin();

    // Each block turns and keeps the new keys of its span, whichever queries it has: they write the same numbers.
    const int fresh = min(p.span, start + p.appended - from) - old;
    for (int i = threadIdx.x; i < fresh * half; i += ATTENDERS) {
        const int pair = i % half, place = old + i / half, position = from + place;
        // Of several positions that are all the same, one row stands for all.
        const int time = min(position - start, times - 1);
        const float* row = p.joined + (long long)(time * p.batch + b) * joined + (p.heads + kv_head) * p.head_dim + 2 * pair;
        const float cosine = p.cosines[(long long)position * half + pair], sine = p.sines[(long long)position * half + pair];
        const float2 key = pair_at(row), value = pair_at(row + p.kv_heads * p.head_dim);
        const float2 rotated = make_float2(key.x * cosine - key.y * sine, key.x * sine + key.y * cosine);
        set_pair(keys + place * gap + 2 * pair, rotated);
        set_pair(cached_keys + (long long)place * p.head_dim + 2 * pair, rotated);
        set_pair(values + place * p.head_dim + 2 * pair, value);
        set_pair(cached_values + (long long)place * p.head_dim + 2 * pair, value);
    }
    if (from > last) return;
    const int count = min(p.span, last + 1 - from);
    const bool alone = last < p.span;                         // no other span has anything to add
    auto place_of = [&](int item, int span_number) {          // of what a span found for a query
        return p.found + ((((long long)b * p.spans + span_number) * p.times + first + item / group) * p.heads + kv_head * group + item % group) * (2 + p.head_dim);
    };
    auto finish = [&](int item, int channel, float value) {
        write_parts(p.out_parts, (first + item / group) * p.batch + b, p.parts_stride, (kv_head * group + item % group) * p.head_dim + channel, value);
    };

    const int items = here * group;
    for (int i = threadIdx.x; i < items * half; i += ATTENDERS) {
        const int pair = i % half, item = i / half, time = first + item / group, head = kv_head * group + item % group;
        const float2 query = pair_at(p.joined + (long long)(time * p.batch + b) * joined + head * p.head_dim + 2 * pair);
        const long long angle = (long long)(start + time) * half + pair;
        const float cosine = p.cosines[angle], sine = p.sines[angle];
        set_pair(queries + item * p.head_dim + 2 * pair,
                 make_float2((query.x * cosine - query.y * sine) * p.scale, (query.x * sine + query.y * cosine) * p.scale));
    }
    asm volatile("cp.async.wait_all;");
    __syncthreads();
    // Four lanes share the channels of a position.
    for (int item = 0; item < items; item += ABREAST) {
        for (int place = threadIdx.x / 4; place < (count + 7) / 8 * 8; place += ATTENDERS / 4) {
            float sums[ABREAST] = {};
            if (place < count) {
                for (int pair = threadIdx.x % 4; pair < half; pair += 4) {
                    const float2 key = pair_at(keys + place * gap + 2 * pair);
#pragma unroll
                    for (int k = 0; k < ABREAST; k++) {
                        if (item + k < items) {
                            const float2 query = pair_at(queries + (item + k) * p.head_dim + 2 * pair);
                            sums[k] += query.x * key.x + query.y * key.y;
                        }
                    }
                }
            }
#pragma unroll
            for (int k = 0; k < ABREAST; k++) {
                sums[k] += __shfl_xor_sync(0xffffffffu, sums[k], 1);
                sums[k] += __shfl_xor_sync(0xffffffffu, sums[k], 2);
                if (threadIdx.x % 4 == 0 && item + k < items && place < count) {
                    const bool seen = from + place <= start + first + (item + k) / group;
                    scores[(item + k) * p.span + place] = seen ? sums[k] : -INFINITY;
                }
            }
        }
    }
    __syncthreads();
    for (int item = warp; item < items; item += warps) {
        float* list = scores + item * p.span;
        float most = -INFINITY;
        for (int i = lane; i < count; i += 32) most = fmaxf(most, list[i]);
        for (int step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
        float sum = 0.0f;
        for (int i = lane; i < count; i += 32) {
            const float weight = most > -INFINITY ? expf(list[i] - most) : 0.0f;
            list[i] = weight;
            sum += weight;
        }
        sum = sum_of_warp(sum);
        if (lane == 0) {
            totals[2 * item] = most;
            totals[2 * item + 1] = sum;
        }
    }
    __syncthreads();
    const int groups = groups_of(p.head_dim), wide = min(half, ATTENDERS), mine = threadIdx.x / wide;
    for (int item = 0; item < items; item += ABREAST) {
        if (mine < groups) {
            for (int pair = threadIdx.x % wide; pair < half; pair += wide) {
                float2 sums[ABREAST] = {};
                for (int place = mine; place < count; place += groups) {
                    const float2 value = pair_at(values + place * p.head_dim + 2 * pair);
#pragma unroll
                    for (int k = 0; k < ABREAST; k++) {
                        if (item + k < items) {
                            const float weight = scores[(item + k) * p.span + place];
                            sums[k].x += weight * value.x;
                            sums[k].y += weight * value.y;
                        }
                    }
                }
#pragma unroll
                for (int k = 0; k < ABREAST; k++) set_pair(partial + (mine * ABREAST + k) * p.head_dim + 2 * pair, sums[k]);
            }
        }
        __syncthreads();
        const int some = min(ABREAST, items - item);
        for (int i = threadIdx.x; i < some * p.head_dim; i += ATTENDERS) {
            const int channel = i % p.head_dim, k = i / p.head_dim;
            float sum = partial[k * p.head_dim + channel];
            for (int g = 1; g < groups; g++) sum += partial[(g * ABREAST + k) * p.head_dim + channel];
            const float most = totals[2 * (item + k)], weights = totals[2 * (item + k) + 1];
            if (alone) {
                finish(item + k, channel, sum / weights);
            } else {
                float* to = place_of(item + k, blockIdx.x);
                if (channel == 0) to[0] = most, to[1] = weights;
                to[2 + channel] = sum;
            }
        }
        __syncthreads();
    }
    if (alone) return;

    // The last block to come puts together what all found.
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned int* counter = p.arrived + blockIdx.z * p.kv_heads + kv_head;
        is_last = atomicAdd(counter, 1) == last / p.span;
        if (is_last) *counter = 0;
    }
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    float* const factors = reinterpret_cast<float*>(shared);  // [query][spans], where keys were
    const int seen_spans = last / p.span + 1;
    // Rows of factors that the memory of keys and values has room for; never fewer than one: `spans` is bounded by it.
    const int room = max(1, (int)(p.span * (gap + p.head_dim) * sizeof(N) / sizeof(float)) / (2 * (seen_spans + 1)));
    float* const sums = factors + room * (seen_spans + 1);
    for (int done = 0; done < items; done += room) {
        const int some = min(room, items - done);
        for (int item = warp; item < some; item += warps) {
            const int spans = (start + first + (done + item) / group) / p.span + 1;
            float* list = factors + item * (seen_spans + 1);
            float most = -INFINITY;
            for (int s = lane; s < spans; s += 32) {
                const float* place = place_of(done + item, s);
                list[s] = __ldcg(place);
                sums[item * (seen_spans + 1) + s] = __ldcg(place + 1);
                most = fmaxf(most, list[s]);
            }
            for (int step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
            float weights = 0.0f;
            for (int s = lane; s < spans; s += 32) {
                const float factor = expf(list[s] - most);
                list[s] = factor;
                weights += factor * sums[item * (seen_spans + 1) + s];
            }
            weights = sum_of_warp(weights);
            if (lane == 0) list[spans] = weights;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < some * p.head_dim; i += ATTENDERS) {
            const int channel = i % p.head_dim, item = i / p.head_dim;
            const int spans = (start + first + (done + item) / group) / p.span + 1;
            const float* list = factors + item * (seen_spans + 1);
            const float* place = place_of(done + item, 0) + 2 + channel;
            const long long step = (long long)p.times * p.heads * (2 + p.head_dim);
            float sum = 0.0f;
#pragma unroll 8
            for (int s = 0; s < spans; s++) sum += list[s] * __ldcg(place + s * step);
            finish(done + item, channel, sum / list[spans]);
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(ATTENDERS) attention_f16(const AttentionArgs p) { attention<__half>(p); }
extern "C" __global__ void __launch_bounds__(ATTENDERS) attention_f32(const AttentionArgs p) { attention<float>(p); }
