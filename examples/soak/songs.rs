//! Songs of the soak: what is asked for, and readers that leave.

use std::{io, sync::Arc, time::Duration};

use heartstream::{Sampling, Song, SongRequest, units::Frames};
use tokio::sync::Barrier;

/// Frames of a song that comes to its end: the least that two windows need.
pub const FRAMES: Frames = Frames(25);

/// Songs of a part where the environment says nothing: some minutes on two cores.
pub const USUAL_SONGS: u64 = 300;
/// Songs of a part before its first measure; of several at once, batches of songs. None of them ends early, and those of a
/// batch wait until all of it have begun. So a part has by then taken all that its songs need at once: an engine keeps the
/// threads of its songs, and starts no more for the songs that come after them.
pub const WARM: u64 = 10;

/// A number of the environment, or the usual one.
pub fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// The request of song `seed`.
pub fn request(seed: u64) -> SongRequest {
    SongRequest {
        seed,
        max_frames: FRAMES,
        sampling: Sampling { top_k: 5, ..Sampling::default() },
        ..SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in across the floor")
    }
}

/// Uniform below 2^32, as it follows from the seed.
fn drawn(seed: u64) -> u64 {
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// A random moment of song `seed`, which takes about `usual`.
pub fn moment(seed: u64, usual: Duration) -> Duration {
    usual.mul_f64(drawn(seed) as f64 / (1u64 << 32) as f64)
}

/// A pipe whose reader leaves after this number of bytes.
pub struct ClosingPipe(u64);

impl ClosingPipe {
    /// One that leaves at a random moment of song `seed`.
    pub fn of(seed: u64) -> Self {
        Self(drawn(seed) % 200_000)
    }

    /// One that stays.
    pub const STAYS: Self = Self(u64::MAX);
}

impl io::Write for ClosingPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// When a song ends.
pub enum Until {
    /// By itself, after all of its batch have begun: it is paused until then.
    All(Arc<Barrier>),
    /// A third of the songs at a random moment of about this time, which a whole one takes; a third when its pipe closes.
    Random(Duration),
}

impl Until {
    pub async fn begun(&self, song: &Song) {
        if let Self::All(begun) = self {
            song.pause();
            begun.wait().await;
            song.resume();
        }
    }
}
