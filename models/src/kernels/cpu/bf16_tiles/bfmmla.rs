//! Tiles with `bfmmla`, which adds two rows times two outputs over four inputs to four sums.
//!
//! It adds the two products of a pair of inputs up, adds that to what was there, and does so again for the next pair. Each
//! sum is rounded to odd, and what is below the normal numbers counts as zero. (Arm Architecture Reference Manual, C7.2,
//! BFMMLA, while FPCR.EBF is 0, as it is unless a program sets it.) So the bits are the same on every processor, and
//! others than AMX's. Stable Rust has no such intrinsic, so it is one line of assembly.

use std::{
    arch::{aarch64::*, asm},
    array,
};

use super::{
    parts::{PartTile, SIDE, STEP, SumTile},
    unit::Strip,
};

/// Inputs that one instruction multiplies.
const FOUR: usize = 4;
/// Pairs of rows, and of outputs, whose sums are in registers: sixteen of 32, beside four for rows and four for weights.
const PAIRS: usize = 4;

/// Adds the products of a strip to `sums`.
///
/// # Safety
/// The processor must have `bfmmla`.
#[target_feature(enable = "neon,bf16")]
pub(super) unsafe fn multiply(strip: &Strip<'_>, sums: &mut [SumTile]) {
    let [tiles, panels] = strip.shape;
    for tile in 0..tiles {
        let rows = strip.count.saturating_sub(tile * SIDE).min(SIDE);
        for panel in 0..panels {
            for row in (0..rows).step_by(2 * PAIRS) {
                for output in (0..SIDE).step_by(2 * PAIRS) {
                    block(strip, [tile, panel], [row, output], &mut sums[tile * panels + panel]);
                }
            }
        }
    }
}

/// Eight rows and eight outputs of a tile, from `row` and `output` on, through all steps.
#[target_feature(enable = "neon,bf16")]
fn block(strip: &Strip<'_>, [tile, panel]: [usize; 2], [row, output]: [usize; 2], to: &mut SumTile) {
    let panels = strip.shape[1];
    let mut sums = load(to, row, output);
    for (rows, weights) in strip.rows[tile].iter().zip(strip.weights.chunks_exact(strip.parts * panels)) {
        let [high, low] = rows;
        if strip.parts == 2 {
            add_step(&mut sums, high, row, &weights[panels + panel], output);
        }
        add_step(&mut sums, high, row, &weights[panel], output);
        add_step(&mut sums, low, row, &weights[panel], output);
    }
    store(&sums, to, row, output);
}

/// Of each pair of rows and of outputs, four sums: \[row, output\].
type Sums = [[float32x4_t; PAIRS]; PAIRS];

#[target_feature(enable = "neon,bf16")]
#[inline]
fn add_step(sums: &mut Sums, rows: &PartTile, row: usize, weights: &PartTile, output: usize) {
    for first in (0..STEP).step_by(FOUR) {
        let four = |row: usize| -> &[u16; FOUR] { &rows.0[row].as_chunks().0[first / FOUR] };
        let pairs: [_; PAIRS] = array::from_fn(|pair| {
            let [one, other] = [0, 1].map(|which| four(row + 2 * pair + which).as_ptr());
            // SAFETY: four numbers are there.
            unsafe { vcombine_u16(vld1_u16(one), vld1_u16(other)) }
        });
        let from: &[u16] = &weights.0.as_flattened()[first * SIDE + output * FOUR..][..2 * PAIRS * FOUR];
        for (pair, weights) in from.as_chunks::<{ 2 * FOUR }>().0.iter().enumerate() {
            // SAFETY: eight numbers are there.
            let weights = unsafe { vld1q_u16(weights.as_ptr()) };
            for (sums, rows) in sums.iter_mut().zip(pairs) {
                // SAFETY: the instruction touches its registers only, and the processor has it.
                unsafe {
                    asm!(
                        "bfmmla {sums:v}.4s, {rows:v}.8h, {weights:v}.8h",
                        sums = inout(vreg) sums[pair], rows = in(vreg) rows, weights = in(vreg) weights,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn load(from: &SumTile, row: usize, output: usize) -> Sums {
    array::from_fn(|rows| {
        array::from_fn(|outputs| {
            let two = |which: usize| from.0[row + 2 * rows + which][output + 2 * outputs..][..2].as_ptr();
            // SAFETY: two numbers are there.
            unsafe { vcombine_f32(vld1_f32(two(0)), vld1_f32(two(1))) }
        })
    })
}

#[target_feature(enable = "neon")]
#[inline]
fn store(sums: &Sums, to: &mut SumTile, row: usize, output: usize) {
    for (rows, sums) in sums.iter().enumerate() {
        for (outputs, sums) in sums.iter().enumerate() {
            let mut two = |which: usize| to.0[row + 2 * rows + which][output + 2 * outputs..][..2].as_mut_ptr();
            let [one, other] = [two(0), two(1)];
            // SAFETY: there is room for two numbers in each of two lines.
            unsafe {
                vst1_f32(one, vget_low_f32(*sums));
                vst1_f32(other, vget_high_f32(*sums));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::{KernelSet, test_weights::noise};

    /// The sum, cut off, with its last digit set where that lacks something.
    fn add(a: f32, b: f32) -> f32 {
        let (a, b) = (f64::from(a), f64::from(b));
        let sum = a + b;
        let (of_b, of_a) = (sum - a, sum - (sum - a));
        let lacking = (a - of_a) + (b - of_b);
        let nearest = sum as f32;
        let exact = f64::from(nearest) == sum && lacking == 0.0;
        let beyond = f64::from(nearest) - sum;
        let too_far = if beyond == 0.0 { lacking * sum.signum() < 0.0 } else { beyond * sum.signum() > 0.0 };
        let cut = f32::from_bits(nearest.to_bits() - u32::from(too_far));
        if exact { nearest } else { f32::from_bits(cut.to_bits() | 1) }
    }

    #[test]
    fn sums_are_those_of_the_manual() {
        if !KernelSet::NeonBf16.runs_here() {
            return;
        }
        let tile = |seed: u64| {
            let numbers = noise(seed, SIDE * STEP);
            PartTile(array::from_fn(|line| {
                array::from_fn(|place| (numbers[line * STEP + place].to_bits() >> 16) as u16)
            }))
        };
        let (rows, weights) = ([[tile(1), tile(2)]], [tile(3)]);
        let strip = Strip { shape: [1, 1], rows: [&rows, &rows], count: SIDE, weights: &weights, parts: 1 };
        let mut found = [SumTile::ZERO];
        // SAFETY: the processor has the instruction.
        unsafe { multiply(&strip, &mut found) };
        let wide = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        for row in 0..SIDE {
            for output in 0..SIDE {
                let mut expected = 0f32;
                for part in 0..2 {
                    for input in (0..STEP).step_by(2) {
                        let product = |input: usize| {
                            let weight = input / FOUR * FOUR * SIDE + output * FOUR + input % FOUR;
                            wide(rows[0][part].0[row][input]) * wide(weights[0].0.as_flattened()[weight])
                        };
                        expected = add(expected, add(product(input), product(input + 1)));
                    }
                }
                assert_eq!(found[0].0[row][output].to_bits(), expected.to_bits(), "row {row}, output {output}");
            }
        }
    }
}
