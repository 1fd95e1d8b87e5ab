//! Shows: a song played on the loudspeakers while it is still being written.
//!
//! Run with: `cargo run --release --example play_live`

use std::time::Duration;

use heartstream::{Heartstream, Sink, SongRequest, Speaker, units::Seconds};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let speaker = match Speaker::default_device() {
        Ok(speaker) => speaker,
        Err(error) => {
            println!("{error}: nothing to play on");
            return Ok(());
        }
    };
    let engine = Heartstream::builder().build().await?;
    let mut request = SongRequest::new("piano,calm", "[Verse]\nA kettle hums, the window clears");
    request.max_frames = Seconds(10.0).frames();

    let song = engine.sing_to(request, vec![Sink::Speaker(speaker)]).await?;
    while song.progress().first_audio.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("playing, {:.1} s after the request", song.progress().elapsed.0);
    let report = song.finished().await;
    println!("{:?}: {} played", report.outcome, report.audio);
    Ok(())
}
