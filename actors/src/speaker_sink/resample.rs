//! Resampling of a 48 kHz song to a device's rate: by rubato, in the stage, before the ring.
//!
//! Streamed: the resampler's delay is cut off at the start and its tail is flushed at the end, so the song keeps its
//! place and its length.

use heartstream_messages::units::CHANNELS;
use rubato::{Fft, FixedSync, Indexing, Resampler as _, audioadapter_buffers::direct::InterleavedSlice};

/// Input samples of each channel that are resampled at once, at least: 21 ms.
const LEAST_CHUNK: usize = 1024;

/// Why samples cannot be resampled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot resample from {from} Hz to {to} Hz: {reason}. Choose another rate of the device")]
pub struct ResampleError {
    /// The rate of what comes in.
    pub from: u32,
    /// The rate of what goes out.
    pub to: u32,
    /// What the resampler said.
    pub reason: String,
}

/// A stream of samples, interleaved, on its way from one rate to another.
pub struct Resampler {
    from: u32,
    to: u32,
    /// `None` when both rates are the same: samples pass as they are, to the bit.
    fft: Option<Fft<f32>>,
    /// Input that does not fill a chunk yet.
    pending: Vec<f32>,
    /// Input samples of each channel in a chunk.
    chunk: usize,
    /// Output of one chunk.
    output: Vec<f32>,
    /// Output samples of each channel to be left away still: the delay.
    delay: usize,
    /// Samples of each channel that came in.
    came: u64,
    /// Samples of each channel that went out.
    went: u64,
}

impl Resampler {
    /// From `from` to `to` samples of each channel in a second.
    ///
    /// # Errors
    /// When a rate is 0.
    pub fn new(from: u32, to: u32) -> Result<Self, ResampleError> {
        let mut this =
            Self { from, to, fft: None, pending: Vec::new(), chunk: 0, output: Vec::new(), delay: 0, came: 0, went: 0 };
        if from == 0 || to == 0 {
            return Err(this.failed(&"a rate is above 0"));
        }
        if from != to {
            // An even number of the smallest chunks that both rates divide: the delay is half of an output chunk, and
            // half of an odd one would move the song by half a sample.
            let smallest = (from / greatest_common_divisor(from, to)) as usize;
            let chunk = LEAST_CHUNK.div_ceil(2 * smallest) * 2 * smallest;
            let fft = Fft::new(from as usize, to as usize, chunk, CHANNELS, FixedSync::Both);
            let fft = fft.map_err(|error| this.failed(&error))?;
            this.delay = fft.output_delay();
            this.chunk = fft.input_frames_max();
            this.output = vec![0.0; fft.output_frames_max() * CHANNELS];
            this.fft = Some(fft);
        }
        Ok(this)
    }

    /// The rate of what goes out.
    pub fn rate(&self) -> u32 {
        self.to
    }

    /// Takes samples in and appends to `out` what is ready.
    ///
    /// # Errors
    /// When the resampler fails, which is not expected.
    pub fn push(&mut self, samples: &[f32], out: &mut impl Extend<f32>) -> Result<(), ResampleError> {
        self.came += (samples.len() / CHANNELS) as u64;
        if self.fft.is_none() {
            self.went += (samples.len() / CHANNELS) as u64;
            out.extend(samples.iter().copied());
            return Ok(());
        }
        self.pending.extend_from_slice(samples);
        let chunk = self.chunk * CHANNELS;
        let whole = self.pending.len() / chunk * chunk;
        let chunks: Vec<f32> = self.pending.drain(..whole).collect();
        chunks.chunks_exact(chunk).try_for_each(|chunk| self.convert(chunk, u64::MAX, out))
    }

    /// Appends the rest to `out`; the whole is then as long as what came in, to the nearest sample.
    ///
    /// # Errors
    /// As [`Resampler::push`].
    pub fn finish(mut self, out: &mut impl Extend<f32>) -> Result<(), ResampleError> {
        if self.fft.is_none() {
            return Ok(());
        }
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        let whole = (self.came * to + from / 2) / from;
        let mut rest = std::mem::take(&mut self.pending);
        rest.resize(self.chunk * CHANNELS, 0.0);
        while self.went < whole {
            self.convert(&rest, whole, out)?;
            rest.fill(0.0);
        }
        Ok(())
    }

    /// Resamples one chunk; what goes out ends at `whole`.
    fn convert(&mut self, chunk: &[f32], whole: u64, out: &mut impl Extend<f32>) -> Result<(), ResampleError> {
        let Some(fft) = &mut self.fft else { return Ok(()) };
        let frames = self.output.len() / CHANNELS;
        let wrong =
            |error: &dyn std::fmt::Display| ResampleError { from: self.from, to: self.to, reason: error.to_string() };
        let input = InterleavedSlice::new(chunk, CHANNELS, self.chunk).map_err(|error| wrong(&error))?;
        let mut output =
            InterleavedSlice::new_mut(&mut self.output, CHANNELS, frames).map_err(|error| wrong(&error))?;
        let indexing: Option<&Indexing> = None;
        let (_, made) = fft.process_into_buffer(&input, &mut output, indexing).map_err(|error| wrong(&error))?;
        let skip = self.delay.min(made);
        self.delay -= skip;
        let keep = ((made - skip) as u64).min(whole - self.went);
        self.went += keep;
        out.extend(self.output[skip * CHANNELS..(skip + keep as usize) * CHANNELS].iter().copied());
        Ok(())
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> ResampleError {
        ResampleError { from: self.from, to: self.to, reason: error.to_string() }
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// Two sines, one for each channel, at places of a rate.
    fn tones(rate: u32, samples: usize) -> Vec<f32> {
        let place = |n: usize| n as f64 / f64::from(rate);
        (0..samples)
            .flat_map(|n| [(TAU * 997.0 * place(n)).sin() as f32, (TAU * 5003.0 * place(n)).sin() as f32 * 0.5])
            .collect()
    }

    fn resampled(from: u32, to: u32, samples: &[f32], pieces: impl Iterator<Item = usize>) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to).expect("rates");
        let (mut out, mut rest) = (Vec::new(), samples);
        for piece in pieces {
            let (now, later) = rest.split_at((piece * CHANNELS).min(rest.len()));
            resampler.push(now, &mut out).expect("pushed");
            rest = later;
        }
        resampler.push(rest, &mut out).expect("pushed");
        resampler.finish(&mut out).expect("finished");
        out
    }

    #[test]
    fn tones_keep_their_pitch_place_level_and_length_at_every_common_rate() {
        for to in [8_000, 16_000, 22_050, 32_000, 44_100, 88_200, 96_000, 192_000] {
            let samples = 48_000 * 3 / 2 + 17;
            let out = resampled(48_000, to, &tones(48_000, samples), std::iter::empty());
            let expected = tones(to, (samples as f64 * f64::from(to) / 48_000.0).round() as usize);
            assert_eq!(out.len(), expected.len(), "{to} Hz");
            // Away from the edges, where the tone begins and ends out of nothing; above half of 8 kHz there is no tone.
            let edge = CHANNELS * (to as usize / 50);
            let inside = edge..out.len() - edge;
            for (place, (x, y)) in out[inside.clone()].iter().zip(&expected[inside]).enumerate() {
                let heard = if to == 8_000 && place % 2 == 1 { 0.0 } else { *y };
                assert!((x - heard).abs() < 2e-3, "{to} Hz, sample {place}: {x} for {heard}");
            }
        }
    }

    #[test]
    fn a_song_in_pieces_is_the_song_at_once() {
        let song = tones(48_000, 20_001);
        let whole = resampled(48_000, 44_100, &song, std::iter::empty());
        for piece in [1usize, 7, 1023, 1024, 1025, 11_520] {
            assert_eq!(
                resampled(48_000, 44_100, &song, (0..20_001 / piece).map(|_| piece)),
                whole,
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn the_same_rate_changes_nothing() {
        let song = tones(48_000, 5_000);
        assert_eq!(resampled(48_000, 48_000, &song, [100usize, 3000].into_iter()), song);
    }

    #[test]
    fn songs_shorter_than_the_delay_keep_their_length() {
        for samples in [0usize, 1, 100, 1024] {
            let out = resampled(48_000, 96_000, &tones(48_000, samples), std::iter::empty());
            assert_eq!(out.len(), 2 * samples * CHANNELS);
        }
    }

    #[test]
    fn rates_without_a_common_divisor_work_too() {
        let out = resampled(48_000, 47_999, &tones(48_000, 48_000), std::iter::empty());
        assert_eq!(out.len(), 47_999 * CHANNELS);
    }

    #[test]
    fn a_rate_of_zero_is_refused() {
        assert!(Resampler::new(48_000, 0).is_err_and(|error| error.to_string().contains("to 0 Hz")));
    }
}
