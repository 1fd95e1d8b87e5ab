//! Tiles with NEON as every ARM64 processor has it: a panel row is four registers.

use std::arch::{aarch64::*, asm};

use super::{
    packed::PANEL,
    tile::{Run, Tile, Tiles, dtype, left, runs_of, tile_of},
};

/// Numbers of a register.
const LANES: usize = 4;
/// Pairs of registers in a panel row: eight narrow numbers are one load and become a pair.
const PAIRS: usize = PANEL / (2 * LANES);

// Both shapes hold 24 sums; of the 32 registers, 8 are left for a panel row and numbers of the left side.
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

/// Four f16 as f32. An instruction of ARMv8.0, but an intrinsic only in compilers newer than the oldest that we build
/// with.
#[inline]
#[target_feature(enable = "neon")]
fn widen_f16(bits: uint16x4_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: it reads one register and writes another.
    unsafe {
        asm!("fcvtl {wide:v}.4s, {bits:v}.4h", wide = lateout(vreg) wide, bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// Pair `pair` of row `k` of a panel.
///
/// # Safety
/// The row must be there at `w`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn weights<const DTYPE: u8>(w: *const u8, k: usize, pair: usize) -> [float32x4_t; 2] {
    let place = k * PANEL + pair * 2 * LANES;
    // SAFETY: as the caller guarantees; these loads need no alignment.
    unsafe {
        match DTYPE {
            dtype::F32 => {
                let from = w.cast::<f32>().add(place);
                [vld1q_f32(from), vld1q_f32(from.add(LANES))]
            }
            dtype::F16 => {
                let bits = vld1q_u16(w.cast::<u16>().add(place));
                [widen_f16(vget_low_u16(bits)), widen_f16(vget_high_u16(bits))]
            }
            _ => {
                let bits = vld1q_u16(w.cast::<u16>().add(place));
                [vshll_n_u16::<16>(vget_low_u16(bits)), vshll_high_n_u16::<16>(bits)].map(|x| vreinterpretq_f32_u32(x))
            }
        }
    }
}

/// # Safety
/// As [`Tiles::compute`].
#[target_feature(enable = "neon")]
unsafe fn product<const DTYPE: u8, const PACKED: bool, const R: usize, const P: usize>(tile: &Tile<'_>) {
    let mut sums = [[[[vdupq_n_f32(0.0); 2]; PAIRS]; P]; R];
    let mut first = tile.w;
    for run in runs_of::<PACKED>(tile, &mut [Run { place: 0, inputs: 0 }]) {
        // SAFETY: the run is there.
        let rows = unsafe { tile.x.add(run.place) };
        for k in 0..run.inputs {
            for panel in 0..P {
                // SAFETY: input k of the run is there in each row, and so are its weights in each panel.
                unsafe {
                    let from = first.add(panel * tile.w_stride);
                    let w = [weights::<DTYPE>(from, k, 0), weights::<DTYPE>(from, k, 1)];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = *left::<PACKED, R>(rows, tile.x_stride, row, k);
                        for (sums, w) in sums[panel].iter_mut().zip(w) {
                            sums[0] = vfmaq_n_f32(sums[0], w[0], x);
                            sums[1] = vfmaq_n_f32(sums[1], w[1], x);
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        first = unsafe { first.add(run.inputs * PANEL * dtype::bytes(DTYPE)) };
    }
    for (row, sums) in sums.iter().enumerate() {
        for (panel, sums) in sums.iter().enumerate() {
            for (pair, sums) in sums.iter().enumerate() {
                for (half, sum) in sums.iter().enumerate() {
                    // SAFETY: each row of the tile has the outputs of all its panels.
                    unsafe {
                        let out = tile.out.add(row * tile.out_stride + panel * PANEL + (2 * pair + half) * LANES);
                        let sum = if tile.add { vaddq_f32(vld1q_f32(out), *sum) } else { *sum };
                        vst1q_f32(out, sum);
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`super::tile::Widen`].
#[target_feature(enable = "neon")]
unsafe fn widen_rows<const DTYPE: u8>(from: *const u16, to: *mut f32, inputs: usize) {
    for k in 0..inputs {
        for pair in 0..PAIRS {
            // SAFETY: the caller guarantees these panel rows at both places.
            unsafe {
                let [low, high] = weights::<DTYPE>(from.cast(), k, pair);
                let to = to.add(k * PANEL + pair * 2 * LANES);
                vst1q_f32(to, low);
                vst1q_f32(to.add(LANES), high);
            }
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
