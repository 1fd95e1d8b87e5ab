//! Shows: the least that a program needs which brings its own model; no feature of the library is on.
//!
//! Run with: `cargo run --release -p heartstream --example hello -- MODEL_DIRECTORY`

use heartstream::{Checkpoint, Heartstream, SongRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("give the directory of a model")?;
    let engine = Heartstream::builder(Checkpoint::open(directory)?).build().await?;
    let mut song = engine.sing(SongRequest::new("piano,calm", "[Verse]\nHello, world")).await?;
    while let Some(block) = song.next_block().await {
        println!("up to {}", block.end().seconds());
    }
    println!("{:?}", song.finished().await.outcome);
    Ok(())
}
