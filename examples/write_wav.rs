//! Shows: a song written to a file that can be played while it grows.
//!
//! Run with: `cargo run --release --example write_wav`

use heartstream::{
    Heartstream, Sink, SongRequest,
    units::Seconds,
    wav::{SampleFormat, WavTarget},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Heartstream::builder(heartstream_demo::checkpoint()).build().await?;
    let mut request =
        SongRequest::new("piano,calm", "[Verse]\nA kettle hums, the window clears\n\n[Outro]\nLet it ring");
    request.seed = 7;
    request.max_frames = Seconds(20.0).frames();

    let path = std::env::temp_dir().join("heartstream-example.wav");
    let song = engine.sing_to(request, vec![Sink::Wav(WavTarget::file(&path, SampleFormat::F32)?)]).await?;
    let report = song.finished().await;
    println!("{:?}: {} of music in {}, {}", report.outcome, report.audio, report.wall, path.display());
    Ok(())
}
