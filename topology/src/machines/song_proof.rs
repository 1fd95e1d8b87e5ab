//! Proof of a machine that makes songs: a short song whose codes and samples this machine has made itself.

use std::time::{Duration, Instant};

use flume::Receiver;
use heartstream_actors::remote::{
    song_part::WrongPart,
    song_stage::LostMachine,
    song_workers::{AskForSong, SongWorkers},
    workers::Fault,
};
use heartstream_messages::{
    CodeFrame, FirstWindow, Outcome, SongRefusal, SongReport, SongRequest,
    units::{Frames, SampleIndex},
};

use crate::{EngineError, Heartstream, Sink, Sinks, Song};

/// Frames of the proof song, and of its first window: two windows, the second with in-context latents.
const FRAMES: Frames = Frames(24);
const FIRST_WINDOW: Frames = Frames(12);
/// How much longer a machine may take for a frame of it than this one; a song's stage allows four times that.
const RATE_FACTOR: f64 = 5.0;
/// Between two attempts where others have all places.
const FULL_PAUSE: Duration = Duration::from_secs(2);

/// A song that is known: a machine that makes the same one computes as this one does.
#[derive(Debug)]
pub(super) struct SongProof {
    request: SongRequest,
    codes: Vec<u16>,
    samples: Vec<f32>,
    /// Seconds that this machine takes for a frame.
    pub frame_seconds: f64,
}

impl SongProof {
    /// Makes the song with `engine`, once.
    ///
    /// # Errors
    /// When it cannot: then no machine can be proved.
    pub async fn compute(engine: &Heartstream) -> Result<Self, EngineError> {
        let request = SongRequest {
            seed: 1,
            max_frames: FRAMES,
            first_window: FirstWindow { most: FIRST_WINDOW, deadline: None },
            ..SongRequest::new("piano,calm", "[Verse]\nla la la")
        };
        let (sinks, frames) = sinks();
        let since = Instant::now();
        let (codes, samples, report) = heard(engine.sing_to(request.clone(), sinks).await?, frames).await;
        match report.outcome {
            Outcome::Finished => (),
            outcome => return Err(EngineError::Interrupted(format!("the proof song ended as {outcome:?}"))),
        }
        let frame_seconds = since.elapsed().as_secs_f64() / report.frames.0.max(1) as f64;
        Ok(Self { request, codes, samples, frame_seconds })
    }

    /// Has a machine make the song; its seconds for a frame.
    pub async fn of(
        &self,
        engine: &Heartstream,
        workers: &SongWorkers,
        name: &str,
        ask: AskForSong,
    ) -> Result<f64, Fault> {
        loop {
            let place = workers.candidate(name, ask.clone(), RATE_FACTOR * self.frame_seconds);
            let (sinks, frames) = sinks();
            let since = Instant::now();
            let song = engine.sing_elsewhere(place, self.request.clone(), SampleIndex(0), sinks).await;
            let song = song.map_err(|error| Fault::Gone(error.to_string()))?;
            let (codes, samples, report) = heard(song, frames).await;
            match report.outcome {
                Outcome::Finished if codes == self.codes && is_same(&samples, &self.samples) => {
                    return Ok(since.elapsed().as_secs_f64() / report.frames.0.max(1) as f64);
                }
                Outcome::Finished => return Err(WrongPart::OtherSong.into()),
                Outcome::Failed(error) => {
                    let lost = error.source.as_deref().and_then(|source| source.downcast_ref::<LostMachine>());
                    match lost.map(|lost| &lost.fault) {
                        Some(Fault::SongRefused(SongRefusal::Full)) => tokio::time::sleep(FULL_PAUSE).await,
                        Some(fault) => return Err(fault.clone()),
                        None => return Err(Fault::Gone(error.to_string())),
                    }
                }
                outcome => return Err(Fault::Gone(format!("the proof song ended as {outcome:?}"))),
            }
        }
    }
}

fn is_same(samples: &[f32], expected: &[f32]) -> bool {
    let same = |(one, other): (&f32, &f32)| one.to_bits() == other.to_bits();
    samples.len() == expected.len() && samples.iter().zip(expected).all(same)
}

/// To a reader, and the frames beside.
fn sinks() -> (Sinks, Receiver<CodeFrame>) {
    let (give, frames) = flume::bounded(FRAMES.0 as usize);
    (Sinks::from(Sink::Subscriber).and_frames(give), frames)
}

/// The codes and the samples of a song, and how it ended.
async fn heard(mut song: Song, frames: Receiver<CodeFrame>) -> (Vec<u16>, Vec<f32>, SongReport) {
    let mut samples = Vec::new();
    while let Some(block) = song.next_block().await {
        samples.extend_from_slice(&block.samples);
    }
    let report = song.finished().await;
    (frames.drain().flat_map(|frame| frame.codes).collect(), samples, report)
}
