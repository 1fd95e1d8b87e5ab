//! Numbers as sums of bf16 parts, and rows of them in the order in which tiles are loaded.

use std::ops::Range;

use super::super::{
    lhs_packing::{MOST_INPUTS, Rows},
    vector::for_each_set,
};

/// Rows and columns of a tile.
pub(super) const SIDE: usize = 16;
/// Inputs that one step of a tile multiplies: 64 bytes of bf16.
pub(super) const STEP: usize = 32;
/// Bits of an f32 that a bf16 has.
pub(super) const UPPER: u32 = 0xffff_0000;
/// Half of the lowest of these bits.
pub(super) const HALF: u32 = 0x8000;

/// A tile of bf16, as it is loaded. Of rows: \[row, input\]. Of weights: \[group of inputs, output, which of the group\],
/// where a group is what the instruction adds up in one go ([`super::arrange::Order`]).
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct PartTile(pub [[u16; STEP]; SIDE]);

/// A tile of sums: \[row, output\].
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct SumTile(pub [[f32; SIDE]; SIDE]);

impl PartTile {
    pub const ZERO: Self = Self([[0; STEP]; SIDE]);
}

impl SumTile {
    pub const ZERO: Self = Self([[0.0; SIDE]; SIDE]);
}

/// High and low part of 16 rows for one step. Together they have 16 digits of each number, or one fewer: the rest is
/// at most 2^-17 of it. The low part of what is not finite is zero.
pub(super) type RowParts = [PartTile; 2];

/// The bits of the nearest bf16, of two as near the even one.
#[inline(always)]
fn nearest(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & UPPER
}

#[inline(always)]
fn is_finite(bits: u32) -> bool {
    bits & 0x7f80_0000 != 0x7f80_0000
}

/// Both parts of `x`.
#[inline(always)]
pub(super) fn split(x: f32) -> [u16; 2] {
    let bits = x.to_bits();
    let rounded = nearest(x);
    // The largest numbers round to infinity; the largest bf16 is near enough to them for a second part.
    let rounded = if is_finite(rounded) { rounded } else { rounded.wrapping_sub(1 << 16) };
    let rest = x - f32::from_bits(rounded);
    // A bit that says "no number" may lie in the lower half.
    let kept = (bits & UPPER) | if bits & !UPPER == 0 { 0 } else { 1 << 16 };
    let high = if is_finite(bits) { rounded } else { kept };
    let low = if is_finite(bits) { nearest(rest) } else { 0 };
    [(high >> 16) as u16, (low >> 16) as u16]
}

for_each_set! {
    /// Splits the numbers of row `row` of a tile, [`STEP`] for each step; beyond the last one are zeros.
    fn split_line<FMA>(line: &[f32], row: usize, to: &mut [RowParts]) {
        let whole = line.chunks_exact(STEP);
        let rest = whole.remainder();
        let mut last = [0f32; STEP];
        last[..rest.len()].copy_from_slice(rest);
        let last = (!rest.is_empty()).then_some(&last[..]);
        for (numbers, [high, low]) in whole.chain(last).zip(to) {
            let (high, low) = (&mut high.0[row], &mut low.0[row]);
            for ((x, high), low) in numbers.iter().zip(high).zip(low) {
                [*high, *low] = split(*x);
            }
        }
        let _ = FMA;
    }
}

/// Steps in which rows are split at once.
pub(super) const STEPS_AT_ONCE: usize = MOST_INPUTS / STEP;

/// Splits rows `rows`, at most [`SIDE`], from step `first` on: at most [`STEPS_AT_ONCE`] steps. Rows of the tiles that
/// are not there stay as they were.
pub(super) fn split_rows(
    set: super::super::KernelSet,
    from: Rows<'_>,
    rows: Range<usize>,
    first: usize,
    to: &mut [RowParts],
) {
    let inputs = first * STEP..from.inputs().min((first + to.len()) * STEP);
    let mut room = [0f32; MOST_INPUTS];
    for (place, row) in rows.enumerate() {
        split_line(set, from.line(row, inputs.clone(), &mut room), place, to);
    }
}
