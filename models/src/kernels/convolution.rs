//! Convolutions over time as matrix products, time first: \[T, B, C\].
//!
//! A causal convolution carries what it has seen as a value of its own, so a signal can be fed in pieces. With time
//! first, what a convolution looks back at lies before what is new, and both channels of a stereo signal are rows of
//! the same product.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::{
    Linear,
    activation::prelu,
    cpu::{Finish, KernelSet, Rows, matmul},
    gpu::{
        Taps,
        tensor_cores::{Finish as Kept, HalvedSignal, Reach, TapWeight},
    },
    host::{is_plain, with_numbers},
    linear::add_bias,
};

/// What goes through convolutions, \[T, B, C\]: a tensor, or on a GPU's tensor cores numbers split into halves.
#[derive(Debug, Clone)]
pub enum Signal {
    /// As it is.
    Plain(Tensor),
    /// Split.
    Halved(HalvedSignal),
}

impl From<&Tensor> for Signal {
    fn from(tensor: &Tensor) -> Self {
        Self::Plain(tensor.clone())
    }
}

impl From<&Self> for Signal {
    fn from(signal: &Self) -> Self {
        signal.clone()
    }
}

impl Signal {
    /// The signal as a tensor \[T, B, C\].
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor.clone()),
            Self::Halved(signal) => signal.tensor(),
        }
    }

    fn halves(&self) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => HalvedSignal::of(tensor)?.halves(),
            Self::Halved(signal) => signal.halves(),
        }
    }

    /// Each place so often, one after the other: \[T · times, B, C\].
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn repeated(&self, times: usize) -> Result<Self> {
        match self {
            Self::Plain(xs) => {
                let (length, batch, channels) = xs.dims3()?;
                let repeated = xs.unsqueeze(1)?.broadcast_as((length, times, batch, channels))?.contiguous()?;
                Ok(Self::Plain(repeated.reshape((length * times, batch, channels))?))
            }
            Self::Halved(signal) => Ok(Self::Halved(signal.repeated(times)?)),
        }
    }
}

/// The inputs that a causal convolution still looks back at, \[reach, B, C\] (halves: \[2, reach, B, C\]), and whether they
/// are the silence before the first one.
#[derive(Debug, Clone)]
pub struct ConvHistory(Tensor, bool);

impl ConvHistory {
    /// Inputs that were seen before, \[reach, B, C\].
    pub fn of(inputs: Tensor) -> Self {
        Self(inputs, false)
    }

    fn silence(product: &Product, reach: usize, batch: usize, inputs: usize, device: &Device) -> Result<Self> {
        let silence = match product {
            Product::Rows(_) => Tensor::zeros((reach, batch, inputs), DType::F32, device)?,
            Product::Places(weight) => weight.silence(reach, batch)?,
        };
        Ok(Self(silence, true))
    }

    /// Old and new inputs one after the other; the last of them are remembered.
    fn see(&mut self, xs: &Tensor) -> Result<Tensor> {
        self.1 = false;
        let seen = Tensor::cat(&[&self.0, xs], 0)?;
        self.0 = seen.narrow(0, xs.dim(0)?, self.0.dim(0)?)?.contiguous()?;
        Ok(seen)
    }

    /// The halves of old inputs; the last of old and new ones are remembered.
    fn exchange(&mut self, xs: &Tensor) -> Result<Tensor> {
        let old = if self.0.rank() == 4 { self.0.clone() } else { HalvedSignal::of(&self.0)?.halves()? };
        let (reach, length) = (old.dim(1)?, xs.dim(1)?);
        let last = if reach == 0 {
            old.clone()
        } else if length >= reach {
            // A copy: a view would keep all of `xs`.
            xs.narrow(1, length - reach, reach)?.copy()?
        } else {
            Tensor::cat(&[&old.narrow(1, length, reach - length)?, xs], 1)?
        };
        *self = Self(last, false);
        Ok(old)
    }
}

/// What becomes of a convolution's results before they are given back.
#[derive(Debug, Clone, Default)]
pub struct After {
    /// A parametric ReLU with this slope.
    pub slope: Option<f64>,
    /// Then this is added, \[T, B, out\].
    pub add: Option<Signal>,
    /// What the results are for.
    pub results: Results,
}

/// What a convolution's results are for, which says how they are kept where numbers are split into halves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Results {
    /// To be multiplied, and to be added to.
    #[default]
    Both,
    /// To be multiplied.
    Multiplied,
    /// To be read.
    Read,
}

/// The same with a tensor to be added.
#[derive(Debug, Clone, Copy, Default)]
struct Then<'a> {
    slope: Option<f64>,
    add: Option<&'a Tensor>,
}

impl Then<'_> {
    fn apply(self, mut ys: Tensor) -> Result<Tensor> {
        if let Some(slope) = self.slope {
            ys = prelu(&ys, slope)?;
        }
        match self.add {
            Some(add) => ys + add,
            None => Ok(ys),
        }
    }
}

/// The convolution of places on tensor cores, and what it remembers.
fn convolve(weight: &TapWeight, xs: &Signal, history: &mut ConvHistory, reach: Reach, after: After) -> Result<Signal> {
    let xs = xs.halves()?;
    let old = history.exchange(&xs)?;
    let add = after.add.as_ref().map(Signal::tensor).transpose()?;
    let kept = Kept {
        slope: after.slope,
        add: add.as_ref(),
        numbers: after.results != Results::Multiplied,
        halves: after.results != Results::Read,
    };
    Ok(Signal::Halved(weight.convolve(&xs, &old, reach, kept)?))
}

/// What multiplies a convolution's inputs.
#[derive(Debug, Clone)]
enum Product {
    /// Rows of inputs side by side.
    Rows(Linear),
    /// Inputs where they lie, on a GPU's tensor cores.
    Places(TapWeight),
}

impl Product {
    fn on_tensor_cores(self, taps: usize) -> Result<Self> {
        if let Self::Rows(product) = &self
            && let Some((weight, Some(bias))) = product.tensors()
            && let Some(weight) = TapWeight::of(&weight, bias, taps)?
        {
            return Ok(Self::Places(weight));
        }
        Ok(self)
    }
}

/// A convolution that looks only back.
#[derive(Debug, Clone)]
pub struct CausalConv {
    product: Product,
    taps: usize,
    dilation: usize,
    inputs: usize,
}

impl CausalConv {
    /// From a weight \[out, in, taps\] and a bias \[out\].
    ///
    /// # Errors
    /// When the weight has not three dimensions.
    pub fn new(weight: &Tensor, bias: Tensor, dilation: usize) -> Result<Self> {
        let (_, inputs, taps) = weight.dims3()?;
        Ok(Self { product: Product::Rows(taps_as_product(weight, bias)?), taps, dilation, inputs })
    }

    /// The same weights, on a GPU as its tensor cores take them with f32's accuracy, where they can be made so. Gradients do
    /// not come back through it.
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn on_tensor_cores(self) -> Result<Self> {
        Ok(Self { product: self.product.on_tensor_cores(self.taps)?, ..self })
    }

    /// Whether a row's result does not depend on how many rows are computed with it.
    pub fn is_row_stable(&self) -> bool {
        is_row_stable(&self.product)
    }

    fn reach(&self) -> usize {
        (self.taps - 1) * self.dilation
    }

    /// The history before the first sample: silence.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn silence(&self, batch: usize, device: &Device) -> Result<ConvHistory> {
        ConvHistory::silence(&self.product, self.reach(), batch, self.inputs, device)
    }

    /// # Shapes
    /// - `xs` \[T, B, in\], result \[T, B, out\]
    ///
    /// # Errors
    /// When batch or channels differ from those of the history.
    pub fn forward(&self, xs: impl Into<Signal>, history: &mut ConvHistory, after: After) -> Result<Signal> {
        let xs = xs.into();
        let product = match &self.product {
            Product::Rows(product) => product,
            Product::Places(weight) => {
                let reach = Reach { first: -(self.reach() as i64), step: self.dilation as i64, stride: 1 };
                return convolve(weight, &xs, history, reach, after);
            }
        };
        let add = after.add.as_ref().map(Signal::tensor).transpose()?;
        let then = Then { slope: after.slope, add: add.as_ref() };
        Ok(Signal::Plain(self.forward_rows(product, &xs.tensor()?, history, then)?))
    }

    fn forward_rows(&self, product: &Linear, xs: &Tensor, history: &mut ConvHistory, then: Then<'_>) -> Result<Tensor> {
        let (length, batch, inputs) = xs.dims3()?;
        if history.0.dims() != [self.reach(), batch, inputs] || inputs != self.inputs {
            bail!("a convolution of {} inputs was given {:?} after {:?}", self.inputs, xs.shape(), history.0.shape())
        }
        let runs: Vec<usize> = (0..self.taps).map(|tap| tap * self.dilation * batch * inputs).collect();
        if let Some(ys) = fused_over_time(product, xs, history, &runs, then)? {
            return Ok(ys);
        }
        if let Some(ys) = self.begun_in_silence(product, xs, history)? {
            return then.apply(ys);
        }
        let taps = if self.reach() == 0 {
            xs.clone()
        } else {
            let seen = history.see(xs)?;
            let taps = (0..self.taps).map(|tap| seen.narrow(0, tap * self.dilation, length));
            Tensor::cat(&taps.collect::<Result<Vec<_>>>()?, 2)?.contiguous()?
        };
        then.apply(product.forward(&taps)?)
    }

    /// The convolution of what begins in silence on a GPU, if there is a kernel for so few channels: when a vocoder is
    /// trained, everything does.
    fn begun_in_silence(&self, product: &Linear, xs: &Tensor, history: &mut ConvHistory) -> Result<Option<Tensor>> {
        let (length, batch, inputs) = xs.dims3()?;
        let kernel = Taps { taps: self.taps, step: (self.dilation * batch) as i64 };
        if !xs.device().is_cuda() || !history.1 || self.taps == 1 || length < self.reach() {
            return Ok(None);
        }
        let outputs = product.outputs();
        let Some((weight, bias)) = product.tensors().filter(|_| kernel.fits(inputs, outputs)) else {
            return Ok(None);
        };
        if weight.dtype() != DType::F32 {
            return Ok(None);
        }
        let ys = kernel.apply(&xs.reshape((length * batch, inputs))?, &weight)?;
        let ys = if let Some(bias) = bias { add_bias(&ys, bias)? } else { ys };
        let last = xs.detach().narrow(0, length - self.reach(), self.reach())?.contiguous()?;
        *history = ConvHistory(last, false);
        Ok(Some(ys.reshape((length, batch, outputs))?))
    }
}

/// A transposed convolution whose kernel is twice its stride, cut at its right end by one stride: each input makes
/// `stride` outputs, to which the input before it adds.
#[derive(Debug, Clone)]
pub struct UpConv {
    product: Product,
    stride: usize,
    inputs: usize,
    outputs: usize,
}

impl UpConv {
    /// From a weight \[in, out, 2 · stride\] and a bias \[out\].
    ///
    /// # Errors
    /// When the weight has another shape.
    pub fn new(weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        let (inputs, outputs, taps) = weight.dims3()?;
        if taps != 2 * stride {
            bail!("a transposed convolution of stride {stride} needs {} taps, found {taps}", 2 * stride)
        }
        // [in, out, 2, stride] -> rows (which half, in), columns (place in the stride, out). The first half of the
        // kernel belongs to the input of this place, the second half to the input before it.
        let product = weight.reshape((inputs, outputs, 2, stride))?.permute((3, 1, 2, 0))?;
        let product = product.reshape((stride * outputs, 2 * inputs))?;
        let bias = Tensor::cat(&vec![bias; stride], 0)?;
        Ok(Self { product: Product::Rows(Linear::new(&product, Some(bias))?), stride, inputs, outputs })
    }

    /// As [`CausalConv::on_tensor_cores`].
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn on_tensor_cores(self) -> Result<Self> {
        if !self.outputs.is_multiple_of(2) {
            return Ok(self);
        }
        Ok(Self { product: self.product.on_tensor_cores(2)?, ..self })
    }

    /// Whether a row's result does not depend on how many rows are computed with it.
    pub fn is_row_stable(&self) -> bool {
        is_row_stable(&self.product)
    }

    /// The history before the first sample: silence.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn silence(&self, batch: usize, device: &Device) -> Result<ConvHistory> {
        ConvHistory::silence(&self.product, 1, batch, self.inputs, device)
    }

    /// # Shapes
    /// - `xs` \[T, B, in\], result \[stride · T, B, out\]
    ///
    /// # Errors
    /// When batch or channels differ from those of the history.
    pub fn forward(&self, xs: impl Into<Signal>, history: &mut ConvHistory) -> Result<Signal> {
        let xs = xs.into();
        match &self.product {
            Product::Rows(product) => Ok(Signal::Plain(self.forward_rows(product, &xs.tensor()?, history)?)),
            Product::Places(weight) => {
                let reach = Reach { first: 0, step: -1, stride: self.stride };
                convolve(weight, &xs, history, reach, After::default())
            }
        }
    }

    fn forward_rows(&self, product: &Linear, xs: &Tensor, history: &mut ConvHistory) -> Result<Tensor> {
        let (length, batch, inputs) = xs.dims3()?;
        if history.0.dims() != [1, batch, self.inputs] || inputs != self.inputs {
            bail!("a convolution of {} inputs was given {:?} after {:?}", self.inputs, xs.shape(), history.0.shape())
        }
        let ys = match fused_over_time(product, xs, history, &[batch * inputs, 0], Then::default())? {
            Some(ys) => ys,
            None => {
                let seen = history.see(xs)?;
                product.forward(&Tensor::cat(&[xs, &seen.narrow(0, 0, length)?], 2)?.contiguous()?)?
            }
        };
        // [T, B, stride · out] -> [stride · T, B, out]
        let ys = ys.reshape((length, batch, self.stride, self.outputs))?.transpose(1, 2)?;
        ys.contiguous()?.reshape((length * self.stride, batch, self.outputs))
    }
}

/// Whether a row's result does not depend on how many rows are computed with it: so it is with the kernels here, of which
/// candle's product is none.
fn is_row_stable(product: &Product) -> bool {
    match product {
        Product::Rows(product) => product.kernel().is_some(),
        Product::Places(_) => true,
    }
}

/// The product of packed weights with rows that begin at every place of old and new inputs, each made of the inputs at
/// `runs`, counted from its beginning. `None` when there is no kernel for it; the history is then as it was.
fn fused_over_time(
    product: &Linear,
    xs: &Tensor,
    history: &mut ConvHistory,
    runs: &[usize],
    then: Then<'_>,
) -> Result<Option<Tensor>> {
    let ((reach, ..), (length, batch, inputs)) = (history.0.dims3()?, xs.dims3()?);
    let shape = [length, batch, product.outputs()];
    let fits = |add: &Tensor| is_plain(add) && add.dims() == shape;
    let Some((weights, bias)) = product.kernel().filter(|_| is_plain(xs) && is_plain(&history.0)) else {
        return Ok(None);
    };
    if !then.add.is_none_or(fits) {
        return Ok(None);
    }
    let mut out = vec![0f32; shape.iter().product()];
    // What is not added is not read either, so any tensor may stand for it.
    let kernel = |[old, new, add]: [&[f32]; 3]| {
        let add = then.add.map(|_| add);
        let slope = then.slope.map(|slope| slope as f32);
        let step = batch * inputs;
        // Only the first results look back at what is old. When there are many others, those read the new inputs where
        // they lie; when not, a copy costs less than reading the weights a second time.
        let first = if length > 4 * reach { reach } else { length };
        let seen = [old, &new[..first * step]].concat();
        let mut multiply = |numbers: &[f32], times: std::ops::Range<usize>| {
            let range = times.start * batch * product.outputs()..times.end * batch * product.outputs();
            let rows = Rows { numbers, count: times.len() * batch, stride: inputs, runs, width: inputs };
            let finish = Finish { bias, slope, add: add.map(|add| &add[range.clone()]) };
            matmul(KernelSet::chosen(), rows, weights, finish, &mut out[range]);
        };
        multiply(&seen, 0..first);
        multiply(new, first..length);
        let last = if length >= reach { &new[(length - reach) * step..] } else { &seen[length * step..] };
        last.to_vec()
    };
    let last = with_numbers([&history.0, xs, then.add.unwrap_or(xs)], kernel)?;
    *history = ConvHistory(Tensor::from_vec(last, (reach, batch, inputs), xs.device())?, false);
    Ok(Some(Tensor::from_vec(out, &shape, xs.device())?))
}

/// The windows of `taps` inputs around each place, with zeros beyond both ends, side by side on the channel axis:
/// what a centred convolution multiplies its weights with.
///
/// # Shapes
/// - `xs` \[B, T, C\], result \[B, T, taps · C\]
///
/// # Errors
/// When `xs` has not three dimensions.
pub fn centred_windows(xs: &Tensor, taps: usize) -> Result<Tensor> {
    let (batch, length, channels) = xs.dims3()?;
    let margin = Tensor::zeros((batch, taps / 2, channels), xs.dtype(), xs.device())?;
    let padded = Tensor::cat(&[&margin, xs, &margin], 1)?;
    let shifted = (0..taps).map(|tap| padded.narrow(1, tap, length)).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&shifted, 2)?.contiguous()
}

/// A convolution weight \[out, in, taps\] as the matrix that multiplies `taps` inputs side by side.
pub fn taps_as_product(weight: &Tensor, bias: Tensor) -> Result<Linear> {
    let (outputs, inputs, taps) = weight.dims3()?;
    Linear::new(&weight.permute((0, 2, 1))?.reshape((outputs, taps * inputs))?, Some(bias))
}

#[cfg(test)]
mod tests {
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

    fn assert_close(found: &Tensor, expected: &[f64]) {
        let found = numbers(found);
        assert_eq!(found.len(), expected.len());
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(*found) - expected).abs() < 1e-4, "number {place}: {found} for {expected}");
        }
    }

    /// The sum over taps and inputs of a convolution that looks back, from zeros before the first input.
    fn expected_causal(xs: &Tensor, weight: &Tensor, bias: &[f32], dilation: usize) -> Vec<f64> {
        let ((length, batch, inputs), (outputs, _, taps)) =
            (xs.dims3().expect("three"), weight.dims3().expect("three"));
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
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

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
            let mut history = convolution.silence(batch, &Device::Cpu).expect("silence");
            let whole = convolution.forward(&xs, &mut history, After { slope, add: Some((&add).into()), ..After::default() }).and_then(|ys| ys.tensor()).expect("it fits");
            let expected: Vec<f64> = expected_causal(&xs, &weight, &numbers(&bias), dilation)
                .into_iter()
                .zip(numbers(&add))
                .map(|(y, add)| if y > 0.0 { y } else { 0.25 * y } + f64::from(add))
                .collect();
            assert_close(&whole, &expected);
            let mut history = convolution.silence(batch, &Device::Cpu).expect("silence");
            let mut start = 0;
            let parts = pieces.iter().map(|count| {
                let part = |xs: &Tensor| xs.narrow(0, start, *count).expect("a part");
                let ys = convolution.forward(&part(&xs), &mut history, After { slope, add: Some((&part(&add)).into()), ..After::default() }).and_then(|ys| ys.tensor()).expect("it fits");
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
            let mut history = convolution.silence(batch, &Device::Cpu).expect("silence");
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
            let mut history = convolution.silence(batch, &Device::Cpu).expect("silence");
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
            let mut history = convolution.silence(2, &Device::Cpu).expect("silence");
            convolution
                .forward(&xs, &mut history, After { slope: Some(0.1), ..After::default() })
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
        let mut history = convolution.silence(2, &Device::Cpu).expect("silence");
        assert!(convolution.forward(&noise(1, [4, 1, 6]), &mut history, After::default()).is_err());
        assert!(convolution.forward(&noise(1, [4, 2, 5]), &mut history, After::default()).is_err());
    }
}
