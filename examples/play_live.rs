//! Shows: a song played on the loudspeakers while it is still being written.
//!
//! Run with: `cargo run --release --example play_live`

use heartstream::{Heartstream, Sink, SongRequest, speaker::Speaker, units::Seconds};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let speaker = match Speaker::default_device() {
        Ok(speaker) => speaker,
        Err(error) => {
            println!("{error}: nothing to play on");
            return Ok(());
        }
    };
    let engine = Heartstream::builder(heartstream_demo::checkpoint()).build().await?;
    let mut request = SongRequest::new("piano,calm", "[Verse]\nA kettle hums, the window clears");
    request.max_frames = Seconds(10.0).frames();

    let song = engine.sing_to(request, vec![Sink::Speaker(speaker)]).await?;
    let mut progress = song.progress();
    let playing = progress.wait_for(|progress| progress.first_audio.is_some() || progress.ended).await?.first_audio;
    println!("playing, {} after the request", playing.unwrap_or_default());
    let report = song.finished().await;
    println!("{:?}: {} played", report.outcome, report.audio);
    Ok(())
}
