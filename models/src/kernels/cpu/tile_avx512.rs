//! Tiles with AVX-512: a panel row is one register.

use std::arch::x86_64::*;

use super::{
    lhs_packing::QUAD,
    packed::PANEL,
    tile::{Run, Tile, Tiles, dtype, left, runs_of, tile_of},
};

/// Prefetch distance of weights, in bytes. Of 1 to 8 KB these were the best for a large matrix in bf16: 2 to 6
/// rows are read 10 to 30 % faster than without, 16 rows twice as fast. The hardware prefetcher stops at each page, and
/// does not adapt to so slow a reader.
const fn ahead(rows: usize) -> usize {
    if rows <= 6 { 3072 } else { 4096 }
}
/// Bytes of a cache line.
const LINE: usize = 64;

pub(super) const TILES: Tiles = Tiles {
    few: &[(6, 4), (9, 3), (12, 2), (16, 1)],
    many: (12, 2),
    compute: compute::<false>,
    packed: compute::<true>,
    // Widened weights of more inputs push the rows out of the nearest cache, while a register of them serves twelve rows.
    // The demo model's flow step of 93 frames took 42.4 ms without, 39.4 up to 256 inputs, and 39.9 up to 512, its
    // vocoder 60.7, 58.9 and 69.3 ms (f16, one core of a Xeon, 2026-12-01).
    widen: (widen, 256),
};

unsafe fn compute<const PACKED: bool>(dtype: u8, rows: usize, panels: usize, tile: &Tile<'_>) {
    // SAFETY: the caller guarantees the processor and the places.
    unsafe {
        tile_of!(product, PACKED, tile, dtype, rows, panels, {
            1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16;
            2: 1 2 3 4 5 6 7 8 9 10 11 12;
            3: 1 2 3 4 5 6 7 8 9;
            4: 1 2 3 4 5 6;
        });
    }
}

/// # Safety
/// Row `k` of a panel must be there at `w`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn weights<const DTYPE: u8>(w: *const u8, k: usize) -> __m512 {
    // SAFETY: as the caller guarantees.
    unsafe {
        match DTYPE {
            dtype::F32 => _mm512_loadu_ps(w.cast::<f32>().add(k * PANEL)),
            dtype::F16 => _mm512_cvtph_ps(_mm256_loadu_si256(w.cast::<u16>().add(k * PANEL).cast())),
            _ => {
                let bits = _mm256_loadu_si256(w.cast::<u16>().add(k * PANEL).cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
            }
        }
    }
}

/// Rows `k` and `k + 1` of a panel. Two rows of bf16 are one load, and each is widened by one shuffle, which puts
/// each number into the upper half of an f32.
///
/// # Safety
/// Both must be there at `w`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn two_weights<const DTYPE: u8>(w: *const u8, k: usize) -> [__m512; 2] {
    // SAFETY: as the caller guarantees.
    unsafe {
        if DTYPE != dtype::BF16 {
            return [weights::<DTYPE>(w, k), weights::<DTYPE>(w, k + 1)];
        }
        const UPPER_HALVES: __mmask32 = 0xaaaa_aaaa;
        // Word 2n + 1 of the result is word n, or word 16 + n.
        let places = _mm512_slli_epi32::<16>(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
        let bits = _mm512_loadu_si512(w.cast::<u16>().add(k * PANEL).cast());
        let row = |places| _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(UPPER_HALVES, places, bits));
        [row(places), row(_mm512_add_epi32(places, _mm512_set1_epi32(16 << 16)))]
    }
}

/// # Safety
/// As [`super::tile::Widen`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn widen_rows<const DTYPE: u8>(from: *const u16, to: *mut f32, inputs: usize) {
    for k in 0..inputs {
        // SAFETY: the caller guarantees these panel rows at both places.
        unsafe { _mm512_storeu_ps(to.add(k * PANEL), weights::<DTYPE>(from.cast(), k)) };
    }
}

unsafe fn widen(dtype: u8, from: *const u16, to: *mut f32, inputs: usize) {
    // SAFETY: the caller guarantees the processor and the places.
    unsafe {
        match dtype {
            dtype::F16 => widen_rows::<{ dtype::F16 }>(from, to, inputs),
            _ => widen_rows::<{ dtype::BF16 }>(from, to, inputs),
        }
    }
}

/// # Safety
/// As [`Tiles::compute`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn product<const DTYPE: u8, const PACKED: bool, const R: usize, const P: usize>(tile: &Tile<'_>) {
    // The sums are needed only at the end, and from a farther cache: they are prefetched now.
    for row in 0..R {
        for panel in 0..P {
            let out = tile.out.wrapping_add(row * tile.out_stride + panel * PANEL);
            _mm_prefetch::<_MM_HINT_T0>(out.cast()); // touches nothing
        }
    }
    let mut sums = [[_mm512_setzero_ps(); P]; R];
    let mut first = tile.w;
    for run in runs_of::<PACKED>(tile, &mut [Run { place: 0, inputs: 0 }]) {
        // SAFETY: the run is there.
        let rows = unsafe { tile.x.add(run.place) };
        let quads = run.inputs / QUAD;
        for quad in 0..quads {
            for pair in 0..QUAD / 2 {
                let k = quad * QUAD + 2 * pair;
                // SAFETY: inputs k and k + 1 of the run are there in each row, and so are their weights in each panel.
                unsafe {
                    let mut w = [[_mm512_setzero_ps(); 2]; P];
                    for (panel, w) in w.iter_mut().enumerate() {
                        let from = first.add(panel * tile.w_stride);
                        if PACKED {
                            let later = from.wrapping_add(ahead(R) + k * PANEL * dtype::bytes(DTYPE));
                            for line in 0..2 * PANEL * dtype::bytes(DTYPE) / LINE {
                                _mm_prefetch::<_MM_HINT_T0>(later.wrapping_add(line * LINE).cast()); // touches nothing
                            }
                        }
                        *w = two_weights::<DTYPE>(from, k);
                    }
                    for next in 0..2 {
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let x = _mm512_set1_ps(*left::<PACKED, R>(rows, tile.x_stride, row, k + next));
                            for (w, sum) in w.iter().zip(sums) {
                                *sum = _mm512_fmadd_ps(x, w[next], *sum);
                            }
                        }
                    }
                }
            }
        }
        for k in quads * QUAD..run.inputs {
            // SAFETY: input k of the run is there in each row, and so are its weights in each panel.
            unsafe {
                let mut w = [_mm512_setzero_ps(); P];
                for (panel, w) in w.iter_mut().enumerate() {
                    *w = weights::<DTYPE>(first.add(panel * tile.w_stride), k);
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*left::<PACKED, R>(rows, tile.x_stride, row, k));
                    for (panel, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm512_fmadd_ps(x, w[panel], *sum);
                    }
                }
            }
        }
        // SAFETY: as above.
        first = unsafe { first.add(run.inputs * PANEL * dtype::bytes(DTYPE)) };
    }
    for (row, sums) in sums.iter().enumerate() {
        for (panel, sum) in sums.iter().enumerate() {
            // SAFETY: each row of the tile has the outputs of all its panels.
            unsafe {
                let out = tile.out.add(row * tile.out_stride + panel * PANEL);
                let sum = if tile.add { _mm512_add_ps(_mm512_loadu_ps(out), *sum) } else { *sum };
                _mm512_storeu_ps(out, sum);
            }
        }
    }
}
