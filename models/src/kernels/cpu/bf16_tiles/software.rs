//! The tile instruction in software: the same sums in the same order.
//!
//! `tdpbf16ps` keeps a sum of the even inputs and one of the odd inputs of a step, adds both, and adds that to what was
//! there. Each is rounded to nearest even, and what is below the normal numbers counts as zero, before and after. (Intel
//! 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS.) The products of two bf16 are exact in
//! f32 but for those below the normal numbers.

use super::{
    parts::{PartTile, SIDE, STEP, SumTile},
    unit::Strip,
};
use crate::kernels::cpu::{KernelSet, vector::for_each_set};

pub(super) fn multiply(strip: &Strip<'_>, sums: &mut [SumTile]) {
    let set = KernelSet::AmxInSoftware;
    let [tiles, panels] = strip.shape;
    for (step, weights) in strip.weights.chunks_exact(strip.parts * panels).enumerate() {
        for tile in 0..tiles {
            let rows = strip.count.saturating_sub(tile * SIDE).min(SIDE);
            let [high, low] = &strip.rows[tile][step];
            for panel in 0..panels {
                let sum = &mut sums[tile * panels + panel];
                if strip.parts == 2 {
                    add_products(set, &high.0[..rows], &weights[panels + panel], sum);
                }
                add_products(set, &high.0[..rows], &weights[panel], sum);
                add_products(set, &low.0[..rows], &weights[panel], sum);
            }
        }
    }
}

/// A number, or zero with its sign where it is below the normal ones.
#[inline(always)]
fn normal(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

#[inline(always)]
fn widened(bits: u16) -> f32 {
    normal(f32::from_bits(u32::from(bits) << 16))
}

for_each_set! {
    fn add_products<FMA>(rows: &[[u16; STEP]], weights: &PartTile, sums: &mut SumTile) {
        let weights = weights.0.map(|line| line.map(widened));
        for (row, sums) in rows.iter().zip(&mut sums.0) {
            let mut both = [0f32; STEP];
            for (pair, weights) in row.as_chunks::<2>().0.iter().zip(&weights) {
                let [even, odd] = pair.map(widened);
                let mut twice = [even; STEP];
                twice.iter_mut().skip(1).step_by(2).for_each(|number| *number = odd);
                for place in 0..STEP {
                    both[place] = normal(both[place] + twice[place] * weights[place]);
                }
            }
            for output in 0..SIDE {
                let sum = normal(both[2 * output] + both[2 * output + 1]);
                sums[output] = normal(normal(sums[output]) + sum);
            }
        }
        let _ = FMA;
    }
}
