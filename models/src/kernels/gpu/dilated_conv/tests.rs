//! Tests of dilated convolutions: they and their gradients are those of the formulas.

use candle_core::{Device, Var};

use super::*;
use crate::{kernels::activation::prelu_formula, signal::KeyedNoise};

fn noise(key: u64, shape: &[usize]) -> Var {
    let mut numbers = vec![0f32; shape.iter().product()];
    KeyedNoise::new(key).fill_latent(0, &mut numbers);
    Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu).expect("a tensor")).expect("a variable")
}

fn close(found: &Tensor, expected: &Tensor) {
    let both =
        [found, expected].map(|tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers"));
    assert_eq!(both[0].len(), both[1].len());
    for (found, expected) in both[0].iter().zip(&both[1]) {
        assert!((found - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{found} where {expected} is right");
    }
}

#[test]
fn a_convolution_over_rows_and_its_gradients_are_those_of_rows_side_by_side() {
    for (taps, step, inputs, outputs, rows) in
        [(7, 6, 12, 12, 700), (7, 1, 2, 12, 300), (3, 5, 12, 1, 40), (1, 3, 4, 5, 9)]
    {
        let (xs, weight) = (noise(1, &[rows, inputs]), noise(2, &[outputs, taps * inputs]));
        let ours = DilatedConv { taps, step: step as i64 }.apply(&xs, &weight).expect("it fits");
        let silence = Tensor::zeros(((taps - 1) * step, inputs), candle_core::DType::F32, &Device::Cpu).expect("zeros");
        let seen = Tensor::cat(&[&silence, xs.as_tensor()], 0).expect("rows");
        let beside: Vec<Tensor> = (0..taps).map(|tap| seen.narrow(0, tap * step, rows).expect("rows")).collect();
        let beside = Tensor::cat(&beside, 1).expect("rows");
        let formula = beside.matmul(&weight.t().expect("a matrix")).expect("a product");
        close(&ours, &formula);
        let weights = noise(3, &[rows, outputs]);
        let gradients = |ys: &Tensor| {
            (ys * weights.as_tensor()).and_then(|ys| ys.sum_all()).and_then(|sum| sum.backward()).expect("gradients")
        };
        let (ours, formula) = (gradients(&ours), gradients(&formula));
        for variable in [&xs, &weight] {
            close(ours.get(variable).expect("a gradient"), formula.get(variable).expect("a gradient"));
        }
    }
}

#[test]
fn the_activation_and_its_gradient_are_those_of_the_formula() {
    let xs = noise(4, &[5, 7]);
    let (ours, formula) = (Prelu(0.3).apply(&xs).expect("ours"), prelu_formula(&xs, 0.3).expect("formula"));
    close(&ours, &formula);
    let gradients =
        |ys: &Tensor| ys.sqr().and_then(|ys| ys.sum_all()).and_then(|sum| sum.backward()).expect("gradients");
    close(gradients(&ours).get(&xs).expect("a gradient"), gradients(&formula).get(&xs).expect("a gradient"));
}

/// For a machine with an NVIDIA GPU: `cargo test --workspace --features cuda --lib -- on_a_gpu`.
#[cfg(feature = "cuda")]
#[test]
fn on_a_gpu_the_kernels_compute_what_the_loops_do() {
    let gpu = Device::new_cuda(0).expect("an NVIDIA GPU: this test is for nothing else");
    for (taps, step, inputs, outputs, rows) in
        [(7, 6, 12, 12, 3000), (7, 2, 2, 12, 600), (7, 3, 12, 1, 700), (7, 5, 48, 48, 900)]
    {
        let (xs, weight) = (noise(1, &[rows, inputs]), noise(2, &[outputs, taps * inputs]));
        let run = |device: &Device| {
            let [xs, weight] = [&xs, &weight]
                .map(|tensor| Var::from_tensor(&tensor.to_device(device).expect("there")).expect("a variable"));
            let ys =
                DilatedConv { taps, step }.apply(&xs, &weight).and_then(|ys| Prelu(0.3).apply(&ys)).expect("it fits");
            let gradients = ys.sqr().and_then(|ys| ys.sum_all()).and_then(|sum| sum.backward()).expect("gradients");
            let here = |tensor: &Tensor| tensor.to_device(&Device::Cpu).expect("here");
            [here(&ys), here(gradients.get(&xs).expect("one")), here(gradients.get(&weight).expect("one"))]
        };
        for (there, here) in run(&gpu).iter().zip(run(&Device::Cpu)) {
            close(there, &here);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (xs, weight) = (noise(1, &[9, 4]), noise(2, &[3, 8]));
    assert!(DilatedConv { taps: 3, step: 1 }.apply(&xs, &weight).is_err(), "three taps of four are twelve");
    assert!(!DilatedConv { taps: 3, step: 1 }.fits(96, 12), "too many channels");
}
