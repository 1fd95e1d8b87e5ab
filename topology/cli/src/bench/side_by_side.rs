//! Overlap of two flow workers on cores of their own.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use heartstream::{EngineError, units::Seconds};
use heartstream_actors::{
    compute_site::{ComputePool, ComputeSite},
    core_layout::CoreLayout,
};
use heartstream_models::{
    heartcodec::{Flow, FlowJob, HeartCodec, LATENTS_PER_FRAME},
    signal::KeyedNoise,
};

use crate::Failed;

/// Frames of a segment: long enough that a worker computes and does not only read weights, which cores share.
pub(super) const FRAMES: usize = 32;

/// The best times of a step of one segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct SideBySide {
    /// One worker on one core.
    pub alone: Seconds,
    /// Two workers, each on a core of its own and with a segment of its own, until both are done.
    pub together: Seconds,
}

impl SideBySide {
    /// How many times the segments of one worker two make in the same time.
    pub(super) fn gain(&self) -> f64 {
        2.0 * self.alone.0 / self.together.0
    }
}

/// Measures steps of one worker and of two in turn, so that what else the machine does meets both; `None` where there
/// are not two cores.
pub(super) fn measure(codec: &HeartCodec, guidance: f32, repeats: usize) -> Result<Option<SideBySide>, Failed> {
    let cores = CoreLayout::here().cores();
    let [first, second, ..] = cores[..] else { return Ok(None) };
    let mut best = SideBySide { alone: Seconds(f64::INFINITY), together: Seconds(f64::INFINITY) };
    for _ in 0..repeats {
        for (cores, best) in [(&[first][..], &mut best.alone), (&[first, second], &mut best.together)] {
            let time = Seconds(steps(codec, guidance, cores)?.as_secs_f64());
            *best = if time.0 < best.0 { time } else { *best };
        }
    }
    Ok(Some(best))
}

/// One step of a segment on each of these cores at the same time: how long it takes until all are done.
fn steps(codec: &HeartCodec, guidance: f32, cores: &[usize]) -> Result<Duration, Failed> {
    let codes = vec![0u16; FRAMES * codec.flow.quantizer.codebooks()];
    let mut noise = vec![0f32; FRAMES * LATENTS_PER_FRAME * codec.flow.channels()];
    KeyedNoise::new(1).fill_latent(0, &mut noise);
    let job = FlowJob { codes: &codes, noise: &noise, in_context: &[], options: Flow { steps: 1, guidance } };
    let start = Barrier::new(cores.len());
    let work = |core: usize| {
        let site = ComputeSite { threads: 1, cores: vec![core] };
        let pool = ComputePool::around_this_thread(Some(&site), "flow worker");
        start.wait();
        let began = Instant::now();
        let pool = pool.map_err(|error| Failed::from(EngineError::Threads(error.to_string())))?;
        pool.run(|| codec.flow.solve(job, &|| false).map(|_| ()))?;
        Ok((began, Instant::now()))
    };
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let workers: Vec<_> = cores.iter().map(|core| scope.spawn(|| work(*core))).collect();
        let spans = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(Failed::Error("a flow worker panicked".to_owned()))));
        spans.collect::<Result<_, Failed>>()
    })?;
    let began = spans.iter().map(|span| span.0).min();
    let ended = spans.iter().map(|span| span.1).max();
    Ok(began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended - began))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_that_take_as_long_as_one_make_twice_the_segments() {
        let gain = |together| SideBySide { alone: Seconds(3.0), together: Seconds(together) }.gain();
        assert_eq!((gain(3.0), gain(6.0)), (2.0, 1.0));
    }
}
