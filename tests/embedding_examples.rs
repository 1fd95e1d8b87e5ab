//! Promise: the examples of embedding do what they show. A bot has every sample of a song in frames of 20 ms, pauses and
//! skips; a song whose client leaves is cancelled, heard or not; a plugin has the song at the rate of its host.

#[path = "../examples/axum_wav.rs"]
mod axum_wav;
#[path = "../examples/http_stream.rs"]
#[allow(dead_code)] // its own main
mod http_stream;
#[path = "../examples/plugin_host.rs"]
mod plugin_host;
mod support;
#[path = "../examples/voice_bot.rs"]
mod voice_bot;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use heartstream::{Checkpoint, Heartstream, Outcome, blocking::Engine, wav::SampleFormat};
use support::{assert_same, engine, folder, request, sung, tiny_model, until, wav};
use voice_bot::{FRAME, Track};

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_has_every_sample_in_frames_of_20_ms_and_the_last_one_is_filled_up() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let (whole, _) = sung(&engine, request(40, 3)).await;
    let (mut track, _) = Track::begin(&engine, request(40, 3)).await.expect("a song");
    let mut frames = Vec::new();
    while let Some(frame) = track.frame().await {
        frames.extend(frame);
    }
    assert_eq!(frames.len(), whole.len().next_multiple_of(FRAME));
    assert!(frames[whole.len()..].iter().all(|sample| *sample == 0.0));
    assert_same("the frames", &frames[..whole.len()], &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_pauses_a_song_and_skips_it() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let (mut track, control) = Track::begin(&engine, request(3000, 3)).await.expect("a song");
    assert!(track.frame().await.is_some());
    control.pause();
    assert!(control.is_paused() && control.snapshot().paused);
    control.resume();
    assert!(track.frame().await.is_some(), "a song goes on after a pause");
    control.cancel();
    let mut left = 0;
    while track.frame().await.is_some() {
        left += 1;
    }
    assert!(left * FRAME < 3000 * support::FRAME / 2, "a song that is skipped is not played to its end: {left} frames");
    until("the threads of a skipped song are back", || engine.lent_threads() == 0).await;
}

/// A service on a port that the system chooses.
async fn served(service: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// A service of one song.
fn service(engine: &Heartstream) -> axum::Router {
    let engine = engine.clone();
    let song = axum::routing::get(move || async move { axum_wav::answer(&engine, request(3000, 1)).await });
    axum::Router::new().route("/", song)
}

/// A client that has asked for a song and read `bytes` of the answer.
fn client(address: SocketAddr, bytes: usize) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("a connection");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
    let mut answer = vec![0; bytes];
    client.read_exact(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_whose_client_leaves_is_cancelled_before_its_first_sound_and_after() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let address = served(service(&engine)).await;
    // The status line alone, which comes with the header of the WAV; and some of the sound.
    for bytes in [12, 100_000] {
        let client = tokio::task::spawn_blocking(move || client(address, bytes)).await.expect("a client");
        assert!(engine.lent_threads() > 0, "the song is being made");
        drop(client);
        until("the threads of the song are back", || engine.lent_threads() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_makes_no_song_and_a_get_makes_one() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let address = served(http_stream::service(engine.clone())).await;
    let head = tokio::task::spawn_blocking(move || {
        let mut client = TcpStream::connect(address).expect("a connection");
        client.write_all(b"HEAD /?seconds=200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let head = head.await.expect("a client");
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    // A song has its threads before its answer begins.
    assert_eq!(engine.lent_threads(), 0);
    // A GET of the same address has a song: `client` demands it.
    drop(tokio::task::spawn_blocking(move || client(address, 12)).await.expect("a client"));
    until("the threads of the song are back", || engine.lent_threads() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_a_song_are_those_of_its_wav() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    for format in SampleFormat::ALL {
        let (mut bytes, sent) = (Vec::new(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
        let mut stream = engine.sing(request(30, 5)).await.expect("a song").into_wav(format);
        while let Some(piece) = next(&mut stream).await {
            bytes.extend(piece.expect("no failure"));
        }
        assert_eq!(stream.finished().await.outcome, Outcome::Finished);
        let target = heartstream::wav::WavTarget::stream("a test", Shared(sent.clone()), format);
        let song = engine.sing_to(request(30, 5), heartstream::Sink::Wav(target)).await.expect("a song");
        song.finished().await;
        assert!(bytes == *sent.lock().expect("bytes"), "{format:?}");
    }
}

async fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| std::pin::Pin::new(&mut *stream).poll_next(context)).await
}

struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().map_err(|_| std::io::ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_plugin_has_the_song_at_the_rate_of_its_host() {
    let model = tiny_model();
    let checkpoint = Checkpoint::open(model.path()).expect("a model");
    let engine = Engine::build(Heartstream::builder(checkpoint)).expect("an engine");
    let (mut plugin, song) = plugin_host::Plugin::begin(&engine, request(40, 3), 44_100).expect("a song");
    let mut channels = vec![vec![0f32; 512]; 2];
    let mut heard = Vec::new();
    while !song.control().snapshot().ended {
        plugin.process(&mut channels);
        heard.extend_from_slice(&channels[0]);
        std::thread::yield_now();
    }
    let report = song.finished();
    assert_eq!(report.outcome, Outcome::Finished);
    let silent = heard.iter().filter(|sample| **sample == 0.0).count();
    let expected = (40 * support::FRAME / 2) as f64 * 44_100.0 / 48_000.0;
    let sounding = (heard.len() - silent) as f64;
    assert!((sounding / expected - 1.0).abs() < 0.01, "{sounding} samples, {expected} expected");
}

#[test]
fn a_song_without_a_runtime_is_the_same_song() {
    let (model, place) = (tiny_model(), folder());
    let checkpoint = Checkpoint::open(model.path()).expect("a model");
    let engine = Engine::build(Heartstream::builder(checkpoint)).expect("an engine");
    let blocks: Vec<f32> =
        engine.sing(request(30, 5)).expect("a song").flat_map(|block| block.samples.clone()).collect();
    let mut bytes = Vec::new();
    let song = engine.sing(request(30, 5)).expect("a song").into_wav(SampleFormat::F32);
    { song }.read_to_end(&mut bytes).expect("a WAV");
    let samples = bytes[bytes.len() - 4 * blocks.len()..].chunks_exact(4);
    let read: Vec<f32> = samples.map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect();
    assert_same("as bytes", &read, &blocks);
    let path = place.path().join("song.wav");
    let written = engine.sing_to(request(30, 5), heartstream::Sink::Wav(wav(&path))).expect("a song").finished();
    assert_eq!(written.outcome, Outcome::Finished);
    assert_same("as a file", &support::samples(&path), &blocks);
}
