//! Frames that are drawn on the GPU, each asked for before the codes of the one before it have come.

use super::{GpuModel, GpuSong, passes::DepthPass};
use crate::{
    error::{ModelError, Result},
    heartmula::Sampling,
    kernels::{
        CapturedGraph,
        lm::{SongPlace, Start},
    },
    signal::KeyedNoise,
};

/// How codes are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::heartmula) struct Drawing {
    pub options: Sampling,
    pub noise: KeyedNoise,
    pub guidance: f64,
}

/// The kernels of a frame.
#[derive(Debug)]
pub(super) struct Recorded {
    drawing: Drawing,
    /// Of one whose backbone output is there.
    first: CapturedGraph,
    /// Of one that begins with the frame before it.
    next: CapturedGraph,
}

/// Frames that the GPU was asked for, and where it then is.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Frames that are written there; `None` where it has to be told where the song is.
    frames: Option<u64>,
    length: usize,
    has_output: bool,
}

impl GpuModel {
    /// The codes of frame number `frame`, the next one. While they are on their way the GPU writes the frame behind it.
    ///
    /// # Errors
    /// When there is no room for another frame, or a logit is not a number.
    pub fn next_frame(&self, song: &mut GpuSong, frame: u64, drawing: Drawing) -> Result<Vec<u32>> {
        if song.recorded.as_ref().is_none_or(|recorded| recorded.drawing != drawing) {
            song.settle();
            song.recorded = None;
            song.gpu.wait()?;
            song.recorded = Some(self.record(song, drawing)?);
        }
        if song.ahead.frames.is_none_or(|frames| frames <= frame) {
            self.write_ahead(song, frame)?;
        }
        if song.ahead.frames == Some(frame + 1) && song.ahead.length < song.capacity {
            self.write_ahead(song, frame + 1)?;
        }
        let (place, codes) = song.drawn.receive(frame)?;
        if place.failed > 0 && place.failed_frame == frame {
            let (codebook, found) = (place.failed as usize - 1, f32::from_bits(place.bad));
            return Err(ModelError::NotANumber { frame, codebook, found });
        }
        if !std::mem::take(&mut song.has_output) {
            song.length += 1;
        }
        song.last = Some(codes.clone());
        Ok(codes)
    }

    /// Has the GPU write frame number `frame`, and send its codes.
    fn write_ahead(&self, song: &mut GpuSong, frame: u64) -> Result<()> {
        if song.ahead.frames != Some(frame) {
            song.drawn.set_place(&song.gpu, SongPlace::new(song.length, frame))?;
            if song.last.is_none() && !song.has_output {
                return Err(ModelError::shape("song", "one that can go on", "one that failed"));
            }
            if let Some(last) = &song.last {
                let codes: Vec<i32> = last.iter().map(|code| *code as i32).collect();
                song.drawn.set_codes(&song.gpu, &codes)?;
            }
            song.ahead = Ahead { frames: Some(frame), length: song.length, has_output: song.has_output };
        }
        let with_output = std::mem::take(&mut song.ahead.has_output);
        if !with_output {
            song.check_room(song.ahead.length, 1)?;
            song.kv.reserve(&song.gpu, song.ahead.length + 1)?;
            song.ahead.length += 1;
        }
        let Some(recorded) = &mut song.recorded else { return Ok(()) };
        if with_output {
            recorded.first.run()?
        } else {
            recorded.next.run()?
        }
        song.ahead.frames = Some(frame + 1);
        Ok(song.drawn.send(&song.gpu, frame)?)
    }

    fn record(&self, song: &GpuSong, drawing: Drawing) -> Result<Recorded> {
        let record = |with_output| song.gpu.record(|| self.frame(song, drawing, with_output));
        Ok(Recorded { drawing, first: record(true)?, next: record(false)? })
    }

    /// The kernels of one frame, from what is on the GPU alone.
    fn frame(&self, song: &GpuSong, drawing: Drawing, with_output: bool) -> Result<()> {
        let Drawing { options, noise, guidance } = drawing;
        let (batch, vocabulary) = (song.batch, self.config.audio_vocab_size);
        let settings = (options.temperature, options.top_k, noise.key());
        if !with_output {
            self.backbone_pass(song, Start::Told(song.drawn.position()), 1, 0)?;
        }
        let draw = |codebook| {
            let advance = usize::from(!with_output);
            song.gpu.draw((&song.logits, vocabulary), &song.drawn, codebook, settings, advance)
        };
        self.head(song, 0, (&song.hidden, 0, true), 1, (0, guidance))?;
        draw(0)?;
        for codebook in 1..self.heads.len() {
            // The depth decoder sees the backbone's output and code 0 together, then code after code.
            let (from, count) = if codebook == 1 { (0, 2) } else { (codebook, 1) };
            self.depth_pass(song, DepthPass { from, count, frames: 1, output: 0, normed: true, first_batch: 0 })?;
            let rows = (&song.decoder.parts, (count - 1) * batch, true);
            self.head(song, codebook, rows, 1, (codebook, guidance))?;
            draw(codebook)?;
        }
        Ok(())
    }
}

impl GpuSong {
    /// Forgets frames that the GPU was asked for and that were not taken.
    pub(super) fn settle(&mut self) {
        self.ahead = Ahead::default();
    }

    /// Accepts `count` more positions behind `length`, or says that there is no room for them.
    pub(super) fn check_room(&self, length: usize, count: usize) -> Result<()> {
        if length + count > self.capacity {
            let expected = format!("at most {}", self.capacity);
            return Err(ModelError::shape("positions of a song", expected, length + count));
        }
        Ok(())
    }
}
