//! Shows: an engine that sings song after song holds no more memory, threads and files at the end than after ten songs.
//!
//! Run with: `make soak`, or `SONGS=1000 make soak`. Of the songs a third is read to its end, a third is cancelled at a random
//! moment, and a third goes to a pipe that closes. First one after the other, then eight at once.

use std::{
    fs, io,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use heartstream::{Heartstream, Outcome, SampleFormat, Sampling, Sink, Song, SongRequest, WavTarget, units::Frames};
use tokio::sync::Barrier;

/// Songs where the environment says nothing: some minutes on two cores.
const USUAL_SONGS: u64 = 300;
/// After so many songs, one after the other or so many times eight, the first measure of a part is taken. None of them ends
/// early, and those of a batch wait until all of it have begun. So a part has by then taken all that its songs need at once:
/// an engine keeps the threads of so many songs, and starts no more for the songs that come after them.
const WARM: u64 = 10;
/// Songs at once in the second part.
const AT_ONCE: u64 = 8;
/// By so much the last measure may be above the first.
const TOLERANCE: f64 = 0.05;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let songs = std::env::var("SONGS").ok().and_then(|songs| songs.parse().ok()).unwrap_or(USUAL_SONGS);
    let engine = Heartstream::builder(heartstream_tools::synth::noise()).build().await?;
    let since = Instant::now();
    sing(engine.clone(), 0, Until::All(Arc::new(Barrier::new(1)))).await?;
    let usual = since.elapsed();
    println!("{:<22} {:>6} {:>9} {:>8} {:>6}", "", "songs", "RSS", "threads", "files");
    let steady = part(&engine, "one after the other", songs, 1, usual).await?
        & part(&engine, "eight at once", songs, AT_ONCE, usual * AT_ONCE as u32).await?;
    Ok(if steady { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sings `songs` songs, `at_once` of them at a time, each of which takes about `usual`. Whether the measures at the end are
/// those of the beginning.
async fn part(
    engine: &Heartstream,
    name: &str,
    songs: u64,
    at_once: u64,
    usual: Duration,
) -> Result<bool, Box<dyn std::error::Error>> {
    let since = Instant::now();
    let (mut first, mut sung) = (None, 0);
    while sung < songs.max(2 * WARM * at_once) {
        let begun = Arc::new(Barrier::new(at_once as usize));
        let until = |_| if first.is_some() { Until::Random(usual) } else { Until::All(Arc::clone(&begun)) };
        let batch: Vec<_> =
            (sung..sung + at_once).map(|seed| tokio::spawn(sing(engine.clone(), seed, until(seed)))).collect();
        for song in batch {
            song.await??;
        }
        sung += at_once;
        if first.is_none() && sung >= WARM * at_once {
            first = Some(Held::now()?);
            print(name, sung, first.as_ref());
        }
    }
    let (first, last) = (first.unwrap_or(Held::now()?), Held::now()?);
    print(name, sung, Some(&last));
    let steady = last.within(&first);
    println!("{name}: {} in {:.0} s", if steady { "steady" } else { "NOT STEADY" }, since.elapsed().as_secs_f64());
    Ok(steady)
}

/// When a song ends.
enum Until {
    /// By itself, after all of its batch have begun: it is paused until then.
    All(Arc<Barrier>),
    /// A third of the songs at a random moment of about this time, which a whole one takes; a third when its pipe closes.
    Random(Duration),
}

impl Until {
    async fn begun(&self, song: &Song) {
        if let Self::All(begun) = self {
            song.pause();
            begun.wait().await;
            song.resume();
        }
    }
}

/// One song, of the kind that follows from its seed.
async fn sing(engine: Heartstream, seed: u64, until: Until) -> Result<(), String> {
    let request = SongRequest {
        seed,
        max_frames: Frames(25),
        sampling: Sampling { top_k: 5, ..Sampling::default() },
        ..SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in across the floor")
    };
    // Uniform below 2^32, as it follows from the seed.
    let moment = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let failed = |error: heartstream::EngineError| error.to_string();
    let outcome = match seed % 3 {
        0 => {
            let mut song = engine.sing(request).await.map_err(failed)?;
            until.begun(&song).await;
            while song.next_block().await.is_some() {}
            song.finished().await.outcome
        }
        1 => {
            let mut song = engine.sing(request).await.map_err(failed)?;
            until.begun(&song).await;
            let whole = async { while song.next_block().await.is_some() {} };
            let end = match until {
                Until::Random(usual) => usual.mul_f64(moment as f64 / (1u64 << 32) as f64),
                Until::All(_) => Duration::MAX,
            };
            if tokio::time::timeout(end, whole).await.is_err() {
                song.cancel();
            }
            song.finished().await.outcome
        }
        _ => {
            let bytes = if let Until::Random(_) = until { moment % 200_000 } else { u64::MAX };
            let target = WavTarget::stream("a pipe", ClosingPipe(bytes), SampleFormat::S16);
            let song = engine.sing_to(request, Sink::Wav(target)).await.map_err(failed)?;
            until.begun(&song).await;
            song.finished().await.outcome
        }
    };
    match outcome {
        Outcome::Failed(error) => Err(error.to_string()),
        Outcome::Finished | Outcome::Cancelled | Outcome::ReaderLeft => Ok(()),
    }
}

/// A pipe whose reader leaves after so many bytes.
struct ClosingPipe(u64);

impl io::Write for ClosingPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What this process holds.
struct Held {
    /// Resident memory, bytes.
    memory: u64,
    threads: u64,
    files: u64,
}

impl Held {
    /// What it holds at this moment, as Linux says.
    fn now() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let files = fs::read_dir("/proc/self/fd")?.count() as u64;
        Ok(Self { memory: field("VmRSS:") << 10, threads: field("Threads:"), files })
    }

    fn within(&self, first: &Self) -> bool {
        let pairs = [(self.memory, first.memory), (self.threads, first.threads), (self.files, first.files)];
        pairs.iter().all(|(last, first)| *last as f64 <= *first as f64 * (1.0 + TOLERANCE))
    }
}

fn print(name: &str, songs: u64, held: Option<&Held>) {
    if let Some(Held { memory, threads, files }) = held {
        println!("{name:<22} {songs:>6} {:>6.1} MB {threads:>8} {files:>6}", *memory as f64 / 1e6);
    }
}
