//! Frames that are drawn on the GPU, each asked for before the codes of the one before it have come.

use super::{GpuModel, GpuSong, state::Workspace};
use crate::{
    error::{ModelError, Result},
    heartmula::Sampling,
    kernels::{
        CapturedGraph,
        lm::{DrawSettings, Drawers, Guidance, SongPlace, Start},
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

impl Drawing {
    /// What kernels need to know of it.
    pub(super) fn settings(&self) -> DrawSettings {
        let Sampling { temperature, top_k, .. } = self.options;
        DrawSettings { temperature, top_k, key: self.noise.key() }
    }
}

/// The kernels of a frame, recorded when one is first asked for.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    drawing: Option<Drawing>,
    /// Of one whose backbone output is there.
    first: Option<CapturedGraph>,
    /// Of one that begins with the frame before it.
    next: Option<CapturedGraph>,
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
    /// The codes of frame number `frame`, the next one. With `ahead` the GPU writes the frame behind it while they are on
    /// their way.
    ///
    /// # Errors
    /// When there is no room for another frame, or a logit is not a number.
    pub fn next_frame(&self, song: &mut GpuSong, frame: u64, drawing: Drawing, ahead: bool) -> Result<Vec<u32>> {
        if song.recorded.drawing != Some(drawing) {
            song.settle();
            song.work.gpu.wait()?;
            song.recorded = Recorded { drawing: Some(drawing), ..Recorded::default() };
        }
        if song.ahead.frames.is_none_or(|frames| frames <= frame) {
            self.write_ahead(song, frame)?;
        }
        if ahead && song.ahead.frames == Some(frame + 1) && song.ahead.length < song.capacity {
            self.write_ahead(song, frame + 1)?;
        }
        let (place, codes) = song.drawn.receive(frame)?;
        if place.failed > 0 && place.failed_frame == frame {
            let (codebook, found) = (place.failed as usize - 1, f32::from_bits(place.bad));
            return Err(ModelError::NotANumber { frame, codebook, found });
        }
        song.wrote(&codes);
        Ok(codes)
    }

    /// Has the GPU write frame number `frame`, and send its codes.
    fn write_ahead(&self, song: &mut GpuSong, frame: u64) -> Result<()> {
        if song.ahead.frames != Some(frame) {
            song.drawn.set_place(&song.work.gpu, SongPlace::new(song.length, frame))?;
            if song.last.is_none() && !song.has_output {
                return Err(ModelError::shape("song", "one that can go on", "one that failed"));
            }
            if let Some(last) = &song.last {
                let codes: Vec<i32> = last.iter().map(|code| *code as i32).collect();
                song.work.set_codes(&codes)?;
            }
            song.ahead = Ahead { frames: Some(frame), length: song.length, has_output: song.has_output };
        }
        let with_output = std::mem::take(&mut song.ahead.has_output);
        if !with_output {
            song.check_room(song.ahead.length, 1)?;
            song.kv.reserve(&song.work.gpu, song.ahead.length + 1)?;
            song.ahead.length += 1;
        }
        let recorded = if with_output { &song.recorded.first } else { &song.recorded.next };
        if recorded.is_none() {
            let graph = Some(song.work.gpu.record(|| self.frame(song, with_output))?);
            *if with_output { &mut song.recorded.first } else { &mut song.recorded.next } = graph;
        }
        let recorded = if with_output { &mut song.recorded.first } else { &mut song.recorded.next };
        recorded.as_mut().map_or(Ok(()), CapturedGraph::run)?;
        song.ahead.frames = Some(frame + 1);
        Ok(song.drawn.send(&song.work.gpu, frame)?)
    }

    /// The kernels of one frame, from what is on the GPU alone.
    fn frame(&self, song: &GpuSong, with_output: bool) -> Result<()> {
        let Some(drawing) = song.recorded.drawing else { return Ok(()) };
        let work = &song.work;
        if !with_output {
            self.backbone_pass(work, (&song.kv, Start::Told(song.drawn.position())), 1, 0)?;
        }
        let drawers = Drawers::One(&song.drawn, drawing.settings(), usize::from(!with_output));
        self.drawn_frames(work, 1, Guidance::Of(drawing.guidance), |codebook| self.draw(work, drawers, codebook))
    }

    /// Draws a code of each song.
    pub(super) fn draw(&self, work: &Workspace, songs: Drawers<'_>, codebook: usize) -> Result<()> {
        let logits = (&work.logits, self.config.audio_vocab_size);
        Ok(work.gpu.draw(logits, songs, &work.codes, (codebook, self.heads.len()))?)
    }
}

impl GpuSong {
    /// Forgets frames that the GPU was asked for and that were not taken.
    pub(super) fn settle(&mut self) {
        self.ahead = Ahead::default();
    }

    /// Goes on behind a frame with these codes.
    pub(super) fn wrote(&mut self, codes: &[u32]) {
        if !std::mem::take(&mut self.has_output) {
            self.length += 1;
        }
        self.last = Some(codes.to_vec());
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
