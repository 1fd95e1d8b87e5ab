//! Tests of products: against the formula, and bit-identical however they are cut.

use proptest::prelude::*;

use super::*;
use crate::kernels::cpu::test_weights::{KINDS, noise, packed};

fn product(set: KernelSet, rows: Rows<'_>, weights: &Packed, bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![f32::NAN; rows.count * weights.outputs()];
    matmul(set, rows, weights, ProductEpilogue { bias, ..ProductEpilogue::default() }, &mut out);
    out
}

fn threads(count: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("threads")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.min(48), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_rows_result_depends_neither_on_the_rows_beside_it_nor_on_the_threads(
        rows in 1usize..40, outputs in 1usize..90, inputs in 1usize..600, kind in 0usize..3, many in 0usize..2,
    ) {
        // Large enough for several threads now and then, and for several blocks of rows.
        let rows = rows + many * 500;
        let weights = packed(outputs, inputs, KINDS[kind]);
        let (numbers, bias) = (noise(2, rows * inputs), noise(3, outputs));
        for set in KernelSet::here() {
            let whole = product(set, Rows::new(&numbers, inputs), &weights, Some(&bias));
            let other = threads(3).install(|| product(set, Rows::new(&numbers, inputs), &weights, Some(&bias)));
            prop_assert!(whole == other, "{} on three threads", set);
            for row in [0, rows / 2, rows - 1] {
                for count in [1, 2, 7, 13] {
                    let count = count.min(rows - row);
                    let part = Rows::new(&numbers[row * inputs..(row + count) * inputs], inputs);
                    let part = product(set, part, &weights, Some(&bias));
                    prop_assert!(part == whole[row * outputs..(row + count) * outputs], "{} rows with {}", count, set);
                }
            }
        }
    }

    #[test]
    fn every_set_computes_what_doubles_compute(
        rows in 1usize..30, outputs in 1usize..70, inputs in 1usize..300, kind in 0usize..3,
    ) {
        let weights = packed(outputs, inputs, KINDS[kind]);
        let (numbers, bias) = (noise(2, rows * inputs), noise(3, outputs));
        let plain = noise(1, outputs * inputs);
        let stored = |number: f32| match KINDS[kind] {
            WeightDtype::F32 => number,
            WeightDtype::F16 => half::f16::from_f32(number).to_f32(),
            WeightDtype::Bf16 => half::bf16::from_f32(number).to_f32(),
        };
        for set in KernelSet::here() {
            let found = product(set, Rows::new(&numbers, inputs), &weights, Some(&bias));
            for row in 0..rows {
                for output in 0..outputs {
                    let (x, w) = (&numbers[row * inputs..][..inputs], &plain[output * inputs..][..inputs]);
                    let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(stored(*w)));
                    let expected = terms.clone().sum::<f64>() + f64::from(bias[output]);
                    let scale = terms.map(f64::abs).sum::<f64>() + 1.0;
                    let found = f64::from(found[row * outputs + output]);
                    let allowed = (2e-6 + set.left_out()) * scale;
                    prop_assert!((found - expected).abs() < allowed, "{}: {} for {}", set, found, expected);
                }
            }
        }
    }

    #[test]
    fn rows_of_several_runs_are_what_they_are_when_copied_together(
        count in 1usize..40, width in 1usize..20, taps in 1usize..6, dilation in 1usize..5,
    ) {
        let numbers = noise(4, (count + taps * dilation) * width);
        let runs: Vec<usize> = (0..taps).map(|tap| tap * dilation * width).collect();
        let rows = Rows { numbers: &numbers, count, stride: width, runs: &runs, width };
        let together: Vec<f32> = (0..count)
            .flat_map(|row| runs.iter().flat_map(move |run| row * width + run..row * width + run + width))
            .map(|place| numbers[place])
            .collect();
        let weights = packed(19, taps * width, WeightDtype::F32);
        for set in KernelSet::here() {
            let expected = product(set, Rows::new(&together, taps * width), &weights, None);
            prop_assert!(product(set, rows, &weights, None) == expected);
        }
    }

    /// Rows of few outputs are read from where they lie, those of many are packed; runs are cut where a block ends.
    #[test]
    fn rows_read_in_place_are_the_bits_of_packed_rows(
        count in 17usize..120, quads in 1usize..40, taps in 1usize..8, kind in 0usize..3, few in 1usize..60,
    ) {
        let (width, many) = (quads * QUAD, (FEW_PANELS + 1) * PANEL + 3);
        let numbers = noise(4, (count + taps) * width);
        let runs: Vec<usize> = (0..taps).map(|tap| tap * width).collect();
        let rows = Rows { numbers: &numbers, count, stride: width, runs: &runs, width };
        let [few, many] = [few, many].map(|outputs| packed(outputs, taps * width, KINDS[kind]));
        for set in KernelSet::here() {
            let (in_place, by_packing) = (product(set, rows, &few, None), product(set, rows, &many, None));
            for (in_place, by_packing) in
                in_place.chunks_exact(few.outputs()).zip(by_packing.chunks_exact(many.outputs()))
            {
                prop_assert!(in_place == &by_packing[..few.outputs()], "{}", set);
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_in_its_row_and_every_set_shows_it() {
    let weights = packed(21, 40, WeightDtype::Bf16);
    let clean = noise(2, 20 * 40);
    for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut numbers = clean.clone();
        numbers[7 * 40 + 3] = strange;
        for set in KernelSet::here() {
            let (found, untouched) = (
                product(set, Rows::new(&numbers, 40), &weights, None),
                product(set, Rows::new(&clean, 40), &weights, None),
            );
            for row in 0..20 {
                let (found, untouched) = (&found[row * 21..][..21], &untouched[row * 21..][..21]);
                assert!(if row == 7 { found.iter().all(|x| !x.is_finite()) } else { found == untouched });
            }
        }
    }
}

#[test]
fn numbers_below_the_normal_ones_are_not_lost() {
    let weights = Packed::new(3, 2, WeightDtype::F32, |_, to| to.fill(1.0));
    let tiny = f32::MIN_POSITIVE / 8.0;
    for set in KernelSet::here().filter(|set| !set.is_of_tiles()) {
        assert_eq!(product(set, Rows::new(&[tiny, tiny], 2), &weights, None), [2.0 * tiny; 3], "{set}");
    }
}

/// More outputs than are summed up at once, more inputs than a block has, rows for several tiles and blocks.
#[test]
fn a_product_in_many_pieces_is_the_same_bits_as_its_rows_alone() {
    let (rows, inputs, outputs) = (110, 1030, 1050);
    let (numbers, bias) = (noise(2, rows * inputs), noise(3, outputs));
    for kind in KINDS {
        let weights = packed(outputs, inputs, kind);
        for set in KernelSet::here() {
            let whole = threads(2).install(|| product(set, Rows::new(&numbers, inputs), &weights, Some(&bias)));
            for row in [0, 11, 54, 109] {
                let alone = Rows::new(&numbers[row * inputs..][..inputs], inputs);
                let alone = product(set, alone, &weights, Some(&bias));
                assert!(alone == whole[row * outputs..][..outputs], "{set}, {kind}: row {row}");
            }
        }
    }
}
