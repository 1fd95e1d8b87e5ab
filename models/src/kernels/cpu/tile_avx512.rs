//! Tiles with AVX-512: a panel row is one register.

use std::arch::x86_64::*;

use super::{
    packed::PANEL,
    tile::{Tile, Tiles, kind, tile_of},
};

pub(super) const TILES: Tiles = Tiles { many: (12, 2), few: (6, 4), compute, widen };

unsafe fn compute(kind: u8, rows: usize, panels: usize, tile: &Tile) {
    // SAFETY: the caller vouches for the processor and the places.
    unsafe {
        tile_of!(product, tile, kind, rows, panels, {
            1: 1 2 3 4 5 6 7 8 9 10 11 12;
            2: 1 2 3 4 5 6 7 8 9 10 11 12;
            3: 1 2 3 4 5 6;
            4: 1 2 3 4 5 6;
        });
    }
}

/// # Safety
/// Row `k` of a panel must be there at `w`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn weights<const KIND: u8>(w: *const u8, k: usize) -> __m512 {
    // SAFETY: as the caller vouches.
    unsafe {
        match KIND {
            kind::F32 => _mm512_loadu_ps(w.cast::<f32>().add(k * PANEL)),
            kind::F16 => _mm512_cvtph_ps(_mm256_loadu_si256(w.cast::<u16>().add(k * PANEL).cast())),
            _ => {
                let bits = _mm256_loadu_si256(w.cast::<u16>().add(k * PANEL).cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
            }
        }
    }
}

/// # Safety
/// As [`Tiles::compute`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn product<const KIND: u8, const R: usize, const P: usize>(tile: &Tile) {
    // The sums are wanted only at the end, and from a cache further away: they are asked for now.
    for row in 0..R {
        for panel in 0..P {
            let out = tile.out.wrapping_add(row * tile.out_stride + panel * PANEL);
            _mm_prefetch::<_MM_HINT_T0>(out.cast()); // touches nothing
        }
    }
    let mut sums = [[_mm512_setzero_ps(); P]; R];
    for k in 0..tile.inputs {
        // SAFETY: input k of each panel is there, and so is number k of each row.
        unsafe {
            let mut w = [_mm512_setzero_ps(); P];
            for (panel, w) in w.iter_mut().enumerate() {
                *w = weights::<KIND>(tile.w.add(panel * tile.w_stride), k);
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*tile.x.add(row * tile.x_stride + k));
                for (panel, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_fmadd_ps(x, w[panel], *sum);
                }
            }
        }
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

/// # Safety
/// As [`Tiles::widen`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn widen_rows<const KIND: u8>(from: *const u16, to: *mut f32, inputs: usize) {
    for k in 0..inputs {
        // SAFETY: so many panel rows are there at both places.
        unsafe { _mm512_storeu_ps(to.add(k * PANEL), weights::<KIND>(from.cast(), k)) };
    }
}

unsafe fn widen(kind: u8, from: *const u16, to: *mut f32, inputs: usize) {
    // SAFETY: the caller vouches for the processor and the places.
    unsafe {
        match kind {
            kind::F16 => widen_rows::<{ kind::F16 }>(from, to, inputs),
            _ => widen_rows::<{ kind::BF16 }>(from, to, inputs),
        }
    }
}
