//! Shows: an engine that sings song after song holds no more memory, threads and files at the end than after ten songs.
//!
//! Run with: `make soak`, or `SONGS=1000 make soak`. Of the songs a third is read to its end, a third is cancelled at a random
//! moment, and a third goes to a pipe that closes. First one after the other, then eight at once.

mod held;
mod songs;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use heartstream::{
    Heartstream, Outcome, Sink,
    wav::{SampleFormat, WavTarget},
};
use held::{Held, print};
use songs::{ClosingPipe, USUAL_SONGS, Until, WARM, moment, number, request};
use tokio::sync::Barrier;

/// Songs at once in the second part.
const AT_ONCE: u64 = 8;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let songs = number("SONGS", USUAL_SONGS);
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
            print(name, sung, first.insert(Held::now()?));
        }
    }
    let (first, last) = (first.unwrap_or(Held::now()?), Held::now()?);
    print(name, sung, &last);
    let steady = last.within(&first);
    println!("{name}: {} in {:.0} s", if steady { "steady" } else { "NOT STEADY" }, since.elapsed().as_secs_f64());
    Ok(steady)
}

/// One song, of the kind that follows from its seed.
async fn sing(engine: Heartstream, seed: u64, until: Until) -> Result<(), String> {
    let failed = |error: heartstream::EngineError| error.to_string();
    let outcome = match seed % 3 {
        0 => {
            let mut song = engine.sing(request(seed)).await.map_err(failed)?;
            until.begun(&song).await;
            while song.next_block().await.is_some() {}
            song.finished().await.outcome
        }
        1 => {
            let mut song = engine.sing(request(seed)).await.map_err(failed)?;
            until.begun(&song).await;
            let whole = async { while song.next_block().await.is_some() {} };
            let end = match until {
                Until::Random(usual) => moment(seed, usual),
                Until::All(_) => Duration::MAX,
            };
            if tokio::time::timeout(end, whole).await.is_err() {
                song.cancel();
            }
            song.finished().await.outcome
        }
        _ => {
            let pipe = if let Until::Random(_) = until { ClosingPipe::of(seed) } else { ClosingPipe::STAYS };
            let target = WavTarget::stream("a pipe", pipe, SampleFormat::S16);
            let song = engine.sing_to(request(seed), Sink::Wav(target)).await.map_err(failed)?;
            until.begun(&song).await;
            song.finished().await.outcome
        }
    };
    match outcome {
        Outcome::Failed(error) => Err(error.to_string()),
        _ => Ok(()),
    }
}
