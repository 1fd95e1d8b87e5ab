// Convolutions of several taps whose inputs are whole tiles: DEEP channels of a block's rows, and of those that its taps reach,
// stay in shared memory for all taps. Tiles of the weight come in STAGES stages.

#pragma once

template <int ROWS, int OUTPUTS, int DOWN, int ACROSS, int STAGES>
__device__ void convolve_span(const Convolution& c) {
    extern __shared__ __align__(16) unsigned char memory[];
    constexpr int THREADS = LANES * DOWN * ACROSS;
    constexpr int TALL = ROWS / DOWN / 16, BROAD = OUTPUTS / ACROSS / 16;
    const int warp = threadIdx.x / LANES;
    const int down = warp / ACROSS * TALL * 16, across = warp % ACROSS * BROAD * 16;
    const int row_0 = blockIdx.x * ROWS, output_0 = blockIdx.y * OUTPUTS;
    constexpr int PIECES = DEEP / 8, AT_ONCE = THREADS / PIECES;
    const int piece = 8 * (threadIdx.x % PIECES), line = threadIdx.x / PIECES;
    const int reach = (c.taps - 1) * c.step, least = min(0, reach), span = ROWS + abs(reach);
    const int tiles = c.inputs / DEEP;
    bits16* rows = reinterpret_cast<bits16*>(memory);  // [2][high, low][span][WIDE]
    bits16* weights = rows + 4 * span * WIDE;          // [STAGES][high, low][OUTPUTS][WIDE]
    const long long low_weight = (long long)c.outputs * DEEP, low_row = (long long)c.count * c.inputs;
    const int source_0 = row_0 + c.first + least;

    auto load_rows = [&](int tile) {
        bits16* to = rows + (tile % 2) * 2 * span * WIDE + piece;
        const int channel = tile * DEEP + piece;
        for (int row = line; row < span; row += AT_ONCE) {
            const int source = source_0 + row;
            const bool there = source < c.count && source >= -c.olds;
            const bits16* from = source < 0 ? c.old_rows + (long long)(c.olds + source) * c.inputs
                                            : c.rows + (long long)source * c.inputs;
            const long long low = source < 0 ? (long long)c.olds * c.inputs : low_row;
            from = there ? from + channel : c.rows;
            fetch(to + row * WIDE, from, there);
            fetch(to + (span + row) * WIDE, there ? from + low : c.rows, there);
        }
    };
    const int all = tiles * c.taps;
    int load_tile = 0, load_tap = 0;
    auto load_weights = [&](int number) {
        bits16* to = weights + (number % STAGES) * 2 * OUTPUTS * WIDE + piece;
        const bits16* weight = c.weight + (long long)(load_tap * tiles + load_tile) * 2 * low_weight +
                               (long long)(output_0 + line) * DEEP + piece;
#pragma unroll
        for (int output = 0; output < OUTPUTS; output += AT_ONCE) {
            if (AT_ONCE > OUTPUTS && line >= OUTPUTS) break;
            const bool there = output_0 + line + output < c.outputs;
            const bits16* from = there ? weight + output * DEEP : c.weight;
            fetch(to + (line + output) * WIDE, from, there);
            fetch(to + (OUTPUTS + line + output) * WIDE, there ? from + low_weight : from, there);
        }
        if (++load_tap == c.taps) load_tap = 0, load_tile++;
    };

    float sums[TALL][2 * BROAD][4] = {}, added[TALL][2 * BROAD][4] = {};
    load_rows(0);
#pragma unroll
    for (int number = 0; number < STAGES - 1; number++) {
        if (number < all) load_weights(number);
        fetch_end();
    }
    int tile = 0, tap = 0;
    for (int number = 0; number < all; number++) {
        fetched_but<STAGES - 2>();
        __syncthreads();
        // What is loaded now is where all have finished with what was there before they came here.
        if (tap == 0 && tile + 1 < tiles) load_rows(tile + 1);
        if (number + STAGES - 1 < all) load_weights(number + STAGES - 1);
        fetch_end();
        const bits16* tap_rows = rows + (tile % 2) * 2 * span * WIDE + (tap * c.step - least + down) * WIDE;
        const bits16* tap_weights = weights + (number % STAGES) * 2 * OUTPUTS * WIDE + across * WIDE;
        multiply_tile<TALL, BROAD>(added, tap_rows + lane_row(), span * WIDE, tap_weights + lane_weight(), OUTPUTS * WIDE);
        if (++tap == c.taps) tap = 0, tile++;
        if ((number + 1) % SOONER == 0 || number + 1 == all) add_up<TALL, BROAD>(sums, added);
    }
    write_results<TALL, BROAD>(c, sums, row_0 + down, output_0 + across);
}
