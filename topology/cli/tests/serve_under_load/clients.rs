//! Clients of every kind, each for as long as the load lasts.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::served::support::Client;

pub const TAGS: &str = "piano,calm";
pub const LYRICS: &str = "[Verse]\nThe window clears\nThe street below is lined with rain";
/// Seeds of the songs that are ordered.
pub const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// What clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Songs that were finished and the same as `render` writes.
    pub finished: AtomicU64,
    /// Streams that were the same as their file.
    pub heard: AtomicU64,
    pub left: AtomicU64,
    pub odd: AtomicU64,
}

/// What all clients share.
pub struct Crowd {
    pub client: Client,
    /// The file of each seed.
    pub songs: HashMap<u64, Vec<u8>>,
    pub song_seconds: u64,
    pub until: Instant,
    pub seen: Seen,
}

/// Numbers that look random, another sequence for each client.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX; its upper bits are good.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

impl Crowd {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Waits a while before the next request.
    fn rests(&self, milliseconds: u64) {
        thread::sleep(Duration::from_millis(milliseconds).min(self.until.saturating_duration_since(Instant::now())));
    }

    /// Orders a song, if there is a place in the queue.
    fn ordered(&self, seed: u64) -> Option<String> {
        let order = json!({ "tags": TAGS, "lyrics": LYRICS, "seed": seed, "seconds": self.song_seconds });
        let answer = self.client.post("/v1/songs", &order);
        match answer.status {
            201 => Some(answer.json()["id"].as_str().expect("an id").to_owned()),
            429 => None,
            other => panic!("an order is answered with {other}: {}", answer.text()),
        }
    }

    /// A song that there is.
    fn some_song(&self, numbers: &mut Numbers) -> Option<String> {
        let offset = numbers.below(8);
        let found = self.client.get(&format!("/v1/songs?limit=1&offset={offset}")).json();
        found["songs"][0]["id"].as_str().map(str::to_owned)
    }

    /// Listens to a song while it is written, and compares it with its file and with what `render` wrote.
    pub fn listens(&self, own: u64) {
        let mut numbers = Numbers(own);
        while self.goes_on() {
            let seed = SEEDS[numbers.below(SEEDS.len() as u64) as usize];
            let Some(id) = self.ordered(seed) else {
                self.rests(200);
                continue;
            };
            let mut heard = Vec::new();
            self.client.open(&format!("/v1/songs/{id}/audio")).read_to_end(&mut heard).expect("a song to its end");
            let song: Value = self.client.song(&id);
            assert_eq!(song["state"], "finished", "{song}");
            let file = self.client.audio(&id);
            let expected = &self.songs[&seed];
            assert!(
                file == *expected,
                "the song of seed {seed} has {} bytes instead of {}",
                file.len(),
                expected.len()
            );
            self.seen.finished.fetch_add(1, Relaxed);
            let samples = file.windows(4).position(|window| window == b"data").expect("samples") + 8;
            assert!(heard.len() == file.len() && heard[samples..] == file[samples..], "the stream is another song");
            self.seen.heard.fetch_add(1, Relaxed);
        }
    }

    /// Reads 3 kB a second: a song takes longer than the load lasts.
    pub fn reads_slowly(&self, own: u64) {
        let mut numbers = Numbers(own);
        while self.goes_on() {
            let Some(id) = self.some_song(&mut numbers) else {
                self.rests(100);
                continue;
            };
            let request = format!("GET /v1/songs/{id}/audio HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let mut stream = self.client.raw(&request);
            let mut piece = [0; 300];
            while self.goes_on() && stream.read(&mut piece).is_ok_and(|bytes| bytes > 0) {
                self.rests(100);
            }
        }
    }

    /// Asks for something and leaves, sooner or later.
    pub fn leaves(&self, own: u64) {
        let mut numbers = Numbers(own);
        while self.goes_on() {
            let path = match (self.some_song(&mut numbers), numbers.below(3)) {
                (Some(id), 0) => format!("/v1/songs/{id}/audio"),
                (Some(id), 1) => format!("/v1/songs/{id}/events"),
                _ => "/v1/songs".to_owned(),
            };
            let mut stream = self.client.raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            let mut bytes = vec![0; numbers.below(20_000) as usize];
            let _ = stream.set_read_timeout(Some(Duration::from_millis(1 + numbers.below(50))));
            let _ = stream.read_exact(&mut bytes); // they may not all come in time
            self.seen.left.fetch_add(1, Relaxed);
            self.rests(numbers.below(50));
        }
    }

    /// A header a second and never the empty line (slowloris).
    pub fn never_ends_a_head(&self, _: u64) {
        while self.goes_on() {
            let mut stream = self.client.raw("GET / HTTP/1.1\r\nHost: localhost\r\n");
            while self.goes_on() && stream.write_all(b"X-More: 1\r\n").is_ok() {
                self.rests(1000);
            }
        }
    }

    /// Sends what no client should. An answer is an error of the client, and the next request is answered as any.
    pub fn sends_anything(&self, own: u64) {
        let mut numbers = Numbers(own);
        let posts = [
            ("/v1/songs", "{"),
            ("/v1/songs", r#"{"lyrics":"","seconds":-1}"#),
            ("/v1/songs", r#"{"lyrics":"la","seconds":1e308,"takes":18446744073709551615}"#),
            ("/v1/songs", r#"{"lyrics":["la"]}"#),
            ("/v1/audio/speech", r#"{"input":7}"#),
            ("/v1/check", "\0\0\0"),
        ];
        let gets = [
            "/v1/songs/../../../etc/passwd/audio",
            "/v1/songs/%2e%2e%2f%2e%2e/audio",
            "/v1/songs?limit=99999999999999999999",
            "/v1/songs/aaaaaaaaaaaaaaaa/events",
            "/nothing",
        ];
        while self.goes_on() {
            match numbers.below(4) {
                0 => {
                    let (path, body) = posts[numbers.below(posts.len() as u64) as usize];
                    let answer = self.client.post_text(path, body);
                    assert!((400..500).contains(&answer.status), "{path} {body}: {}", answer.status);
                }
                1 => {
                    let path = gets[numbers.below(gets.len() as u64) as usize];
                    let status = self.client.get(path).status;
                    assert!((400..500).contains(&status), "{path}: {status}");
                }
                2 => {
                    let noise: Vec<u8> = (0..numbers.below(4000)).map(|_| numbers.below(256) as u8).collect();
                    send(&self.client, &noise);
                }
                _ => {
                    let long = format!(
                        "POST /v1/songs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n{}",
                        "X-Long: y\r\n".repeat(3000)
                    );
                    send(&self.client, long.as_bytes());
                }
            }
            self.seen.odd.fetch_add(1, Relaxed);
            self.rests(numbers.below(100));
        }
    }
}

/// Sends bytes, and reads what comes of them, if anything does.
fn send(client: &Client, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(client.address) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    if stream.write_all(bytes).is_ok() {
        let _ = stream.read(&mut [0; 1000]);
    }
}
