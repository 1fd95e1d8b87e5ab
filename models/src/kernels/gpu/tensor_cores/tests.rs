//! Comparison of the tensor-core kernels with the processor's. For a machine with an NVIDIA GPU:
//! `cargo test --workspace --features cuda --lib -- on_a_gpu`.

use candle_core::{Device, Tensor};

use super::{Arrangement, HalvedWeight};
use crate::{
    DeviceName,
    kernels::{
        AdaLnModulation, CausalConv, ConvEpilogue, FullAttention, Linear, Operand, Results, RmsNorm, RotaryTable,
        Signal, UpConv, base_frequencies, gated, gated_sum, layer_norm,
    },
    signal::KeyedNoise,
    weights::{FlowPrecision, TensorStore},
};

/// The error that products of halves may have, relative to the largest result: measured 1e-6 to 1e-5.
const CLOSE: f32 = 3e-5;

thread_local! {
    /// One for all tensors of a test: a device has a stream of its own, and nothing orders one stream after another.
    static GPU: Device = DeviceName::Cuda(0).open().expect("an NVIDIA GPU: this test is for nothing else");
}

fn gpu() -> Device {
    GPU.with(Device::clone)
}

fn noise(key: u64, shape: &[usize]) -> Tensor {
    let mut numbers = vec![0f32; shape.iter().product()];
    KeyedNoise::new(key).fill_latent(0, &mut numbers);
    Tensor::from_vec(numbers, shape, &Device::Cpu).expect("a tensor")
}

fn there(tensor: &Tensor) -> Tensor {
    tensor.to_device(&gpu()).expect("on the GPU")
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers")
}

fn assert_close(name: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{name}");
    let (found, expected) = (numbers(found), numbers(expected));
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= CLOSE * largest, "{name}, number {place}: {found} for {expected}");
    }
}

fn linear(weight: &Tensor) -> Linear {
    of_precision(weight, FlowPrecision::F32)
}

fn of_precision(weight: &Tensor, precision: FlowPrecision) -> Linear {
    Linear::new(weight, None).and_then(|linear| linear.on_tensor_cores(precision)).expect("a layer")
}

#[test]
fn on_a_gpu_products_of_one_pass_are_those_of_f16_numbers() {
    let (xs, weight) = (noise(1, &[75, 96]), noise(2, &[64, 96]));
    let narrow = |tensor: &Tensor| {
        let half = tensor.to_dtype(candle_core::DType::F16).and_then(|half| half.to_dtype(candle_core::DType::F32));
        half.expect("numbers of 11 digits")
    };
    let one_pass = of_precision(&there(&weight), FlowPrecision::F16).forward(&there(&xs)).expect("a product");
    let rounded = narrow(&xs).matmul(&narrow(&weight).t().expect("a matrix")).expect("a product");
    assert_close("a product of one pass", &one_pass, &rounded);
    let exact = numbers(&xs.matmul(&weight.t().expect("a matrix")).expect("a product"));
    let largest = exact.iter().fold(0f32, |most, x| most.max(x.abs()));
    let error = numbers(&one_pass).iter().zip(&exact).fold(0f32, |most, (x, y)| most.max((x - y).abs()));
    assert!(error > CLOSE * largest && error < 2e-3 * largest, "{error} of {largest}");
}

#[test]
fn on_a_gpu_products_and_what_lies_between_them_are_the_processors() {
    let (width, hidden, rows) = (96, 64, 75);
    let (xs, table) = (noise(1, &[2, rows, width]), noise(2, &[2, 6, width]));
    // Weights of 24 digits are two halves, those of 11 one.
    let (up, down) = (noise(3, &[2 * hidden, width]), noise(4, &[width, hidden]));
    let narrow = down.to_dtype(candle_core::DType::F16).and_then(|x| x.to_dtype(candle_core::DType::F32));
    let narrow = narrow.expect("numbers of 11 digits");
    let halved = |weight: &Tensor| {
        HalvedWeight::of(&there(weight), FlowPrecision::F32).expect("memory").expect("it fits").arrangement()
    };
    assert_eq!([halved(&up), halved(&narrow)], [Arrangement::SideBySide, Arrangement::Stacked]);
    let run = |place: &dyn Fn(&Tensor) -> Tensor| {
        let (xs, table) = (place(&xs), place(&table));
        let norm = RmsNorm::new(place(&noise(5, &[width])), 1e-6);
        let (up, down) = (linear(&place(&up)), linear(&place(&narrow)));
        let modulation = AdaLnModulation { table: &table, shift: 0, scale: 1 };
        let normed = norm.operand(&xs, modulation, &up).expect("a norm");
        let hidden = gated(up.multiply(&normed).expect("a product"), &down).expect("an activation");
        let sum = gated_sum(&xs, &down.multiply(&hidden).expect("a product"), &table, 2).expect("a sum");
        layer_norm(&sum, 1e-6, modulation).expect("a norm")
    };
    assert_close("a feed-forward part", &run(&there), &run(&Tensor::clone));
    let plain = |place: &dyn Fn(&Tensor) -> Tensor| linear(&place(&up)).forward(&place(&xs)).expect("a product");
    assert_close("a product", &plain(&there), &plain(&Tensor::clone));
}

#[test]
fn on_a_gpu_attention_is_the_processors() {
    for (heads, head_dim, positions) in [(3, 16, 70), (2, 32, 64), (2, 64, 131), (1, 128, 45)] {
        let width = heads * head_dim;
        let names = ["q", "k", "v"];
        let weights = names.map(|name| noise(name.as_bytes()[0].into(), &[width, width]));
        let xs = noise(9, &[2, positions, width]);
        let run = |device: &Device| {
            let place = |tensor: &Tensor| tensor.to_device(device).expect("there");
            let tensors = names.iter().zip(&weights).map(|(name, weight)| (format!("{name}.weight"), place(weight)));
            let store = TensorStore::from_tensors(tensors);
            let attention = FullAttention::joined(&store, names, width, head_dim, device).expect("weights");
            let rotary = RotaryTable::new(&base_frequencies(10_000.0, head_dim), positions, device).expect("angles");
            // As large as a norm would make them.
            let xs = (place(&xs) * 0.1).expect("numbers");
            attention.forward(&Operand::of(xs, attention.product()).expect("rows"), &rotary).expect("attention")
        };
        assert_close(&format!("heads of {head_dim}"), &run(&gpu()), &run(&Device::Cpu));
    }
}

#[test]
fn on_a_gpu_convolutions_are_the_processors_and_the_same_bits_in_any_pieces() {
    for (inputs, outputs, taps, dilation) in [(64, 64, 7, 9), (16, 96, 5, 1), (128, 32, 1, 1), (40, 8, 7, 3)] {
        let (xs, weight) = (noise(1, &[300, 2, inputs]), noise(2, &[outputs, inputs, taps]));
        let (bias, add) = (noise(3, &[outputs]), noise(4, &[300, 2, outputs]));
        let run = |place: &dyn Fn(&Tensor) -> Tensor, pieces: &[usize]| {
            let convolution = CausalConv::new(&place(&weight), place(&bias), dilation).expect("a weight");
            let convolution = convolution.on_tensor_cores().expect("memory");
            let mut history = convolution.zero_history(2, place(&xs).device()).expect("silence");
            let mut start = 0;
            let parts: Vec<Tensor> = pieces
                .iter()
                .map(|count| {
                    let part = |xs: &Tensor| place(&xs.narrow(0, start, *count).expect("a part"));
                    let (xs, add) = (part(&xs), Signal::from(&part(&add)));
                    let epilogue = ConvEpilogue { slope: Some(0.25), add: Some(add), results: Results::Read };
                    start += count;
                    convolution.forward(&xs, &mut history, epilogue).and_then(|ys| ys.tensor()).expect("it fits")
                })
                .collect();
            Tensor::cat(&parts, 0).expect("parts")
        };
        let whole = run(&there, &[300]);
        assert_close(&format!("{inputs} to {outputs}, {taps} taps"), &whole, &run(&Tensor::clone, &[300]));
        assert!(numbers(&run(&there, &[8, 3, 150, 1, 138])) == numbers(&whole), "{inputs} to {outputs}");
    }
    let (xs, weight, bias) = (noise(1, &[90, 2, 48]), noise(2, &[48, 24, 6]), noise(3, &[24]));
    let run = |place: &dyn Fn(&Tensor) -> Tensor| {
        let convolution = UpConv::new(&place(&weight), &place(&bias), 3).expect("a weight");
        let convolution = convolution.on_tensor_cores().expect("memory");
        let mut history = convolution.zero_history(2, place(&xs).device()).expect("silence");
        convolution.forward(&place(&xs), &mut history).and_then(|ys| ys.tensor()).expect("it fits")
    };
    assert_close("three for one", &run(&there), &run(&Tensor::clone));
}
