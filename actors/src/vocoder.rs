//! Vocoder stage: latents to samples in small pieces, so that a segment's first samples come before its last are
//! decoded.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use heartstream_messages::{
    LatentSegment, PcmPiece, PcmWindow, Stage,
    units::{LATENTS_PER_FRAME, SAMPLES_PER_FRAME, SAMPLES_PER_LATENT},
};
use heartstream_models::{
    heartcodec::{HeartCodec, VocoderState},
    signal::{LatentJoin, SegmentPlan},
};

use crate::{
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
};

/// Latents of a piece: 0.64 s of music.
const LATENTS_OF_A_PIECE: usize = 16;
/// Samples of each channel in a piece.
pub const PIECE_SAMPLES: usize = LATENTS_OF_A_PIECE * SAMPLES_PER_LATENT as usize;
/// Samples of each channel in the last piece of a segment, at most: what the vocoder held back comes with it.
pub const LONGEST_PIECE_SAMPLES: usize = 2 * PIECE_SAMPLES;

/// Decodes segments: each from silence, or, in a continuous plan, all as one stream.
pub struct VocoderStage {
    codec: Arc<HeartCodec>,
    plan: SegmentPlan,
    /// Joins the segments of a continuous plan.
    join: LatentJoin,
    /// The vocoder's state of the current stream.
    state: Option<VocoderState>,
    /// The segment that is being decoded.
    pending: Option<Pending>,
    /// Whether this stage still has to measure its speed.
    calibrate: bool,
    song: SongContext,
}

/// A segment, and how far it is decoded.
struct Pending {
    segment: LatentSegment,
    /// Latents that were fed, or need not be.
    fed: usize,
    /// Latents up to which it is fed.
    heard: usize,
    /// Samples of each channel that are still to come and are not played: those of the lead-in.
    silent: usize,
    /// Goes out with the first piece.
    window: Option<PcmWindow>,
}

impl VocoderStage {
    /// A stage around the shared weights, for segments of `plan`. In a song with a deadline it should `calibrate`:
    /// measure its speed before the first segment comes.
    pub fn new(codec: Arc<HeartCodec>, plan: SegmentPlan, calibrate: bool, song: SongContext) -> Self {
        let join = LatentJoin::new(codec.flow.channels());
        Self { codec, plan, join, state: None, pending: None, calibrate, song }
    }

    fn pending(&mut self, mut segment: LatentSegment) -> Pending {
        let all = segment.latents.len() / self.codec.flow.channels();
        let lead_in = (segment.lead_in.0 * LATENTS_PER_FRAME) as usize;
        let silent = lead_in * SAMPLES_PER_LATENT as usize;
        if self.plan.is_continuous() {
            let [known, look_ahead] =
                [segment.known, segment.look_ahead].map(|span| (span.0 * LATENTS_PER_FRAME) as usize);
            self.join.join(&mut segment.latents, known, look_ahead);
            let (fed, heard) = (known, all - look_ahead);
            // The first piece of the song opens the one window that all of it is.
            let window = self.state.is_none().then_some(PcmWindow { samples: u64::MAX, fade_out: 0 });
            return Pending { segment, fed, heard, silent, window };
        }
        let heard = lead_in + self.latents_heard(&segment, all - lead_in);
        // After the last segment comes none that would fade in.
        let fade_out = if segment.song_end.is_some() { 0 } else { segment.fade_out.0 as usize };
        let fade_out = self.plan.fade_samples(fade_out, SAMPLES_PER_FRAME as usize) as u64;
        let window = Some(PcmWindow { samples: (heard - lead_in) as u64 * SAMPLES_PER_LATENT, fade_out });
        Pending { segment, fed: 0, heard, silent, window }
    }

    /// How many latents of a segment are played. The filling of the reference's last segment is not; the vocoder has
    /// little look-ahead, so leaving it out changes nothing before it.
    fn latents_heard(&self, segment: &LatentSegment, all: usize) -> usize {
        let Some(end) = segment.song_end else { return all };
        let start = segment.first_frame.0 * SAMPLES_PER_FRAME;
        let heard = end.0.saturating_sub(start).div_ceil(SAMPLES_PER_LATENT) as usize;
        // The cross-fade needs the whole overlap, even if not all of it is played.
        let wanted = heard.max(self.plan.longest_overlap() * LATENTS_PER_FRAME as usize);
        self.codec.vocoder.latents_to_feed(wanted).min(all)
    }

    /// Feeds the next latents of the pending segment, if there is one.
    fn next_pieces(&mut self, outputs: &mut VecDeque<PcmPiece>) -> Result<(), Failure> {
        let Some(pending) = &mut self.pending else { return Ok(()) };
        let vocoder = &self.codec.vocoder;
        let channels = self.codec.flow.channels();
        let state = match &mut self.state {
            Some(state) => state,
            none => none.insert(vocoder.start()?),
        };
        // The first piece is short for latency; later ones are large enough to fill a GPU.
        let first = pending.window.is_some();
        let lead_in = pending.silent / SAMPLES_PER_LATENT as usize;
        let latents = if first { LATENTS_OF_A_PIECE } else { LATENTS_OF_A_PIECE.max(vocoder.latents_at_once()) };
        let end = (pending.fed + lead_in + latents).min(pending.heard);
        let [mut left, mut right] =
            vocoder.push(state, &pending.segment.latents[pending.fed * channels..end * channels])?;
        pending.fed = end;
        if end == pending.heard {
            // The next latents come a window later.
            let [last_left, last_right] = vocoder.flush(state)?;
            left.extend(last_left);
            right.extend(last_right);
        }
        let silent = pending.silent.min(left.len());
        pending.silent -= silent;
        let mut window = pending.window.take();
        let song_end = pending.segment.song_end;
        if end == pending.heard {
            self.pending = None;
            self.song.meter.stage(Self::STAGE).did_one();
            if !self.plan.is_continuous()
                && let Some(state) = self.state.take()
            {
                let [last_left, last_right] = vocoder.finish(state)?;
                left.extend(last_left);
                right.extend(last_right);
            }
        }
        left.drain(..silent);
        right.drain(..silent);
        while left.len() > LONGEST_PIECE_SAMPLES {
            let (later_left, later_right) = (left.split_off(PIECE_SAMPLES), right.split_off(PIECE_SAMPLES));
            outputs.push_back(PcmPiece { window: window.take(), left, right, song_end });
            (left, right) = (later_left, later_right);
        }
        outputs.push_back(PcmPiece { window, left, right, song_end });
        Ok(())
    }

    fn measure(&mut self) -> Result<(), Failure> {
        let vocoder = &self.codec.vocoder;
        let since = Instant::now();
        let lead_in = self.plan.next(None).lead_in * LATENTS_PER_FRAME as usize;
        let silence = vec![0.0; vocoder.latents_to_feed(lead_in + LATENTS_OF_A_PIECE) * self.codec.flow.channels()];
        vocoder.push(&mut vocoder.start()?, &silence)?;
        self.song.engine.rates.sound_measured(since.elapsed().as_secs_f64());
        Ok(())
    }
}

impl StageWork for VocoderStage {
    const STAGE: Stage = Stage::Vocoder;
    type Input = LatentSegment;
    type Output = PcmPiece;

    fn step(&mut self, event: Event<LatentSegment>, outputs: &mut VecDeque<PcmPiece>) -> Result<Next, Failure> {
        match event {
            Event::Begin if self.calibrate => self.measure()?,
            Event::Begin => (),
            Event::Input(segment) => self.pending = Some(self.pending(segment)),
            Event::Continue => self.next_pieces(outputs)?,
            Event::End => self.finish(outputs)?,
        }
        Ok(if self.pending.is_some() { Next::Continue } else { Next::Input })
    }
}

impl VocoderStage {
    fn finish(&mut self, outputs: &mut VecDeque<PcmPiece>) -> Result<(), Failure> {
        // Of a song that was ended early, what comes next is unknown: the last frames are dropped.
        if let Some(state) = self.state.take().filter(|_| !self.song.stop.is_set()) {
            let [left, right] = self.codec.vocoder.finish(state)?;
            outputs.push_back(PcmPiece { window: None, left, right, song_end: None });
        }
        Ok(())
    }
}
