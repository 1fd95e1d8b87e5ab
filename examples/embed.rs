//! Shows: the engine inside another tokio program, which takes the music block by block and stops when it has enough.
//!
//! Run with: `cargo run --release --example embed`

use heartstream::{Heartstream, SongRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Loaded once; songs share the weights.
    let engine = Heartstream::builder(heartstream_demo::checkpoint()).build().await?;
    let mut request = SongRequest::new("strings,bright", "[Verse]\nThe radio is turned down low");
    request.seed = 11;

    let mut song = engine.sing(request).await?;
    let mut loudest = 0f32;
    while let Some(block) = song.next_block().await {
        loudest = block.samples.iter().fold(loudest, |loudest, sample| loudest.max(sample.abs()));
        if block.end().seconds().0 > 5.0 {
            song.cancel(); // the language model ends within a frame
            break;
        }
    }
    let report = song.finished().await;
    println!("{:?} after {} frames, {}; loudest sample {loudest:.2}", report.outcome, report.frames.0, report.audio);
    for stage in report.stages {
        println!("{:<16} busy {:>8}, waiting {:>8}, {} items", stage.stage.name(), stage.busy, stage.wait, stage.items);
    }
    Ok(())
}
