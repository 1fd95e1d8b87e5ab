//! Weights in the order in which tiles are loaded, made of panels a block at a time.
//!
//! A model lies in memory once, in panels that every kernel set reads. Tiles in place of them would fit one set; a
//! second copy would not fit the memory. The block that is multiplied next lies in the nearest cache.

use std::ops::Range;

use super::{
    super::packed::{PANEL, Packed, PanelRows, WeightDtype},
    parts::{HALF, PartTile, SIDE, STEP, UPPER},
};

/// Tiles that a weight is split into. One of bf16 is one; f16 is the sum of two exactly, f32 to 16 digits.
pub(super) fn parts_of(dtype: WeightDtype) -> usize {
    match dtype {
        WeightDtype::Bf16 => 1,
        WeightDtype::F16 | WeightDtype::F32 => 2,
    }
}

/// Where the tiles of one panel lie among those of a group: \[step, part, panel\].
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Panels of the group.
    pub panels: usize,
    /// Which of them this one is.
    pub panel: usize,
}

/// Lays out the weights of `panel` to `inputs`, which begin at a step, with zeros beyond the last step's inputs.
pub(super) fn arrange(
    in_avx512: bool,
    weights: &Packed,
    panel: usize,
    inputs: Range<usize>,
    place: Place,
    to: &mut [PartTile],
) {
    let parts = parts_of(weights.dtype());
    assert!(to.len() >= inputs.len().div_ceil(STEP) * parts * place.panels && place.panel < place.panels);
    let rows = weights.panel_rows(panel, inputs.clone());
    #[cfg(target_arch = "x86_64")]
    if in_avx512 && inputs.len().is_multiple_of(2) {
        // SAFETY: AVX-512 is here, as the caller says, which asked for it.
        unsafe { super::arrange_avx512::arrange(rows, place, to) };
        clear_beyond(inputs.len(), parts, place, to);
        return;
    }
    let _ = in_avx512;
    for first in (0..inputs.len()).step_by(2) {
        let number = |input: usize, output: usize| match rows {
            _ if input >= inputs.len() => [0; 2],
            PanelRows::Wide(rows) => cut(rows[input].0[output]),
            PanelRows::Half(rows) => cut(half::f16::from_bits(rows[input].0[output]).to_f32()),
            PanelRows::Brain(rows) => [rows[input].0[output], 0],
        };
        for part in 0..parts {
            let line = line_of(first / 2, part, parts, place, to);
            for output in 0..PANEL {
                line[2 * output] = number(first, output)[part];
                line[2 * output + 1] = number(first + 1, output)[part];
            }
        }
    }
    clear_beyond(inputs.len().next_multiple_of(2), parts, place, to);
}

/// The line of a pair of inputs in the tiles of one part.
fn line_of(pair: usize, part: usize, parts: usize, place: Place, to: &mut [PartTile]) -> &mut [u16; STEP] {
    let tile = (pair / SIDE * parts + part) * place.panels + place.panel;
    &mut to[tile].0[pair % SIDE]
}

/// Both parts of a weight: the nearest bf16, of two as near the larger one, and the nearest to what that lacks.
fn cut(weight: f32) -> [u16; 2] {
    let nearest = |x: f32| x.to_bits().wrapping_add(HALF) & UPPER;
    let high = nearest(weight);
    // What is no number may be lost in the high part, and is not in the low one.
    let lacking = weight - f32::from_bits(high);
    let low = if lacking.is_nan() { lacking.to_bits() } else { nearest(lacking) };
    [(high >> 16) as u16, (low >> 16) as u16]
}

/// Zeros for the inputs of the last step from `inputs`, an even number, on.
fn clear_beyond(inputs: usize, parts: usize, place: Place, to: &mut [PartTile]) {
    for pair in inputs / 2..inputs.next_multiple_of(STEP) / 2 {
        for part in 0..parts {
            line_of(pair, part, parts, place, to).fill(0);
        }
    }
}
