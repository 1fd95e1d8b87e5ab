//! Weights in the order in which tiles are loaded, made of panels a block at a time.
//!
//! A model lies in memory once, in panels that every kernel set reads. Tiles in place of them would fit one set; a
//! second copy would not fit the memory. The block that is multiplied next lies in the nearest cache.

use std::ops::Range;

use super::{
    super::packed::{PANEL, Packed, PanelRows, WeightDtype},
    parts::{HALF, PartTile, STEP, UPPER},
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
pub(super) struct PanelPlace {
    /// Panels of the group.
    pub panels: usize,
    /// Which of them this one is.
    pub panel: usize,
}

/// How many inputs lie side by side for each output: what an instruction adds up in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Two, as `tdpbf16ps` takes them.
    Pairs,
    /// The same, arranged with AVX-512 where the processor has it.
    PairsInAvx512,
    /// Four, as `bfmmla` takes them.
    Fours,
}

/// Lays out the weights of `panel` to `inputs`, which begin at a step, with zeros beyond the last step's inputs.
pub(super) fn arrange(
    order: Order,
    weights: &Packed,
    panel: usize,
    inputs: Range<usize>,
    place: PanelPlace,
    to: &mut [PartTile],
) {
    let parts = parts_of(weights.dtype());
    assert!(to.len() >= inputs.len().div_ceil(STEP) * parts * place.panels && place.panel < place.panels);
    let rows = weights.panel_rows(panel, inputs.clone());
    match order {
        #[cfg(target_arch = "x86_64")]
        Order::PairsInAvx512
            if inputs.len().is_multiple_of(2) && crate::kernels::cpu::KernelSet::Avx512.runs_here() =>
        {
            // SAFETY: AVX-512 is here.
            unsafe { super::arrange_avx512::arrange(rows, place, to) };
            clear_beyond::<2>(inputs.len(), parts, place, to);
        }
        Order::Pairs | Order::PairsInAvx512 => arrange_groups::<2>(rows, inputs.len(), parts, place, to),
        Order::Fours => arrange_groups::<4>(rows, inputs.len(), parts, place, to),
    }
}

/// Lays out groups of `G` inputs.
fn arrange_groups<const G: usize>(
    rows: PanelRows<'_>,
    inputs: usize,
    parts: usize,
    place: PanelPlace,
    to: &mut [PartTile],
) {
    let line = |input: usize| match rows {
        _ if input >= inputs => [[0; 2]; PANEL],
        PanelRows::Wide(rows) => rows[input].0.map(cut),
        PanelRows::Half(rows) => rows[input].0.map(|bits| cut(half::f16::from_bits(bits).to_f32())),
        PanelRows::Brain(rows) => rows[input].0.map(|bits| [bits, 0]),
    };
    for group in 0..inputs.div_ceil(G) {
        let lines: [_; G] = std::array::from_fn(|which| line(group * G + which));
        let number = |which: usize, output: usize, part: usize| lines[which][output][part];
        for part in 0..parts {
            let to = group_of::<G>(group, part, parts, place, to);
            for (output, to) in to.as_chunks_mut::<G>().0.iter_mut().enumerate() {
                *to = std::array::from_fn(|which| number(which, output, part));
            }
        }
    }
    clear_beyond::<G>(inputs.next_multiple_of(G), parts, place, to);
}

/// The weights of a group of `G` inputs in the tiles of one part: \[output, which of the group\].
pub(super) fn group_of<const G: usize>(
    group: usize,
    part: usize,
    parts: usize,
    place: PanelPlace,
    to: &mut [PartTile],
) -> &mut [u16] {
    let groups = STEP / G;
    let tile = (group / groups * parts + part) * place.panels + place.panel;
    &mut to[tile].0.as_flattened_mut()[group % groups * G * PANEL..][..G * PANEL]
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

/// Zeros for the inputs of the last step from `inputs`, whole groups, on.
fn clear_beyond<const G: usize>(inputs: usize, parts: usize, place: PanelPlace, to: &mut [PartTile]) {
    for group in inputs / G..inputs.next_multiple_of(STEP) / G {
        for part in 0..parts {
            group_of::<G>(group, part, parts, place, to).fill(0);
        }
    }
}
