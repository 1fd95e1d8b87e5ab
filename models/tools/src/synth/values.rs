//! Scales of random weights, for each kind of tensor, so that activations neither vanish nor explode.

use heartstream_models::{signal::KeyedNoise, weights::SeededNumbers};

/// Weights are whole multiples of this share of their deviation: such files compress to a fifth.
const LEVEL: f32 = 0.5;
/// Deviation of logits: samples differ, and the codes outside every codebook (logit 0) are never among the first 50.
const LOGITS: f32 = 3.0;
/// Deviation of flow velocities: about as much of a latent comes from the codes as from the noise.
const VELOCITY: f32 = 1.2;
/// Slope of the vocoder's PReLUs; torch's initial value.
const SLOPE: f32 = 0.25;
/// Gain that makes up for a PReLU of that slope: it keeps (1 + 0.25²) / 2 of the power.
const AFTER_PRELU: f32 = 1.372;
/// Share of a residual unit in its sum.
const RESIDUAL: f32 = 0.4;
/// Length of the vocoder's last filter, found by listening to its level: RMS about 0.1, peaks below 0.8.
const LOUDNESS: f32 = 0.019;

/// Makes the values of tensors.
pub(super) struct Values {
    pub(super) noise: KeyedNoise,
    /// How many ids of the audio vocabulary are no codes.
    pub(super) special_codes: usize,
}

impl Values {
    /// The values of tensor number `place` of the checkpoint.
    pub(super) fn of(&self, place: u64, name: &str, shape: &[usize]) -> Vec<f32> {
        let count = shape.iter().product();
        if let Some(constant) = constant(name, shape) {
            return vec![constant; count];
        }
        let mut values = vec![0f32; count];
        self.noise.fill_latent(place, &mut values);
        let deviation = deviation(name, shape);
        values.iter_mut().for_each(|x| *x = (*x / LEVEL).round() * LEVEL * deviation);
        self.silence_special_codes(name, shape, &mut values);
        give_directions(name, shape, deviation, &mut values);
        values
    }

    /// The numbers of a tensor that is too large to be made at once.
    pub(super) fn seeded(seed: u64, special_codes: usize, name: &str, shape: &[usize]) -> SeededNumbers {
        if let Some(constant) = constant(name, shape) {
            return SeededNumbers::constant(constant);
        }
        let numbers = SeededNumbers::uniform(seed, name, deviation(name, shape));
        match (name, shape) {
            ("codebook0_head.weight", [vocabulary, width]) => {
                numbers.silent_from((vocabulary - special_codes) * width, vocabulary * width)
            }
            ("audio_head", [_, _, vocabulary]) => numbers.silent_from(vocabulary - special_codes, *vocabulary),
            _ => numbers,
        }
    }

    /// The heads give the ids that are no codes a logit of 0.
    fn silence_special_codes(&self, name: &str, shape: &[usize], values: &mut [f32]) {
        match (name, shape) {
            ("codebook0_head.weight", [vocabulary, width]) => {
                values[(vocabulary - self.special_codes) * width..].fill(0.0)
            }
            ("audio_head", [_, _, vocabulary]) => {
                values.chunks_mut(*vocabulary).for_each(|row| row[vocabulary - self.special_codes..].fill(0.0));
            }
            _ => (),
        }
    }
}

/// A filter of nothing but zeros points nowhere, and is made to point along its first input: small filters can come out
/// like that.
fn give_directions(name: &str, shape: &[usize], deviation: f32, values: &mut [f32]) {
    if let ([_, inputs, taps], true) = (shape, name.ends_with("original1")) {
        let filters = values.chunks_mut(inputs * taps).filter(|filter| filter.iter().all(|x| *x == 0.0));
        filters.for_each(|filter| filter[0] = LEVEL * deviation);
    }
}

/// Tensors that are not random.
fn constant(name: &str, shape: &[usize]) -> Option<f32> {
    if name.contains("norm") && shape.len() == 1 {
        return Some(1.0);
    }
    if name.contains("activation") {
        return Some(SLOPE);
    }
    if name.ends_with("bias") {
        return Some(0.0);
    }
    if name.ends_with("original0") {
        return Some(filter_length(name, shape));
    }
    None
}

/// Length of the filters of a convolution of the vocoder.
fn filter_length(name: &str, shape: &[usize]) -> f32 {
    if name.contains("conv2") {
        AFTER_PRELU * RESIDUAL
    } else if name.contains("up_conv") {
        // Twice as many inputs as outputs, spread over the stride: about the power of a stride of 4.
        2f32.sqrt()
    } else if name.contains("decoder.7.") || (name.contains("decoder.6.") && shape[0] == 1) {
        AFTER_PRELU * LOUDNESS
    } else {
        1.0
    }
}

fn deviation(name: &str, shape: &[usize]) -> f32 {
    let width = *shape.last().unwrap_or(&1) as f32;
    let inputs = if shape.len() == 3 && name.ends_with("weight") { (shape[1] * shape[2]) as f32 } else { width };
    let linear = 1.0 / inputs.sqrt();
    if name.contains("embedding") {
        0.35 // eight of them are added up
    } else if name == "codebook0_head.weight" {
        LOGITS * linear
    } else if name == "audio_head" {
        LOGITS / (shape[1] as f32).sqrt()
    } else if name.contains("codebook.embed") {
        0.35
    } else if name.contains("proj_out.ffn_2") {
        VELOCITY * linear
    } else if name.contains("ffn_1") {
        3f32.sqrt() * linear // undoes the projection layer's own scale
    } else if name.contains("scale_shift_table") {
        0.3
    } else {
        linear
    }
}
