//! Tests of the kernels of rows: against the formulas, alone and beside other rows.

use proptest::prelude::*;

use super::*;
use crate::kernels::cpu::test_weights::noise;

fn doubles(xs: &[f32]) -> Vec<f64> {
    xs.iter().map(|x| f64::from(*x)).collect()
}

fn assert_close(set: KernelSet, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= 4e-6 * (1.0 + expected.abs()), "{set}, number {place}: {found} for {expected}");
    }
}

/// The results of each kernel for `rows` rows: those of entry 0, then those of entry 1.
fn all(set: KernelSet, xs: &[f32], width: usize, rows: usize) -> [Vec<f32>; 7] {
    let (table, other) = (noise(7, 4 * width), noise(8, xs.len()));
    let per_entry = |first| PerEntry { numbers: &table, first, stride: 2 * width };
    let modulation = Some((rows.div_ceil(2), per_entry(0), per_entry(width)));
    let made = |kernel: &dyn Fn(&mut [f32])| {
        let mut out = vec![f32::NAN; xs.len()];
        kernel(&mut out);
        out
    };
    [
        made(&|out| norm(set, xs, width, Norm::Rms(&table[..width]), 1e-5, None, out)),
        made(&|out| norm(set, xs, width, Norm::Rms(&table[..width]), 1e-5, modulation, out)),
        made(&|out| norm(set, xs, width, Norm::Layer, 1e-5, modulation, out)),
        made(&|out| gated_sum(set, xs, &other, width, (rows.div_ceil(2), per_entry(width)), out)),
        made(&|out| silu_up(set, xs, &other, width, width, out)),
        made(&|out| {
            out.copy_from_slice(xs);
            softmax(set, out, width);
        }),
        made(&|out| prelu(set, xs, 0.25, out)),
    ]
}

/// The same by the plain formulas.
fn expected(xs: &[f32], width: usize, rows: usize) -> [Vec<f64>; 7] {
    let (table, other) = (doubles(&noise(7, 4 * width)), doubles(&noise(8, xs.len())));
    let xs = doubles(xs);
    let by_row = |row: &dyn Fn(usize, &[f64]) -> Vec<f64>| -> Vec<f64> {
        xs.chunks(width).enumerate().flat_map(|(index, xs)| row(index, xs)).collect()
    };
    let entry = |row: usize| row / rows.div_ceil(2) * 2 * width;
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / width as f64;
    let rms = |xs: &[f64]| {
        let root = (mean(&xs.iter().map(|x| x * x).collect::<Vec<_>>()) + f64::from(1e-5f32)).sqrt();
        xs.iter().zip(&table).map(|(x, weight)| x / root * weight).collect::<Vec<_>>()
    };
    let modulated = |row: usize, xs: Vec<f64>| -> Vec<f64> {
        let at = entry(row);
        (0..width).map(|c| xs[c] * (1.0 + table[at + c]) + table[at + width + c]).collect()
    };
    let layer = |xs: &[f64]| {
        let mean_of = mean(xs);
        let variance = mean(&xs.iter().map(|x| (x - mean_of).powi(2)).collect::<Vec<_>>());
        xs.iter().map(|x| (x - mean_of) / (variance + f64::from(1e-5f32)).sqrt()).collect::<Vec<_>>()
    };
    [
        by_row(&|_, xs| rms(xs)),
        by_row(&|row, xs| modulated(row, rms(xs))),
        by_row(&|row, xs| modulated(row, layer(xs))),
        by_row(&|row, xs| (0..width).map(|c| xs[c] + other[row * width + c] * table[entry(row) + width + c]).collect()),
        by_row(&|row, xs| (0..width).map(|c| xs[c] / (1.0 + (-xs[c]).exp()) * other[row * width + c]).collect()),
        by_row(&|_, xs| {
            let sum: f64 = xs.iter().map(|x| x.exp()).sum();
            xs.iter().map(|x| x.exp() / sum).collect()
        }),
        by_row(&|_, xs| xs.iter().map(|x| if *x > 0.0 { *x } else { 0.25 * x }).collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.min(32), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn every_kernel_computes_what_the_formula_says_with_every_set(rows in 1usize..9, width in 2usize..70) {
        let xs = noise(1, rows * width);
        let expected = expected(&xs, width, rows);
        for set in KernelSet::here() {
            for (index, (found, expected)) in all(set, &xs, width, rows).iter().zip(&expected).enumerate() {
                // A row of two almost equal numbers has next to no variance.
                if index != 2 || width > 8 {
                    assert_close(set, found, expected);
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_bits_alone_and_on_any_number_of_threads(rows in 2usize..300, width in 300usize..1200) {
        let xs = noise(1, rows * width);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
        for set in KernelSet::here() {
            let whole = all(set, &xs, width, rows);
            prop_assert!(whole == pool.install(|| all(set, &xs, width, rows)), "{} on three threads", set);
            let alone = {
                let mut out = vec![0f32; width];
                let weight = noise(7, 4 * width);
                norm(set, &xs[width..2 * width], width, Norm::Rms(&weight[..width]), 1e-5, None, &mut out);
                out
            };
            prop_assert!(alone == whole[0][width..2 * width]);
        }
    }
}

#[test]
fn what_is_no_number_stays_in_its_row() {
    let (rows, width) = (5, 33);
    let clean = noise(1, rows * width);
    for strange in [f32::NAN, f32::INFINITY] {
        let mut xs = clean.clone();
        xs[2 * width + 17] = strange;
        for set in KernelSet::here() {
            for (kernel, (found, untouched)) in
                all(set, &xs, width, rows).iter().zip(all(set, &clean, width, rows)).enumerate()
            {
                let strange_row = 2 * width..3 * width;
                assert!(found[strange_row.clone()].iter().any(|x| !x.is_finite()), "{set}, kernel {kernel}");
                let others = (0..rows * width).filter(|place| !strange_row.contains(place));
                assert!(others.into_iter().all(|place| found[place] == untouched[place]), "{set}, kernel {kernel}");
            }
        }
    }
}

#[test]
fn a_gate_beside_what_it_gates_is_as_two_of_their_own() {
    let (rows, width) = (7, 45);
    let (gate, up) = (noise(1, rows * width), noise(2, rows * width));
    let joined: Vec<f32> =
        gate.chunks(width).zip(up.chunks(width)).flat_map(|(gate, up)| [gate, up].concat()).collect();
    for set in KernelSet::here() {
        let (mut apart, mut beside) = (vec![0f32; rows * width], vec![0f32; rows * width]);
        silu_up(set, &gate, &up, width, width, &mut apart);
        silu_up(set, &joined, &joined[width..], width, 2 * width, &mut beside);
        assert_eq!(apart, beside, "{set}");
    }
}

#[test]
fn a_rotation_turns_each_pair_by_its_angle() {
    let (positions, width) = (5, 26);
    let xs = noise(1, 2 * positions * width);
    let angles = doubles(&noise(2, positions * width / 2));
    let of = |f: fn(f64) -> f64| angles.iter().map(|angle| f(*angle) as f32).collect::<Vec<_>>();
    let expected: Vec<f64> = (0..xs.len())
        .map(|place| {
            let angle = angles[place % (positions * width) / 2];
            let pair = doubles(&xs[place / 2 * 2..][..2]);
            if place % 2 == 0 {
                pair[0] * angle.cos() - pair[1] * angle.sin()
            } else {
                pair[0] * angle.sin() + pair[1] * angle.cos()
            }
        })
        .collect();
    for set in KernelSet::here() {
        let mut found = vec![0f32; xs.len()];
        rotary(set, &xs, width, &of(f64::cos), &of(f64::sin), &mut found);
        assert_close(set, &found, &expected);
    }
}
