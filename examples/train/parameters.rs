//! Parameters and optimiser: named variables that lie behind each other in one flat tensor, with AdamW, a limit
//! on the gradient's length and a moving average of the weights, all of them a few operations on that tensor.

use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use heartstream_models::weights::{Expected, TensorStore};

use crate::{
    error::{Result, TrainError},
    rng::Rng,
};

const BETAS: (f64, f64) = (0.9, 0.98);
const EPS: f64 = 1e-8;
const WEIGHT_DECAY: f64 = 0.01;
/// Longest gradient; a longer one is shortened to it.
const LONGEST_GRADIENT: f64 = 1.0;
/// Share of the average that a step keeps, once there were many steps.
const AVERAGE_DECAY: f64 = 0.9985;

/// Variables and the state of their optimiser.
pub struct Parameters {
    entries: Vec<(String, Vec<usize>, Var)>,
    /// Tensors that are no variables of the optimiser but belong to the model.
    pub fixed: HashMap<String, Tensor>,
    /// Tensors of another model that this one learns beside: neither learnt nor kept.
    pub borrowed: HashMap<String, Tensor>,
    flat: Tensor,
    first: Tensor,
    second: Tensor,
    average: Tensor,
    /// Steps made.
    pub steps: usize,
}

impl Parameters {
    /// Variables of these names and shapes with first values by [`first_values`].
    pub fn new(expected: &[Expected], seed: u64, device: &Device) -> Result<Self> {
        Self::beginning(expected, seed, device, |_, _, _| {})
    }

    /// The same; `begin` may change the first values of a tensor, given its name and shape.
    pub fn beginning(
        expected: &[Expected],
        seed: u64,
        device: &Device,
        begin: impl Fn(&str, &[usize], &mut [f32]),
    ) -> Result<Self> {
        let mut values: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
        for (place, Expected { name, shape }) in expected.iter().enumerate() {
            let mut numbers = first_values(name, shape, &mut Rng::new(&[seed, 77, place as u64]));
            begin(name, shape, &mut numbers);
            values.push((name.clone(), shape.clone(), numbers));
        }
        give_lengths(&mut values);
        let mut fixed = HashMap::new();
        let mut entries = Vec::new();
        let mut flat = Vec::new();
        for (name, shape, numbers) in values {
            if name.contains("activation") {
                // Slopes stay what they are: they are read on the host, which would wait for the device at every step.
                fixed.insert(name, Tensor::from_vec(numbers, shape, &Device::Cpu)?);
                continue;
            }
            let var = Var::from_tensor(&Tensor::from_slice(&numbers, shape.clone(), device)?)?;
            flat.extend(numbers);
            entries.push((name, shape, var));
        }
        let flat = Tensor::new(flat, device)?;
        let zeros = flat.zeros_like()?;
        let borrowed = HashMap::new();
        Ok(Self {
            entries,
            fixed,
            borrowed,
            average: flat.copy()?,
            first: zeros.copy()?,
            second: zeros,
            flat,
            steps: 0,
        })
    }

    /// How many numbers are learnt.
    pub fn count(&self) -> usize {
        self.flat.elem_count()
    }

    /// All tensors as a part of a checkpoint, to load a model from whose gradients reach the variables.
    pub fn store(&self) -> TensorStore {
        self.held(|var| var.as_tensor().clone())
    }

    /// The same tensors without a gradient.
    pub fn frozen_shards(&self) -> TensorStore {
        self.held(|var| var.as_tensor().detach())
    }

    fn held(&self, learnt: impl Fn(&Var) -> Tensor) -> TensorStore {
        let held = self.entries.iter().map(|(name, _, var)| (name.clone(), learnt(var)));
        let others = self.fixed.iter().chain(&self.borrowed).map(|(name, tensor)| (name.clone(), tensor.clone()));
        TensorStore::from_tensors(held.chain(others))
    }

    /// One step of AdamW at this rate. A gradient that is no number changes nothing.
    pub fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<()> {
        self.steps += 1;
        let mut parts = Vec::with_capacity(self.entries.len());
        for (_, _, var) in &self.entries {
            parts.push(match gradients.get(var) {
                Some(gradient) => gradient.flatten_all()?,
                None => var.zeros_like()?.flatten_all()?,
            });
        }
        let gradient = Tensor::cat(&parts, 0)?.detach();
        let length = gradient.sqr()?.sum_all()?.sqrt()?;
        let shrink = (&length / LONGEST_GRADIENT)?.maximum(1.0)?.recip()?;
        let good = length.lt(1e6)?.broadcast_as(gradient.shape())?;
        let gradient = good.where_cond(&gradient.broadcast_mul(&shrink)?, &gradient.zeros_like()?)?;
        self.first = ((&self.first * BETAS.0)? + (&gradient * (1.0 - BETAS.0))?)?;
        self.second = ((&self.second * BETAS.1)? + (gradient.sqr()? * (1.0 - BETAS.1))?)?;
        let steps = self.steps as i32;
        let (first, second) = (1.0 / (1.0 - BETAS.0.powi(steps)), 1.0 / (1.0 - BETAS.1.powi(steps)));
        let change = ((&self.first * first)? / ((&self.second * second)?.sqrt()? + EPS)?)?;
        self.flat = ((&self.flat * (1.0 - rate * WEIGHT_DECAY))? - (change * rate)?)?;
        let kept = AVERAGE_DECAY.min((1.0 + steps as f64) / (10.0 + steps as f64));
        self.average = ((&self.average * kept)? + (&self.flat * (1.0 - kept))?)?;
        self.write_back(&self.flat.clone())
    }

    /// The gradients of what is learnt that there are, in its order.
    #[cfg(test)]
    pub fn gradients(&self, gradients: &GradStore) -> Vec<Tensor> {
        self.entries.iter().filter_map(|(.., var)| gradients.get(var)).cloned().collect()
    }

    /// A number whose gradients are `gradients`: the sum of what is learnt times them.
    pub fn along(&self, gradients: &GradStore) -> Result<Tensor> {
        let mut sum = Tensor::zeros((), DType::F32, self.flat.device())?;
        for (_, _, var) in &self.entries {
            if let Some(gradient) = gradients.get(var) {
                sum = (sum + (var.as_tensor() * gradient.detach())?.sum_all()?)?;
            }
        }
        Ok(sum)
    }

    fn write_back(&self, flat: &Tensor) -> Result<()> {
        let mut start = 0;
        for (_, shape, var) in &self.entries {
            let count = shape.iter().product();
            var.set(&flat.narrow(0, start, count)?.reshape(shape.clone())?)?;
            start += count;
        }
        Ok(())
    }

    /// Puts the averaged weights into the variables, until [`Self::learning`] is called.
    pub fn averaged(&self) -> Result<()> {
        self.write_back(&self.average)
    }

    /// Puts the weights that are being learnt back into the variables.
    pub fn learning(&self) -> Result<()> {
        self.write_back(&self.flat)
    }

    /// The averaged weights by name, in host memory, with the fixed ones.
    pub fn weights(&self) -> Result<HashMap<String, Tensor>> {
        let average = self.average.to_device(&Device::Cpu)?;
        let mut weights = HashMap::new();
        let mut start = 0;
        for (name, shape, _) in &self.entries {
            let count = shape.iter().product();
            weights.insert(name.clone(), average.narrow(0, start, count)?.reshape(shape.clone())?);
            start += count;
        }
        for (name, tensor) in &self.fixed {
            weights.insert(name.clone(), tensor.to_device(&Device::Cpu)?);
        }
        Ok(weights)
    }

    /// Begins with finished weights instead of first ones; what they do not have stays as it is.
    pub fn adopt(&mut self, file: &Path, device: &Device) -> Result<()> {
        let mut weights = read_weights(file, device)?;
        let mut parts = Vec::new();
        for (name, shape, var) in &self.entries {
            let known = weights.remove(name).filter(|tensor| tensor.dims() == shape.as_slice());
            parts.push(known.unwrap_or(var.as_tensor().detach()).flatten_all()?);
        }
        self.flat = Tensor::cat(&parts, 0)?;
        self.average = self.flat.copy()?;
        for (name, tensor) in &mut self.fixed {
            if let Some(known) = weights.remove(name) {
                *tensor = known.to_device(tensor.device())?;
            }
        }
        self.learning()
    }

    /// Writes all that is needed to go on.
    pub fn save(&self, file: &Path) -> Result<()> {
        let steps = Tensor::new(&[self.steps as f32], &Device::Cpu)?;
        let mut state = HashMap::from([
            ("@flat".to_owned(), self.flat.clone()),
            ("@first".to_owned(), self.first.clone()),
            ("@second".to_owned(), self.second.clone()),
            ("@average".to_owned(), self.average.clone()),
            ("@steps".to_owned(), steps),
        ]);
        state.extend(self.fixed.iter().map(|(name, tensor)| (name.clone(), tensor.clone())));
        save(&state, file)
    }

    /// Reads what [`Self::save`] wrote.
    pub fn restore(&mut self, file: &Path, device: &Device) -> Result<()> {
        let mut state = candle_core::safetensors::load(file, device)?;
        let mut take = |name: &str| {
            let found = state.remove(name);
            found
                .ok_or_else(|| TrainError::Order(format!("{}: no tensor {name}; begin the stage anew", file.display())))
        };
        let flat = take("@flat")?;
        if flat.dims() != self.flat.dims() {
            return Err(TrainError::Order(format!(
                "{}: expected {} numbers, found {}: it is of another model. Remove it and the files beside it to begin the \
                 stage anew",
                file.display(),
                self.flat.elem_count(),
                flat.elem_count()
            )));
        }
        (self.flat, self.first, self.second) = (flat, take("@first")?, take("@second")?);
        self.average = take("@average")?;
        self.steps = take("@steps")?.to_vec1::<f32>()?[0] as usize;
        for (name, tensor) in state {
            let place = self.fixed.get(&name).map_or(device.clone(), |old| old.device().clone());
            self.fixed.insert(name, tensor.to_device(&place)?);
        }
        self.learning()
    }
}

/// Writes tensors; the file has its name only when it is whole.
pub fn save(tensors: &HashMap<String, Tensor>, file: &Path) -> Result<()> {
    let unfinished = file.with_extension("unfinished");
    candle_core::safetensors::save(tensors, &unfinished)?;
    std::fs::rename(&unfinished, file).map_err(crate::error::at(file))
}

/// Writes tensors in 16 bits, as they are shipped.
pub fn save_half(tensors: &HashMap<String, Tensor>, file: &Path) -> Result<()> {
    let half = tensors.iter().map(|(name, tensor)| Ok((name.clone(), tensor.to_dtype(DType::F16)?)));
    save(&half.collect::<Result<_>>()?, file)
}

/// Reads the weights that [`save_half`] wrote, widened to 32 bits.
pub fn read_weights(file: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let weights = candle_core::safetensors::load(file, device)?.into_iter();
    weights.map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?))).collect()
}

/// First values of a tensor: normal numbers of a deviation that keeps the power of what passes.
fn first_values(name: &str, shape: &[usize], rng: &mut Rng) -> Vec<f32> {
    let count = shape.iter().product();
    let inputs = match shape {
        [_, inputs, taps] if !name.contains("up_conv") => inputs * taps,
        [inputs, _, _] => 2 * inputs, // each output reads two inputs
        _ => *shape.last().unwrap_or(&1),
    };
    let linear = 1.0 / (inputs as f32).sqrt();
    let constant = if name.contains("norm") && shape.len() == 1 {
        Some(1.0)
    } else if name.contains("activation") {
        Some(0.25)
    } else if name.ends_with("bias") || name.ends_with("original0") {
        Some(0.0)
    } else {
        None
    };
    if let Some(constant) = constant {
        return vec![constant; count];
    }
    let deviation = if name.contains("scale_shift_table") {
        0.05
    } else if name.contains("adaln") && name.ends_with(".linear.weight") {
        0.1 * linear
    } else if name.contains("proj_out.ffn_2") || name.contains("head") {
        0.3 * linear
    } else if name.contains("embedding") {
        0.3
    } else if name.contains("output_proj") || name.contains("w2") || name.contains("second") {
        0.4 * linear
    } else if name.contains("conv2") {
        0.5 * linear
    } else {
        1.2 * linear
    };
    // The vocoder's last convolution begins soft: its only filter is the sound.
    let deviation = if shape.first() == Some(&1) && name.ends_with("original1") { 0.1 * deviation } else { deviation };
    let deviation = if name == "audio_head" { 0.3 / (shape[1] as f32).sqrt() } else { deviation };
    let mut values: Vec<f32> = rng.normal(count).into_iter().map(|x| deviation * x).collect();
    if let ([6, width], true) = (shape, name.contains("scale_shift_table")) {
        // The gates begin a little open.
        for row in [2, 5] {
            values[row * width..(row + 1) * width].iter_mut().for_each(|x| *x += 0.3);
        }
    }
    values
}

/// A filter's length begins as that of its direction.
fn give_lengths(values: &mut [(String, Vec<usize>, Vec<f32>)]) {
    let lengths: HashMap<String, Vec<f32>> = values
        .iter()
        .filter(|(name, ..)| name.ends_with("original1"))
        .map(|(name, shape, numbers)| {
            let length = |filter: &[f32]| filter.iter().map(|x| x * x).sum::<f32>().sqrt();
            let lengths = numbers.chunks(numbers.len() / shape[0]).map(length).collect();
            (name.replace("original1", "original0"), lengths)
        })
        .collect();
    for (name, _, numbers) in values {
        if let Some(lengths) = lengths.get(name) {
            numbers.copy_from_slice(lengths);
        }
    }
}
