//! Operations on rows and single numbers between two products: norms, gates, activations, softmax.
//!
//! Numbers come as plain slices, row after row. Where something belongs to an entry of the batch (a scale, a gate), so
//! many rows in turn share it. Every function panics when lengths do not fit each other: a mistake of the caller.

use super::{
    KernelSet,
    vector::{LANES, by_rows, exp, for_each_set, product_and, sum_of, total},
};

/// One row of `width` numbers for each entry of the batch, somewhere in a table: entry `b`'s begins at
/// `first + b · stride`.
#[derive(Debug, Clone, Copy)]
pub struct PerEntry<'a> {
    /// The table.
    pub numbers: &'a [f32],
    /// Where the first entry's row begins.
    pub first: usize,
    /// From an entry's row to the next one's.
    pub stride: usize,
}

impl<'a> PerEntry<'a> {
    fn row(&self, entry: usize, width: usize) -> &'a [f32] {
        &self.numbers[self.first + entry * self.stride..][..width]
    }
}

/// Kinds of norms.
#[derive(Debug, Clone, Copy)]
pub enum Norm<'a> {
    /// By the root of the mean square; then multiplied by a weight for each channel.
    Rms(&'a [f32]),
    /// By the root of the variance, after the mean was subtracted.
    Layer,
}

/// `norm(x)`, or with `modulation` = (rows of an entry, scale, shift): `norm(x) · (1 + scale) + shift`.
///
/// # Shapes
/// - `xs` and `out` \[rows, width\]
pub fn norm(
    set: KernelSet,
    xs: &[f32],
    width: usize,
    kind: Norm<'_>,
    eps: f32,
    modulation: Option<(usize, PerEntry<'_>, PerEntry<'_>)>,
    out: &mut [f32],
) {
    assert_eq!(xs.len(), out.len(), "numbers of a norm");
    by_rows(out, width, 2, |first, out| {
        for (index, out) in out.chunks_exact_mut(width).enumerate() {
            let row = first + index;
            let xs = &xs[row * width..][..width];
            match kind {
                Norm::Rms(weight) => rms_row(set, xs, weight, eps, out),
                Norm::Layer => layer_row(set, xs, eps, out),
            }
            if let Some((rows, scale, shift)) = modulation {
                let entry = row / rows;
                steer_row(set, scale.row(entry, width), shift.row(entry, width), out);
            }
        }
    });
}

for_each_set! {
    fn rms_row<FMA>(xs: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let squares = sum_of(xs, |sum, x| product_and::<FMA>(x, x, sum));
        let factor = 1.0 / (squares / xs.len() as f32 + eps).sqrt();
        assert!(weight.len() == xs.len() && out.len() == xs.len(), "numbers of a norm");
        for place in 0..xs.len() {
            out[place] = xs[place] * factor * weight[place];
        }
    }
}

for_each_set! {
    fn layer_row<FMA>(xs: &[f32], eps: f32, out: &mut [f32]) {
        let mean = sum_of(xs, |sum, x| sum + x) / xs.len() as f32;
        let squares = sum_of(xs, |sum, x| product_and::<FMA>(x - mean, x - mean, sum));
        let factor = 1.0 / (squares / xs.len() as f32 + eps).sqrt();
        out.iter_mut().zip(xs).for_each(|(out, x)| *out = (x - mean) * factor);
    }
}

for_each_set! {
    fn steer_row<FMA>(scale: &[f32], shift: &[f32], out: &mut [f32]) {
        assert!(scale.len() == out.len() && shift.len() == out.len(), "numbers of a modulation");
        for place in 0..out.len() {
            out[place] = product_and::<FMA>(out[place], 1.0 + scale[place], shift[place]);
        }
    }
}

/// `x + y · gate`, the gate one row for the `rows` rows of an entry.
///
/// # Shapes
/// - `xs`, `ys` and `out` \[rows, width\]
pub fn gated_sum(
    set: KernelSet,
    xs: &[f32],
    ys: &[f32],
    width: usize,
    (rows, gate): (usize, PerEntry<'_>),
    out: &mut [f32],
) {
    assert!(xs.len() == out.len() && ys.len() == out.len(), "numbers of a gate");
    by_rows(out, width, 1, |first, out| {
        for (index, out) in out.chunks_exact_mut(width).enumerate() {
            let row = first + index;
            let range = row * width..(row + 1) * width;
            gated_row(set, &xs[range.clone()], &ys[range], gate.row(row / rows, width), out);
        }
    });
}

for_each_set! {
    fn gated_row<FMA>(xs: &[f32], ys: &[f32], gate: &[f32], out: &mut [f32]) {
        assert!(xs.len() == out.len() && ys.len() == out.len() && gate.len() == out.len(), "numbers of a gate");
        for place in 0..out.len() {
            out[place] = product_and::<FMA>(ys[place], gate[place], xs[place]);
        }
    }
}

/// `silu(gate) · up`, where row r of the result takes `width` numbers from `gate` and from `up`, each beginning at
/// `r · stride`: `stride` is `width` for results of their own, twice that for both side by side.
///
/// # Shapes
/// - `out` \[rows, width\]
pub fn silu_up(set: KernelSet, gate: &[f32], up: &[f32], width: usize, stride: usize, out: &mut [f32]) {
    by_rows(out, width, 4, |first, out| {
        for (index, out) in out.chunks_exact_mut(width).enumerate() {
            let from = (first + index) * stride;
            silu_up_row(set, &gate[from..from + width], &up[from..from + width], out);
        }
    });
}

for_each_set! {
    fn silu_up_row<FMA>(gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == out.len() && up.len() == out.len(), "numbers of a gate");
        for place in 0..out.len() {
            let x = gate[place];
            out[place] = x / (1.0 + exp::<FMA>(-x)) * up[place];
        }
    }
}

/// Softmax of each row.
///
/// # Shapes
/// - `xs` \[rows, width\], overwritten
pub fn softmax(set: KernelSet, xs: &mut [f32], width: usize) {
    by_rows(xs, width, 4, |_, xs| {
        for row in xs.chunks_exact_mut(width) {
            let factor = 1.0 / exp_row(set, row);
            row.iter_mut().for_each(|x| *x *= factor);
        }
    });
}

for_each_set! {
    /// Replaces numbers by the exponentials of their distance to the greatest, and returns the sum of these.
    pub(super) fn exp_row<FMA>(xs: &mut [f32]) -> f32 {
        let mut most = [f32::NEG_INFINITY; LANES];
        let chunks = xs.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
            }
        }
        let mut greatest = f32::NEG_INFINITY;
        for x in most.iter().chain(rest) {
            greatest = if *x > greatest { *x } else { greatest };
        }
        let mut sums = [0f32; LANES];
        let mut chunks = xs.chunks_exact_mut(LANES);
        for chunk in chunks.by_ref() {
            for lane in 0..LANES {
                chunk[lane] = exp::<FMA>(chunk[lane] - greatest);
                sums[lane] += chunk[lane];
            }
        }
        for (x, sum) in chunks.into_remainder().iter_mut().zip(&mut sums) {
            *x = exp::<FMA>(*x - greatest);
            *sum += *x;
        }
        total(sums)
    }
}

/// x where x is positive, slope · x elsewhere.
pub fn prelu(set: KernelSet, xs: &[f32], slope: f32, out: &mut [f32]) {
    assert_eq!(xs.len(), out.len(), "numbers of an activation");
    by_rows(out, 1, 1, |first, out| prelu_row(set, &xs[first..first + out.len()], slope, out));
}

for_each_set! {
    fn prelu_row<FMA>(xs: &[f32], slope: f32, out: &mut [f32]) {
        out.iter_mut().zip(xs).for_each(|(out, x)| *out = if *x > 0.0 { *x } else { slope * x });
    }
}

for_each_set! {
    /// Rotates neighbouring pairs of one head's channels by angles whose cosines and sines are given, one for each
    /// pair, and multiplies them by `factor`.
    pub(super) fn rotate<FMA>(xs: &[f32], cos: &[f32], sin: &[f32], factor: f32, out: &mut [f32]) {
        let pairs = xs.chunks_exact(2).zip(cos.iter().zip(sin)).zip(out.chunks_exact_mut(2));
        for ((x, (cos, sin)), out) in pairs {
            out[0] = (x[0] * cos - x[1] * sin) * factor;
            out[1] = (x[0] * sin + x[1] * cos) * factor;
        }
    }
}

/// Rotates heads by the position of their row (RoPE).
///
/// # Shapes
/// - `xs` and `out` \[blocks, positions, width\]; `cos`, `sin` \[positions, width / 2\]
pub fn rotary(set: KernelSet, xs: &[f32], width: usize, cos: &[f32], sin: &[f32], out: &mut [f32]) {
    assert_eq!(xs.len(), out.len(), "numbers of a rotation");
    assert!(cos.len() == sin.len() && width.is_multiple_of(2), "angles of a rotation");
    let half = width / 2;
    let positions = cos.len() / half.max(1);
    by_rows(out, width, 2, |first, out| {
        for (index, out) in out.chunks_exact_mut(width).enumerate() {
            let (row, angles) = (first + index, (first + index) % positions * half);
            let (cos, sin) = (&cos[angles..angles + half], &sin[angles..angles + half]);
            rotate(set, &xs[row * width..][..width], cos, sin, 1.0, out);
        }
    });
}

#[cfg(test)]
mod tests;
