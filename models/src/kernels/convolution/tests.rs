//! Tests of convolutions: against the formula, whole and in pieces.

use candle_core::Var;
use proptest::prelude::*;

use super::*;
use crate::signal::KeyedNoise;

fn noise(key: u64, shape: [usize; 3]) -> Tensor {
    let mut numbers = vec![0f32; shape.iter().product()];
    KeyedNoise::new(key).fill_latent(0, &mut numbers);
    Tensor::from_vec(numbers, &shape, &Device::Cpu).expect("a tensor")
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers")
}

/// Terms of a result, at most.
const MOST_TERMS: f64 = 20.0 * 7.0;

fn assert_close(found: &Tensor, expected: &[f64]) {
    let allowed = 1e-4 + MOST_TERMS * KernelSet::chosen().left_out();
    let found = numbers(found);
    assert_eq!(found.len(), expected.len());
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < allowed, "number {place}: {found} for {expected}");
    }
}

/// The sum over taps and inputs of a causal convolution, with zeros before the first input.
fn expected_causal(xs: &Tensor, weight: &Tensor, bias: &[f32], dilation: usize) -> Vec<f64> {
    let ((length, batch, inputs), (outputs, _, taps)) = (xs.dims3().expect("three"), weight.dims3().expect("three"));
    let (xs, weight) = (numbers(xs), numbers(weight));
    let mut ys = Vec::new();
    for place in 0..length * batch * outputs {
        let (time, entry, output) = (place / (batch * outputs), place / outputs % batch, place % outputs);
        let mut sum = f64::from(bias[output]);
        for tap in 0..taps {
            let Some(from) = time.checked_sub((taps - 1 - tap) * dilation) else { continue };
            for input in 0..inputs {
                let x = xs[(from * batch + entry) * inputs + input];
                sum += f64::from(x) * f64::from(weight[(output * inputs + input) * taps + tap]);
            }
        }
        ys.push(sum);
    }
    ys
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.min(48), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_causal_convolution_is_its_formula_and_the_same_bits_in_any_pieces(
        batch in 1usize..3, inputs in 1usize..20, outputs in 1usize..20, taps in 1usize..8, dilation in 1usize..4,
        pieces in proptest::collection::vec(1usize..90, 1..5),
    ) {
        let length = pieces.iter().sum();
        let (xs, weight) = (noise(1, [length, batch, inputs]), noise(2, [outputs, inputs, taps]));
        let (bias, add) = (noise(3, [1, 1, outputs]), noise(4, [length, batch, outputs]));
        let convolution = CausalConv::new(&weight, bias.flatten_all().expect("flat"), dilation).expect("a weight");
        let slope = Some(0.25);
        let mut history = convolution.zero_history(batch, &Device::Cpu).expect("a history");
        let whole = convolution.forward(&xs, &mut history, ConvEpilogue { slope, add: Some((&add).into()), ..ConvEpilogue::default() }).and_then(|ys| ys.tensor()).expect("it fits");
        let expected: Vec<f64> = expected_causal(&xs, &weight, &numbers(&bias), dilation)
            .into_iter()
            .zip(numbers(&add))
            .map(|(y, add)| if y > 0.0 { y } else { 0.25 * y } + f64::from(add))
            .collect();
        assert_close(&whole, &expected);
        let mut history = convolution.zero_history(batch, &Device::Cpu).expect("a history");
        let mut start = 0;
        let parts = pieces.iter().map(|count| {
            let part = |xs: &Tensor| xs.narrow(0, start, *count).expect("a part");
            let ys = convolution.forward(&part(&xs), &mut history, ConvEpilogue { slope, add: Some((&part(&add)).into()), ..ConvEpilogue::default() }).and_then(|ys| ys.tensor()).expect("it fits");
            start += count;
            ys
        });
        let parts: Vec<Tensor> = parts.collect();
        prop_assert!(numbers(&Tensor::cat(&parts, 0).expect("parts")) == numbers(&whole));
    }

    #[test]
    fn an_up_convolution_is_its_formula_and_the_same_bits_in_any_pieces(
        batch in 1usize..3, inputs in 1usize..20, outputs in 1usize..9, stride in 1usize..6,
        pieces in proptest::collection::vec(1usize..30, 1..5),
    ) {
        let length: usize = pieces.iter().sum();
        let (xs, weight) = (noise(1, [length, batch, inputs]), noise(2, [inputs, outputs, 2 * stride]));
        let bias = noise(3, [1, 1, outputs]).flatten_all().expect("flat");
        let convolution = UpConv::new(&weight, &bias, stride).expect("a weight");
        let mut history = convolution.zero_history(batch, &Device::Cpu).expect("a history");
        let whole = convolution.forward(&xs, &mut history).and_then(|ys| ys.tensor()).expect("it fits");
        // Output t · stride + s gets tap s of input t and tap stride + s of the input before.
        let (x, w, b) = (numbers(&xs), numbers(&weight), numbers(&bias));
        let expected = (0..length * stride * batch * outputs).map(|place| {
            let (time, entry, output) = (place / (batch * outputs), place / outputs % batch, place % outputs);
            let terms = [(Some(time / stride), time % stride), ((time / stride).checked_sub(1), stride + time % stride)];
            let terms = terms.into_iter().filter_map(|(from, tap)| Some((from?, tap))).flat_map(|(from, tap)| {
                (0..inputs).map(move |input| ((from * batch + entry) * inputs + input, (input * outputs + output) * 2 * stride + tap))
            });
            f64::from(b[output]) + terms.map(|(from, tap)| f64::from(x[from]) * f64::from(w[tap])).sum::<f64>()
        });
        assert_close(&whole, &expected.collect::<Vec<_>>());
        let mut history = convolution.zero_history(batch, &Device::Cpu).expect("a history");
        let mut start = 0;
        let parts = pieces.iter().map(|count| {
            let ys = convolution.forward(&xs.narrow(0, start, *count).expect("a part"), &mut history).and_then(|ys| ys.tensor()).expect("it fits");
            start += count;
            ys
        });
        let parts: Vec<Tensor> = parts.collect();
        prop_assert!(numbers(&Tensor::cat(&parts, 0).expect("parts")) == numbers(&whole));
    }
}

#[test]
fn with_gradients_the_formula_computes_what_the_kernel_computes() {
    let (xs, weight) = (noise(1, [40, 2, 6]), noise(2, [5, 6, 7]));
    let bias = noise(3, [1, 1, 5]).flatten_all().expect("flat");
    let tracked = Var::from_tensor(&weight).expect("a variable");
    let run = |weight: &Tensor| {
        let convolution = CausalConv::new(weight, bias.clone(), 3).expect("a weight");
        let mut history = convolution.zero_history(2, &Device::Cpu).expect("a history");
        convolution
            .forward(&xs, &mut history, ConvEpilogue { slope: Some(0.1), ..ConvEpilogue::default() })
            .and_then(|ys| ys.tensor())
            .expect("it fits")
    };
    let (with, without) = (run(&tracked), run(&weight));
    assert_close(&with, &numbers(&without).into_iter().map(f64::from).collect::<Vec<_>>());
    let gradients = with.sum_all().and_then(|sum| sum.backward()).expect("a gradient");
    assert_eq!(gradients.get(&tracked).expect("of the weight").dims(), weight.dims());
}

#[test]
fn inputs_of_another_width_than_the_history_are_refused() {
    let convolution =
        CausalConv::new(&noise(2, [5, 6, 3]), Tensor::zeros(5, DType::F32, &Device::Cpu).expect("zeros"), 1)
            .expect("a weight");
    let mut history = convolution.zero_history(2, &Device::Cpu).expect("a history");
    assert!(convolution.forward(&noise(1, [4, 1, 6]), &mut history, ConvEpilogue::default()).is_err());
    assert!(convolution.forward(&noise(1, [4, 2, 5]), &mut history, ConvEpilogue::default()).is_err());
}
