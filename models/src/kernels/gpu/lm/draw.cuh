// Draws a code from logits as the sampler on a processor does: temperature, the `top_k` largest, and Gumbel noise that
// is keyed by its place. A block draws for one song.
#pragma once

#include "common.cuh"

// Frames whose codes are kept until the host has read them.
constexpr int RING = 8;

// How a song's codes are drawn.
struct DrawSettings {
    float temperature;
    int top_k;
    unsigned int key0, key1;
};

struct DrawArgs {
    const float* logits;             // [song][vocabulary]
    SongMemory* songs;               // [song]
    int* codes;                      // [song][codebooks] of the frame that is written
    int* ring;                       // [RING][codebooks], or null
    const DrawSettings* settings;    // [song], or null: `own`
    int vocabulary, codebook, codebooks;
    DrawSettings own;
    int advance;                     // positions by which a song goes on, behind its last codebook
};

// The Philox4x32-10 of Salmon, Moraes, Dror and Shaw (SC 2011).
__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
    for (int round = 0; round < 10; round++) {
        if (round > 0) {
            key.x += 0x9E3779B9u;
            key.y += 0xBB67AE85u;
        }
        const unsigned int left_high = __umulhi(0xD2511F53u, counter.x), left = 0xD2511F53u * counter.x;
        const unsigned int right_high = __umulhi(0xCD9E8D57u, counter.z), right = 0xCD9E8D57u * counter.z;
        counter = make_uint4(right_high ^ counter.y ^ key.x, right, left_high ^ counter.w ^ key.y, left);
    }
    return counter;
}

// Apart, so that its many instructions are there once.
__device__ __noinline__ double gumbel(unsigned long long frame, int codebook, unsigned int token, uint2 key) {
    const uint4 counter = make_uint4((unsigned int)frame, codebook, token >> 2, (unsigned int)(frame >> 32) << 8);
    const uint4 block = philox(counter, key);
    const unsigned int word = (token & 3) == 0 ? block.x : (token & 3) == 1 ? block.y : (token & 3) == 2 ? block.z : block.w;
    const double unit = ((double)word + 0.5) * (1.0 / 4294967296.0);
    return -log(-log1p(-unit));
}

// Larger for larger numbers.
__device__ __forceinline__ unsigned int rank_of(float value) {
    const unsigned int bits = __float_as_uint(value + 0.0f);  // one zero
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

constexpr int DRAWERS = 1024;

extern "C" __global__ void __launch_bounds__(DRAWERS) draw(const DrawArgs p) {
    __shared__ int counts[2][32];
    __shared__ int listed;
    __shared__ float list[DRAWERS];
    __shared__ int list_tokens[DRAWERS];
    __shared__ double scores[32];
    __shared__ int tokens[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    wait_for_inputs();
    let_next_begin();
    SongMemory* const song = p.songs + blockIdx.x;
    const float* const logits = p.logits + (long long)blockIdx.x * p.vocabulary;
    const DrawSettings settings = p.settings ? p.settings[blockIdx.x] : p.own;
    const unsigned long long frame = song->frame;
    constexpr int HELD = 9;  // logits that a thread keeps; of a larger vocabulary it reads the others again
    float held[HELD];
    bool bad = false;
    float worst = 0.0f;
    auto scaled = [&](int token) { return settings.temperature > 0.0f ? logits[token] / settings.temperature : logits[token]; };
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        const int token = i * DRAWERS + threadIdx.x;
        held[i] = token < p.vocabulary ? logits[token] : 0.0f;
        if (!isfinite(held[i])) bad = true, worst = held[i];
        if (settings.temperature > 0.0f) held[i] = held[i] / settings.temperature;
    }
    for (int token = HELD * DRAWERS + threadIdx.x; token < p.vocabulary; token += DRAWERS) {
        if (!isfinite(logits[token])) bad = true, worst = logits[token];
    }
    // The song ends here, as an error; what is drawn is no code of it.
    if (bad && atomicCAS(&song->failed, 0, 1 + p.codebook) == 0) {
        song->bad = __float_as_uint(worst);
        song->failed_frame = frame;
    }
    auto add = [&](float logit, int token) {
        const int place = atomicAdd(&listed, 1);
        if (place < DRAWERS) list[place] = logit, list_tokens[place] = token;
    };
    // The largest rank that `wanted` are counted to reach, or a lower one that as many reach; its last `coarse` bits are 0.
    auto search = [&](int wanted, int coarse, auto counted) {
        unsigned int found = 0;
        for (int bit = 31; bit >= coarse; bit--) {
            const int reached = __reduce_add_sync(0xffffffffu, counted(found | 1u << bit));
            if (lane == 0) counts[bit & 1][warp] = reached;
            __syncthreads();
            const int sum = __reduce_add_sync(0xffffffffu, counts[bit & 1][lane]);
            if (sum >= wanted) found |= 1u << bit;
            if (sum == wanted) break;
        }
        return found;
    };
    auto gather = [&](unsigned int least) {  // those of at least this rank, and how many they are
        __syncthreads();
        if (threadIdx.x == 0) listed = 0;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            const int token = i * DRAWERS + threadIdx.x;
            if (token < p.vocabulary && rank_of(held[i]) >= least) add(held[i], token);
        }
        for (int token = HELD * DRAWERS + threadIdx.x; token < p.vocabulary; token += DRAWERS) {
            if (rank_of(scaled(token)) >= least) add(scaled(token), token);
        }
        __syncthreads();
        return listed;
    };
    // At least `top_k` logits reach the rank that as many threads have one of: few enough to be compared with each other.
    unsigned int most = 0;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        if (i * DRAWERS + (int)threadIdx.x < p.vocabulary) most = max(most, rank_of(held[i]));
    }
    const bool all = settings.temperature == 0.0f || settings.top_k >= p.vocabulary;
    unsigned int least = 0;
    if (settings.temperature == 0.0f) {
        least = search(1, 0, [&](unsigned int rank) { return (int)(most >= rank); });
    } else if (!all && settings.top_k <= DRAWERS / 2) {
        least = search(settings.top_k, 16, [&](unsigned int rank) { return (int)(most >= rank); });
    }
    int count = gather(least);
    if (count > DRAWERS && !all) {
        least = search(settings.top_k, 0, [&](unsigned int rank) {
            int reached = 0;
            for (int token = threadIdx.x; token < p.vocabulary; token += DRAWERS) reached += rank_of(scaled(token)) >= rank;
            return reached;
        });
        count = gather(least);
    }
    double best = -INFINITY;
    int drawn = 0x7fffffff;
    auto consider = [&](float logit, int token) {
        const double noise = settings.temperature > 0.0f ? gumbel(frame, p.codebook, token, make_uint2(settings.key0, settings.key1)) : 0.0;
        const double score = (double)logit + noise;
        if (score > best || (score == best && token < drawn)) best = score, drawn = token;
    };
    if (count <= DRAWERS) {
        if ((int)threadIdx.x < count) {
            const unsigned int rank = rank_of(list[threadIdx.x]);
            int larger = 0;
            for (int i = 0; i < count; i++) larger += rank_of(list[i]) > rank;
            if (all || larger < settings.top_k) consider(list[threadIdx.x], list_tokens[threadIdx.x]);
        }
    } else {
        for (int token = threadIdx.x; token < p.vocabulary; token += DRAWERS) {
            if (rank_of(scaled(token)) >= least) consider(scaled(token), token);
        }
    }
    auto better = [&](double score, int token) {
        if (score > best || (score == best && token < drawn)) best = score, drawn = token;
    };
    for (int step = 16; step > 0; step /= 2) {
        const double score = __shfl_xor_sync(0xffffffffu, best, step);
        const int token = __shfl_xor_sync(0xffffffffu, drawn, step);
        better(score, token);
    }
    if (lane == 0) scores[warp] = best, tokens[warp] = drawn;
    __syncthreads();
    if (warp > 0) return;
    best = scores[lane], drawn = tokens[lane];
    for (int step = 16; step > 0; step /= 2) {
        const double score = __shfl_xor_sync(0xffffffffu, best, step);
        const int token = __shfl_xor_sync(0xffffffffu, drawn, step);
        better(score, token);
    }
    if (lane > 0) return;
    const int code = drawn < p.vocabulary ? drawn : 0;
    p.codes[(long long)blockIdx.x * p.codebooks + p.codebook] = code;
    if (p.ring) p.ring[frame % RING * p.codebooks + p.codebook] = code;
    if (p.codebook + 1 == p.codebooks) {
        song->frame = frame + 1;
        song->position += p.advance;
    }
}
