//! Tiles with AVX2, FMA and F16C: a panel row is two registers.

use std::arch::x86_64::*;

use super::{
    packed::PANEL,
    tile::{Run, Tile, Tiles, dtype, left, runs_of, tile_of},
};

/// Numbers of a register.
const LANES: usize = 8;

pub(super) const TILES: Tiles = Tiles {
    few: &[(3, 2), (6, 1)],
    many: (6, 1),
    compute: compute::<false>,
    packed: compute::<true>,
    widen: (widen, usize::MAX),
};

unsafe fn compute<const PACKED: bool>(dtype: u8, rows: usize, panels: usize, tile: &Tile<'_>) {
    // SAFETY: the caller guarantees the processor and the places.
    unsafe { tile_of!(product, PACKED, tile, dtype, rows, panels, { 1: 1 2 3 4 5 6; 2: 1 2 3; }) }
}

/// Half `half` of row `k` of a panel.
///
/// # Safety
/// The row must be there at `w`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weights<const DTYPE: u8>(w: *const u8, k: usize, half: usize) -> __m256 {
    let place = k * PANEL + half * LANES;
    // SAFETY: as the caller guarantees.
    unsafe {
        match DTYPE {
            dtype::F32 => _mm256_loadu_ps(w.cast::<f32>().add(place)),
            dtype::F16 => _mm256_cvtph_ps(_mm_loadu_si128(w.cast::<u16>().add(place).cast())),
            _ => {
                let bits = _mm_loadu_si128(w.cast::<u16>().add(place).cast());
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
            }
        }
    }
}

/// # Safety
/// As [`Tiles::compute`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn product<const DTYPE: u8, const PACKED: bool, const R: usize, const P: usize>(tile: &Tile<'_>) {
    let mut sums = [[[_mm256_setzero_ps(); 2]; P]; R];
    let mut first = tile.w;
    for run in runs_of::<PACKED>(tile, &mut [Run { place: 0, inputs: 0 }]) {
        // SAFETY: the run is there.
        let rows = unsafe { tile.x.add(run.place) };
        for k in 0..run.inputs {
            // SAFETY: input k of the run is there in each row, and so are its weights in each panel.
            unsafe {
                let mut w = [[_mm256_setzero_ps(); 2]; P];
                for (panel, w) in w.iter_mut().enumerate() {
                    let from = first.add(panel * tile.w_stride);
                    *w = [weights::<DTYPE>(from, k, 0), weights::<DTYPE>(from, k, 1)];
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*left::<PACKED, R>(rows, tile.x_stride, row, k));
                    for (panel, sums) in sums.iter_mut().enumerate() {
                        sums[0] = _mm256_fmadd_ps(x, w[panel][0], sums[0]);
                        sums[1] = _mm256_fmadd_ps(x, w[panel][1], sums[1]);
                    }
                }
            }
        }
        // SAFETY: as above.
        first = unsafe { first.add(run.inputs * PANEL * dtype::bytes(DTYPE)) };
    }
    for (row, sums) in sums.iter().enumerate() {
        for (panel, sums) in sums.iter().enumerate() {
            for (half, sum) in sums.iter().enumerate() {
                // SAFETY: each row of the tile has the outputs of all its panels.
                unsafe {
                    let out = tile.out.add(row * tile.out_stride + panel * PANEL + half * LANES);
                    let sum = if tile.add { _mm256_add_ps(_mm256_loadu_ps(out), *sum) } else { *sum };
                    _mm256_storeu_ps(out, sum);
                }
            }
        }
    }
}

/// # Safety
/// As [`super::tile::Widen`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen_rows<const DTYPE: u8>(from: *const u16, to: *mut f32, inputs: usize) {
    for k in 0..inputs {
        for half in 0..2 {
            // SAFETY: the caller guarantees these panel rows at both places.
            unsafe { _mm256_storeu_ps(to.add(k * PANEL + half * LANES), weights::<DTYPE>(from.cast(), k, half)) };
        }
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
