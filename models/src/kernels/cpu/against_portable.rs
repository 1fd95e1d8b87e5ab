//! Tests of every kernel set against the portable one, for all numbers and alignments.

use half::{bf16, f16};
use proptest::prelude::*;

use super::{KernelSet, Packed, ProductEpilogue, Rows, WeightDtype, matmul, packed::PANEL};
use crate::signal::KeyedNoise;

const DTYPES: [WeightDtype; 3] = [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16];

/// `number` as it is after it was stored.
fn stored(dtype: WeightDtype, number: f32) -> f32 {
    match dtype {
        WeightDtype::F32 => number,
        WeightDtype::F16 => f16::from_f32(number).to_f32(),
        WeightDtype::Bf16 => bf16::from_f32(number).to_f32(),
    }
}

/// `count` numbers of either sign whose exponents of two are in `from..=to`, so that they may be below the normal ones;
/// `strange` of them are no numbers, infinite or zero instead.
fn numbers(key: u64, count: usize, (from, to): (i32, i32), strange: usize) -> Vec<f32> {
    let noise = KeyedNoise::new(key);
    let mut random = vec![0f32; 2 * count];
    noise.fill_latent(0, &mut random);
    let place = |x: f32| (x.abs() * 1e6) as usize; // evenly enough
    let mut numbers: Vec<f32> = random
        .chunks_exact(2)
        .map(|two| {
            let exponent = from + (place(two[1]) % (to - from + 1) as usize) as i32;
            // In two steps, as 2^exponent alone may be 0.
            (f64::from(1.0 + two[0].abs().fract()) * 2f64.powi(exponent) * f64::from(two[0].signum())) as f32
        })
        .collect();
    for (index, two) in random.chunks_exact(2).take(strange).enumerate() {
        numbers[place(two[0]) % count] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0][index % 5];
    }
    numbers
}

/// A product whose rows and results begin `offset` numbers behind an allocation's start, so that no vector is aligned.
fn product(set: KernelSet, x: &[f32], weights: &Packed, bias: &[f32], offset: usize) -> Vec<f32> {
    let moved: Vec<f32> = std::iter::repeat_n(f32::NAN, offset).chain(x.iter().copied()).collect();
    let rows = Rows::new(&moved[offset..], weights.inputs());
    let mut out = vec![7.5f32; offset + rows.count * weights.outputs() + PANEL];
    let (before, rest) = out.split_at_mut(offset);
    let (out, behind) = rest.split_at_mut(rows.count * weights.outputs());
    matmul(set, rows, weights, ProductEpilogue { bias: Some(bias), ..ProductEpilogue::default() }, out);
    assert!(before.iter().chain(&*behind).all(|x| *x == 7.5), "{set}: written beside the result");
    out.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.min(96), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn every_set_agrees_with_the_portable_one_within_rounding(
        rows in 1usize..30, outputs in 1usize..80, inputs in 1usize..600, dtype in 0usize..3, offset in 0usize..4,
        key in any::<u64>(), lowest in prop::sample::select(vec![0, 10, 60, 148]), highest in 0i32..50,
        strange in 0usize..6, strange_weights in 0usize..4,
    ) {
        let dtype = DTYPES[dtype];
        // No sum may leave f32's range, for where it does depends on its rounding: 600 times 2^51 times 2^51 is inside.
        let highest_weight = if dtype == WeightDtype::F16 { highest.min(14) } else { highest };
        let x = numbers(key, rows * inputs, (-lowest, highest), strange);
        let w = numbers(!key, outputs * inputs, (-lowest, highest_weight), strange_weights);
        let bias = numbers(key ^ 1, outputs, (-lowest, highest), 0);
        let weights = Packed::new(outputs, inputs, dtype, |row, to| to.copy_from_slice(&w[row * inputs..][..inputs]));
        let expected = product(KernelSet::Portable, &x, &weights, &bias, 0);
        for set in KernelSet::here() {
            let found = product(set, &x, &weights, &bias, offset);
            for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let (row, output) = (place / outputs, place % outputs);
                if !expected.is_finite() {
                    prop_assert!(
                        found == expected || found.is_nan() && (expected.is_nan() || set.is_of_tiles()),
                        "{} at {}, {}: {} for {}", set, row, output, found, expected
                    );
                    continue;
                }
                let terms = x[row * inputs..][..inputs].iter().zip(&w[output * inputs..][..inputs]);
                // Of a part below the normal numbers nothing is left in a tile, nor of such a product or sum.
                let flushed = terms.clone().map(|(x, w)| 4.0 * (f64::from(x.abs()) + f64::from(w.abs()) + 2.0)).sum::<f64>();
                let flushed = if set.is_of_tiles() { flushed * f64::from(f32::MIN_POSITIVE) } else { 0.0 };
                let scale = terms.map(|(x, w)| f64::from(*x) * f64::from(stored(dtype, *w))).map(f64::abs).sum::<f64>()
                    + f64::from(bias[output].abs());
                // Each addition and product is wrong by half a unit of what it gives, in either result;
                // below the normal numbers the unit is fixed.
                let operations = (inputs + 4) as f64;
                let rounding = operations * (f64::from(f32::EPSILON) * scale + f64::from(f32::from_bits(1)));
                let rounding = rounding + set.left_out() * scale + flushed;
                let error = (f64::from(*found) - f64::from(*expected)).abs();
                prop_assert!(
                    error <= rounding,
                    "{} at {}, {}: {} for {}, {} allowed", set, row, output, found, expected, rounding
                );
            }
        }
    }
}

/// One row widens weights in registers, and fifty have them widened beforehand.
#[test]
fn every_number_of_16_bits_is_widened_to_what_it_is() {
    for (dtype, widened) in [
        (WeightDtype::F16, (|bits| f16::from_bits(bits).to_f32()) as fn(u16) -> f32),
        (WeightDtype::Bf16, |bits| bf16::from_bits(bits).to_f32()),
    ] {
        let all: Vec<f32> = (0..=u16::MAX).map(widened).collect();
        let weights = Packed::new(all.len(), 1, dtype, |row, to| to[0] = all[row]);
        let none = vec![0f32; all.len()];
        for set in KernelSet::here() {
            for rows in [1, 50] {
                let found = product(set, &vec![1.0; rows], &weights, &none, 1);
                for (place, found) in found.iter().enumerate() {
                    let expected = all[place % all.len()];
                    let in_tiles =
                        set.is_of_tiles().then_some(if expected.is_normal() { expected } else { expected * 0.0 });
                    assert!(
                        *found == in_tiles.unwrap_or(expected) || found.is_nan() && !expected.is_finite(),
                        "{set}, {dtype} {:#06x}: {found} for {expected}",
                        place % all.len()
                    );
                }
            }
        }
    }
}
