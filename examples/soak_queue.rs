//! Shows: an engine with a queue holds no more memory, threads and files at the end than after twenty songs of each at once.
//!
//! None is lost, and none waits longer for its turn than was forecast.
//!
//! Run with: `make soak-queue`, or `SONGS=1000 AT_ONCE=16 make soak-queue`. The songs end as those of `soak` do. First one after
//! the other, then eight at once, with as many that wait in the queue.

#[path = "soak/held.rs"]
mod held;
#[path = "soak/songs.rs"]
mod songs;

use std::{
    fmt,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use heartstream::{
    EngineError, Heartstream, Outcome, Sink, SongReport,
    wav::{SampleFormat, WavTarget},
};
use held::{Held, TOLERANCE, print};
use songs::{ClosingPipe, FRAMES, USUAL_SONGS, Until, WARM, moment, number, request};
use tokio::{sync::Barrier, task::JoinSet};

/// Songs at once in the second part, where the environment says nothing.
const USUAL_AT_ONCE: u64 = 8;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let (songs, at_once) = (number("SONGS", USUAL_SONGS), number("AT_ONCE", USUAL_AT_ONCE).max(1));
    let builder = Heartstream::builder(heartstream_tools::synth::noise()).max_songs(at_once as usize);
    let engine = builder.build().await?;
    let since = Instant::now();
    sing(engine.clone(), 0, Until::All(Arc::new(Barrier::new(1)))).await?;
    let usual = since.elapsed();
    println!("{:<22} {:>6} {:>9} {:>8} {:>6}", "", "songs", "RSS", "threads", "files");
    let steady = part(&engine, "one after the other", songs, 1, usual).await?
        & part(&engine, &format!("{at_once} at once"), songs, at_once, usual * at_once as u32).await?;
    Ok(if steady { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sings `songs` songs, `at_once` of them at a time and as many that wait; the first takes about `usual`. Whether the measures
/// at the end are those of the beginning, and every song came to the end that it should.
async fn part(
    engine: &Heartstream,
    name: &str,
    songs: u64,
    at_once: u64,
    mut usual: Duration,
) -> Result<bool, Box<dyn std::error::Error>> {
    let since = Instant::now();
    // As many again end when they like before the first measure that counts: the heaps of the allocator, which threads
    // share, have their size by then.
    let (warm, songs) = (WARM * at_once, songs.max(3 * WARM * at_once));
    for first in (0..warm).step_by(at_once as usize) {
        let begun = Arc::new(Barrier::new(at_once as usize));
        let batch: JoinSet<_> =
            (first..first + at_once).map(|seed| sing(engine.clone(), seed, Until::All(Arc::clone(&begun)))).collect();
        batch.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    print(name, warm, &Held::now()?);
    let mut held = None;
    let (mut sung, mut running, mut waits) = (Vec::new(), JoinSet::new(), Waits::default());
    let mut waiting = warm..songs;
    let most = if at_once > 1 { 2 * at_once } else { 1 };
    loop {
        while (running.len() as u64) < most
            && let Some(seed) = waiting.next()
        {
            running.spawn(sing(engine.clone(), seed, Until::Random(usual)));
        }
        let Some(song) = running.join_next().await else { break };
        let song = song??;
        waits.add(&song);
        if song.report.outcome == Outcome::Finished {
            usual = Duration::from_secs_f64(song.report.wall.0);
        }
        sung.push(song.report.outcome);
        if sung.len() as u64 == warm {
            let measured = held.insert(Held::now()?);
            print(name, 2 * warm, measured);
        }
    }
    let last = Held::now()?;
    print(name, songs, &last);
    let count = |outcome: &Outcome| sung.iter().filter(|found| *found == outcome).count();
    let ends = [Outcome::Finished, Outcome::Cancelled, Outcome::ReaderLeft].map(|outcome| count(&outcome));
    println!("{name}: {} finished, {} cancelled, {} whose pipe closed; {waits}", ends[0], ends[1], ends[2]);
    let steady = held.is_some_and(|held| last.within(&held))
        && ends.iter().sum::<usize>() as u64 == songs - warm
        && waits.late == 0;
    println!("{name}: {} in {:.0} s", if steady { "steady" } else { "NOT STEADY" }, since.elapsed().as_secs_f64());
    Ok(steady)
}

/// A song that is over.
struct Sung {
    report: SongReport,
    /// How long it was to wait for its turn, if that was forecast, and how long it did.
    wait: (Option<Duration>, Duration),
}

/// What became of forecasts.
#[derive(Default)]
struct Waits {
    /// Songs that waited, with a forecast.
    forecast: u32,
    /// Those that waited longer, by more than the tolerance.
    late: u32,
    /// The most that a song waited of its forecast.
    most: f64,
    /// Sum of that.
    sum: f64,
}

impl Waits {
    fn add(&mut self, Sung { wait: (forecast, waited), .. }: &Sung) {
        let Some(forecast) = forecast.filter(|forecast| !forecast.is_zero()) else { return };
        let part = waited.as_secs_f64() / forecast.as_secs_f64();
        self.forecast += 1;
        self.late += u32::from(part > 1.0 + TOLERANCE);
        (self.most, self.sum) = (self.most.max(part), self.sum + part);
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.sum / f64::from(self.forecast.max(1));
        write!(
            f,
            "{} waited, {mean:.2} of their forecasts on the average, {:.2} at the most; {} longer than forecast",
            self.forecast, self.most, self.late
        )
    }
}

/// One song, of the kind that follows from its seed.
async fn sing(engine: Heartstream, seed: u64, until: Until) -> Result<Sung, String> {
    let failed = |error: EngineError| error.to_string();
    let sink = if seed % 3 == 2 {
        let pipe = if let Until::Random(_) = until { ClosingPipe::of(seed) } else { ClosingPipe::STAYS };
        Sink::Wav(WavTarget::stream("a pipe", pipe, SampleFormat::S16))
    } else {
        Sink::Subscriber
    };
    let since = Instant::now();
    let waiting = engine.queue(request(seed), sink).map_err(failed)?;
    let forecast = waiting.place().starts_in.map(|seconds| Duration::from_secs_f64(seconds.0));
    let mut song = waiting.begin().await.map_err(failed)?;
    let wait = (forecast, since.elapsed());
    until.begun(&song).await;
    let end = match until {
        Until::Random(usual) if seed % 3 == 1 => moment(seed, usual),
        _ => Duration::MAX,
    };
    let whole = async { while song.next_block().await.is_some() {} };
    if tokio::time::timeout(end, whole).await.is_err() {
        song.cancel();
    }
    let report = song.finished().await;
    match &report.outcome {
        Outcome::Failed(error) => Err(error.to_string()),
        Outcome::Finished if report.frames != FRAMES || report.audio != FRAMES.seconds() => {
            Err(format!("song {seed} ended after {} frames and {}", report.frames.0, report.audio))
        }
        _ => Ok(Sung { report, wait }),
    }
}
