//! A server of the test's own, on a port that the system chooses, and a client for it.
#![allow(dead_code)] // each test file uses its part of this

pub mod browser;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Deref,
    path::Path,
    thread,
};

use heartstream::{Checkpoint, Heartstream};
use heartstream_serve::{ServeOptions, Server, known_tags};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::oneshot};

/// A client of the server at an address.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub address: SocketAddr,
}

/// A server that runs until it is dropped.
pub struct Running {
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A small model of noise, loaded once for a test file.
pub fn engine() -> Heartstream {
    static ENGINE: std::sync::OnceLock<Heartstream> = std::sync::OnceLock::new();
    ENGINE.get_or_init(|| built(heartstream_tools::synth::noise())).clone()
}

/// An engine with the model `checkpoint`.
pub fn built(checkpoint: Checkpoint) -> Heartstream {
    runtime().block_on(Heartstream::builder(checkpoint).build()).expect("an engine")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

impl Running {
    /// A server with the usual options, changed by `change`.
    pub fn start(library: &Path, change: impl FnOnce(&mut ServeOptions)) -> Self {
        Self::with(engine(), library, change)
    }

    /// The same with another engine.
    pub fn with(engine: Heartstream, library: &Path, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let mut options = ServeOptions::new("127.0.0.1:0".parse().expect("an address"), library.to_owned());
        options.limits.seconds = 600.0;
        options.tags = known_tags(&heartstream_demo::checkpoint());
        change(&mut options);
        let (stop, stopped) = oneshot::channel::<()>();
        let (listens, address) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            runtime().block_on(async move {
                let server = Server::bind(engine, options).await.expect("a server");
                listens.send(server.address()).expect("the test waits");
                server.run(async { drop(stopped.await) }).await.expect("it ends well");
            });
        });
        let address = address.recv().expect("a server that listens");
        Self { client: Client { address }, stop: Some(stop), thread: Some(thread) }
    }

    /// Ends the server and waits for it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server panicked");
        }
    }
}

impl Deref for Running {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Client {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Orders a song of noise that takes `seconds`, with `more` besides.
    pub fn order(&self, seconds: f64, more: Value) -> Value {
        let mut order =
            json!({ "tags": "calm", "lyrics": "[Verse]\nla la", "seed": 7, "seconds": seconds, "first_window": 8 });
        for (name, value) in more.as_object().expect("fields") {
            order[name] = value.clone();
        }
        let answer = self.post("/v1/songs", &order);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    /// Posts what need not be JSON.
    pub fn post_text(&self, path: &str, body: &str) -> Answer {
        let request = client().post(self.url(path)).header("Content-Type", "application/json");
        Answer::of(request.send(body).expect("an answer"))
    }

    pub fn get(&self, path: &str) -> Answer {
        Answer::of(client().get(self.url(path)).call().expect("an answer"))
    }

    /// The body of an answer, to be read as it comes.
    pub fn open(&self, path: &str) -> impl Read + use<> {
        client().get(self.url(path)).call().expect("an answer").into_body().into_reader()
    }

    pub fn get_with(&self, path: &str, name: &str, value: &str) -> Answer {
        Answer::of(client().get(self.url(path)).header(name, value).call().expect("an answer"))
    }

    pub fn head(&self, path: &str) -> Answer {
        Answer::of(client().head(self.url(path)).call().expect("an answer"))
    }

    pub fn delete(&self, path: &str) -> Answer {
        Answer::of(client().delete(self.url(path)).call().expect("an answer"))
    }

    /// The events of a song, one after the other: names and data.
    pub fn events(&self, id: &str) -> impl Iterator<Item = (String, Value)> + use<> {
        self.events_at(&format!("/v1/songs/{id}/events"))
    }

    /// The same of all songs; they have no end.
    pub fn all_events(&self) -> impl Iterator<Item = (String, Value)> + use<> {
        self.events_at("/v1/events")
    }

    fn events_at(&self, path: &str) -> impl Iterator<Item = (String, Value)> + use<> {
        let mut lines = BufReader::new(self.open(path)).lines();
        let mut name = String::new();
        std::iter::from_fn(move || {
            loop {
                let line = lines.next()?.expect("a line");
                if let Some(event) = line.strip_prefix("event: ") {
                    name = event.to_owned();
                } else if let Some(data) = line.strip_prefix("data: ") {
                    return Some((std::mem::take(&mut name), serde_json::from_str(data).expect("JSON")));
                }
            }
        })
    }

    /// Waits for an event of a song and returns what it says.
    pub fn wait_for(&self, id: &str, event: &str) -> Value {
        let found = self.events(id).find(|(name, _)| name == event);
        found.unwrap_or_else(|| panic!("the song ended without {event}")).1
    }

    /// Waits until something of a song can be heard.
    pub fn wait_for_sound(&self, id: &str) {
        let sounds = |data: &Value| ["seconds", "buffered"].iter().any(|name| data[name].as_f64() > Some(0.0));
        assert!(self.events(id).any(|(_, data)| sounds(&data)), "the song ended without a sound");
    }

    /// What the song is now.
    pub fn song(&self, id: &str) -> Value {
        self.get(&format!("/v1/songs/{id}")).json()
    }

    /// All of a song's audio: as it is written, or the file.
    pub fn audio(&self, id: &str) -> Vec<u8> {
        self.get(&format!("/v1/songs/{id}/audio")).body
    }

    /// The file of a song, once all of it is there.
    pub fn audio_when_done(&self, id: &str) -> Vec<u8> {
        self.wait_for(id, "done");
        self.audio(id)
    }

    /// A connection on which `request` was sent, byte for byte.
    pub fn raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.write_all(request.as_bytes()).expect("it is taken");
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// An answer, all of it.
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    fn of(response: ureq::http::Response<ureq::Body>) -> Self {
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_reader().read_to_end(&mut bytes).expect("a whole body");
        Self { status: parts.status.as_u16(), headers: parts.headers, body: bytes }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

fn client() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}
