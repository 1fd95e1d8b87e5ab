//! Training songs of a drafter: written by the model, on a processor several of them in parallel.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use heartstream::EngineError;
use heartstream_actors::compute_site::{ComputePool, ComputeSite};
use heartstream_models::{
    heartmula::{HeartMula, KeyedSampler, PromptTokens, Sampling},
    signal::KeyedNoise,
};
use heartstream_tools::distill::TaughtSong;

use super::super::{Failed, status::Status};

/// What is the same for all songs.
pub(super) struct Writer {
    pub model: Arc<HeartMula>,
    /// A prompt for each song.
    pub prompts: Vec<PromptTokens>,
    /// Codes from this one on end a song.
    pub audio_eos: u32,
    /// Frames of a song at most.
    pub frames: usize,
    /// How far the words lead.
    pub guidance: f64,
    /// Seed of all songs.
    pub seed: u64,
    /// Songs that are written side by side, each on a thread of its own.
    pub threads: usize,
}

impl Writer {
    /// All songs, in the order of their prompts.
    pub(super) fn songs(&self, status: &Status) -> Result<Vec<TaughtSong>, Failed> {
        let count = self.prompts.len();
        let next = AtomicUsize::new(0);
        let (done, written) = flume::unbounded();
        let mut songs: Vec<(usize, TaughtSong)> = thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, count.max(1)) {
                let (next, done) = (&next, done.clone());
                scope.spawn(move || self.write(next, &done));
            }
            drop(done);
            let mut songs = Vec::with_capacity(count);
            for song in written {
                if song.is_err() {
                    next.store(count, Ordering::Relaxed); // the others need not go on
                }
                songs.push(song?);
                status.say(&format!("{} of {count} songs are written", songs.len()));
            }
            Ok::<_, Failed>(songs)
        })?;
        songs.sort_by_key(|(number, _)| *number);
        Ok(songs.into_iter().map(|(_, song)| song).collect())
    }

    /// Writes songs until there are no more to write.
    fn write(&self, next: &AtomicUsize, done: &flume::Sender<Result<(usize, TaughtSong), Failed>>) {
        let pool = ComputePool::around_this_thread(Some(&ComputeSite { threads: 1, cores: Vec::new() }), "distill");
        let pool = match pool {
            Ok(pool) => pool,
            Err(error) => {
                let _ = done.send(Err(EngineError::Threads(error.to_string()).into())); // the receiver is gone
                return;
            }
        };
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(prompt) = self.prompts.get(number) else { return };
            let song = pool.run(|| self.song(number, prompt)).map(|song| (number, song));
            if done.send(song).is_err() {
                return;
            }
        }
    }

    fn song(&self, number: usize, prompt: &PromptTokens) -> Result<TaughtSong, Failed> {
        let options = Sampling::default();
        let sampler = KeyedSampler::new(options, KeyedNoise::new(self.seed << 20 | number as u64))?;
        Ok(TaughtSong::write(&self.model, prompt, self.guidance, self.frames, self.audio_eos, sampler)?)
    }
}
