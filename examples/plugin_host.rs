//! Shows: a plugin that plays a song at the rate of its host, in a buffer for each channel, without a runtime of its own.
//!
//! Run with: `cargo run --release --example plugin_host`

use heartstream::{
    EngineError, SongRequest,
    blocking::{Engine, Song},
    speaker::{DeviceNews, OpenStream, OutputDevice, Playback, Speaker, SpeakerError, StartPolicy},
};

/// The host as a loudspeaker: the song is brought to its rate.
struct Host(u32, std::sync::mpsc::Sender<Playback>);

impl OutputDevice for Host {
    fn name(&self) -> String {
        "the host".to_owned()
    }

    fn connect(&mut self) -> Result<u32, SpeakerError> {
        Ok(self.0)
    }

    fn open(&mut self, playback: Playback, _: DeviceNews) -> Result<OpenStream, SpeakerError> {
        self.1.send(playback).map_err(|_| SpeakerError::NoDevice)?;
        Ok(Box::new(()))
    }
}

pub struct Plugin(std::sync::mpsc::Receiver<Playback>, Option<Playback>);

impl Plugin {
    /// Begins a song for a host of `rate` Hz.
    pub fn begin(engine: &Engine, request: SongRequest, rate: u32) -> Result<(Self, Song), EngineError> {
        let (hand_over, playback) = std::sync::mpsc::channel();
        let speaker = Speaker::on(Host(rate, hand_over)).start(StartPolicy::Now);
        Ok((Self(playback, None), engine.sing_to(request, heartstream::Sink::Speaker(speaker))?))
    }

    /// The host's callback: silence before the first sound and after the last one.
    pub fn process(&mut self, channels: &mut [Vec<f32>]) {
        self.1 = self.1.take().or_else(|| self.0.try_recv().ok());
        match &mut self.1 {
            Some(playback) => playback.fill_planar(channels),
            None => channels.iter_mut().for_each(|channel| channel.fill(0.0)),
        }
    }
}

#[allow(dead_code)] // a test has the rest of this file without it
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::build(heartstream::Heartstream::builder(heartstream_demo::checkpoint()))?;
    let (mut plugin, song) = Plugin::begin(&engine, SongRequest::new("piano,calm", "[Verse]\nThe sun"), 44_100)?;
    let mut channels = vec![vec![0f32; 512]; 2];
    while !song.control().snapshot().ended {
        plugin.process(&mut channels);
        std::thread::sleep(std::time::Duration::from_millis(11)); // 512 samples at 44.1 kHz
    }
    println!("{}", song.finished().audio);
    Ok(())
}
