//! Tests of tiles: the instruction beside the software, arranged weights beside the formula, the accuracy of parts.

use proptest::prelude::*;

use super::{super::packed::WeightDtype, arrange::Order, parts::split, *};
use crate::kernels::cpu::{
    ProductEpilogue, matmul,
    test_weights::{KINDS, noise, packed},
};

fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[test]
fn two_parts_have_sixteen_digits_of_a_number_and_keep_what_is_none() {
    for x in noise(5, 20_000).into_iter().chain([0.0, -0.0, 1.0, f32::MAX, f32::MIN, 1e-30]) {
        let [high, low] = split(x).map(widened);
        assert!((x - high - low).abs() <= x.abs() / 131_072.0, "{x} is not {high} and {low}");
    }
    assert_eq!(split(f32::INFINITY).map(widened), [f32::INFINITY, 0.0]);
    for bits in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff, 0x7fc0_0000] {
        let [high, low] = split(f32::from_bits(bits)).map(widened);
        assert!(high.is_nan() && low == 0.0, "{bits:x}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn weights_are_arranged_alike_with_and_without_vectors() {
    if !KernelSet::Avx512.runs_here() {
        return;
    }
    for kind in KINDS {
        let parts = parts_of(kind);
        for (inputs, taken) in [(64, 0..64), (96, 32..96), (75, 32..75), (6, 0..6), (40, 0..40)] {
            let weights = packed(20, inputs, kind);
            for panel in 0..2 {
                let place = PanelPlace { panels: 2, panel };
                let [mut found, mut expected] = [(); 2].map(|()| vec![PartTile([[7; STEP]; SIDE]); 2 * parts * 2]);
                arrange(Order::PairsInAvx512, &weights, panel, taken.clone(), place, &mut found);
                arrange(Order::Pairs, &weights, panel, taken.clone(), place, &mut expected);
                assert!(found.iter().zip(&expected).all(|(one, other)| one.0 == other.0), "{kind} {taken:?}");
            }
        }
    }
}

#[test]
fn fours_of_inputs_hold_the_weights_that_pairs_hold() {
    for kind in KINDS {
        let parts = parts_of(kind);
        for (inputs, taken) in [(64, 0..64), (75, 32..75), (5, 0..5)] {
            let weights = packed(20, inputs, kind);
            for panel in 0..2 {
                let place = PanelPlace { panels: 2, panel };
                let [mut pairs, mut fours] = [(); 2].map(|()| vec![PartTile([[7; STEP]; SIDE]); 2 * parts * 2]);
                arrange(Order::Pairs, &weights, panel, taken.clone(), place, &mut pairs);
                arrange(Order::Fours, &weights, panel, taken.clone(), place, &mut fours);
                for (pairs, fours) in pairs.iter().zip(&fours) {
                    let (pairs, fours) = (pairs.0.as_flattened(), fours.0.as_flattened());
                    for (input, output) in (0..STEP).flat_map(|input| (0..SIDE).map(move |output| (input, output))) {
                        let place = |group: usize| input / group * group * SIDE + output * group + input % group;
                        assert_eq!(
                            pairs[place(2)],
                            fours[place(4)],
                            "{kind} {taken:?}, input {input}, output {output}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn products_in_tiles_have_sixteen_digits() {
    let (rows, inputs, outputs) = (20, 512, 64);
    let numbers = noise(2, rows * inputs);
    for (kind, typical) in [(WeightDtype::Bf16, 4e-6), (WeightDtype::F16, 1e-5), (WeightDtype::F32, 1e-5)] {
        let weights = packed(outputs, inputs, kind);
        let compute = |set| {
            let mut out = vec![0f32; rows * outputs];
            matmul(set, Rows::new(&numbers, inputs), &weights, ProductEpilogue::default(), &mut out);
            out
        };
        let expected = compute(KernelSet::Portable);
        for set in KernelSet::here().filter(|set| set.is_of_tiles()) {
            let found = compute(set);
            let squares = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>();
            let error = squares(&mut found.iter().zip(&expected).map(|(found, expected)| found - expected));
            let error = (error / squares(&mut expected.iter().copied())).sqrt();
            assert!(error < typical, "{set}, {kind}: {error:e}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.min(24), failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Where there is no AMX this holds nothing.
    #[test]
    fn the_instruction_gives_the_bits_of_the_software(
        rows in 1usize..70, outputs in 1usize..90, inputs in 1usize..600, kind in 0usize..3,
    ) {
        if KernelSet::Amx.runs_here() {
            let (weights, numbers) = (packed(outputs, inputs, KINDS[kind]), noise(2, rows * inputs));
            let compute = |set| {
                let mut out = vec![0f32; rows * outputs];
                matmul(set, Rows::new(&numbers, inputs), &weights, ProductEpilogue::default(), &mut out);
                out
            };
            prop_assert!(compute(KernelSet::Amx) == compute(KernelSet::AmxInSoftware));
        }
    }
}
