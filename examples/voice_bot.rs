//! Shows: a bot in a voice channel, which takes frames of 20 ms at 48 kHz and can be paused and skipped.
//!
//! Run with: `cargo run --release --example voice_bot`

use std::{collections::VecDeque, time::Duration};

use heartstream::{EngineError, Heartstream, SongBlocks, SongControl, SongRequest};

/// 20 ms at 48 kHz, interleaved: what voice channels take at a time.
pub const FRAME: usize = 2 * 960;

/// A song on its way into a voice channel.
pub struct Track {
    blocks: SongBlocks,
    waiting: VecDeque<f32>,
}

impl Track {
    /// Begins a song. The control pauses it, and skips it by cancelling.
    pub async fn begin(engine: &Heartstream, request: SongRequest) -> Result<(Self, SongControl), EngineError> {
        let (blocks, control) = engine.sing(request).await?.split();
        Ok((Self { blocks, waiting: VecDeque::new() }, control))
    }

    /// The next frame, the last one filled up with silence; `None` when the song is over.
    pub async fn frame(&mut self) -> Option<[f32; FRAME]> {
        while self.waiting.len() < FRAME {
            match self.blocks.next_block().await {
                Some(block) => self.waiting.extend(&block.samples),
                None if self.waiting.is_empty() => return None,
                None => self.waiting.resize(FRAME, 0.0),
            }
        }
        let mut frame = [0.0; FRAME];
        frame.iter_mut().zip(self.waiting.drain(..FRAME)).for_each(|(to, from)| *to = from);
        Some(frame)
    }
}

#[allow(dead_code)] // a test has the rest of this file without it
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Heartstream::builder(heartstream_demo::checkpoint()).build().await?;
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for tags in ["piano,calm", "strings,bright"] {
        let (mut track, control) = Track::begin(&engine, SongRequest::new(tags, "[Verse]\nThe window clears")).await?;
        let listener = control.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(8)).await;
            listener.cancel(); // "skip!"
        });
        let mut frames = 0;
        while let Some(_frame) = track.frame().await {
            clock.tick().await; // here the frame would be encoded and sent
            frames += 1;
        }
        println!("song {}: {frames} frames of 20 ms", control.id());
    }
    Ok(())
}
