//! Metrics: counters of what the server did, as Prometheus reads them.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::live_song::State;

/// Upper bounds of the times to the first sound, in seconds.
const FIRST_SOUND: [f64; 7] = [0.3, 0.6, 1.0, 2.0, 5.0, 10.0, 30.0];

#[derive(Debug, Default)]
struct Counters {
    /// Songs by how they ended, in the order of [`State::ALL`].
    ended: [AtomicU64; State::ALL.len()],
    frames: AtomicU64,
    underruns: AtomicU64,
    first_sounds: AtomicU64,
    first_sound_micros: AtomicU64,
    first_sound_within: [AtomicU64; FIRST_SOUND.len()],
    requests: AtomicU64,
    refused: AtomicU64,
    connections: AtomicU64,
    stalled: AtomicU64,
}

/// The counters of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(Arc<Counters>);

/// A connection that is open.
pub(crate) struct OpenConnection(Metrics);

impl Metrics {
    /// A song ended so.
    pub fn ended(&self, state: State) {
        self.0.ended[state as usize].fetch_add(1, Relaxed);
    }

    /// Counts `frames` written frames.
    pub fn frames(&self, frames: u64) {
        self.0.frames.fetch_add(frames, Relaxed);
    }

    /// A block came later than a listener from the start needed it: an under-run.
    pub fn underrun(&self) {
        self.0.underruns.fetch_add(1, Relaxed);
    }

    /// A song sounded so long after it was ordered.
    pub fn first_sound(&self, time: Duration) {
        self.0.first_sounds.fetch_add(1, Relaxed);
        self.0.first_sound_micros.fetch_add(time.as_micros() as u64, Relaxed);
        let bounds = FIRST_SOUND.iter().zip(&self.0.first_sound_within);
        for (_, count) in bounds.filter(|(bound, _)| time.as_secs_f64() <= **bound) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A request came; it was answered with an error, or was not.
    pub fn answered(&self, refused: bool) {
        self.0.requests.fetch_add(1, Relaxed);
        self.0.refused.fetch_add(u64::from(refused), Relaxed);
    }

    /// A connection is open for as long as the answer is kept.
    pub fn connected(&self) -> OpenConnection {
        self.0.connections.fetch_add(1, Relaxed);
        OpenConnection(self.clone())
    }

    /// A client took nothing for too long and was dropped.
    pub fn stalled(&self) {
        self.0.stalled.fetch_add(1, Relaxed);
    }

    /// All of it as text, with the songs that wait and those that are written, and how many other machines write at once.
    pub fn text(&self, (waiting, writing): (usize, usize), elsewhere: usize) -> String {
        let counters = &*self.0;
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let mut text = String::new();
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "# HELP heartstream_{name} {help}\n# TYPE heartstream_{name} {kind}\nheartstream_{name} {value}"
            );
        };
        one("songs_waiting", "gauge", "Songs in the queue.", waiting as u64);
        one("songs_writing", "gauge", "Songs that are written.", writing as u64);
        one("places_elsewhere", "gauge", "Songs that other machines write at once.", elsewhere as u64);
        one("frames_total", "counter", "Frames that were written, 80 ms each.", get(&counters.frames));
        one(
            "underruns_total",
            "counter",
            "Blocks that came later than a listener needed them.",
            get(&counters.underruns),
        );
        one("requests_total", "counter", "Requests.", get(&counters.requests));
        one("requests_refused_total", "counter", "Requests that were answered with an error.", get(&counters.refused));
        one("connections", "gauge", "Connections that are open.", get(&counters.connections));
        one("stalled_total", "counter", "Connections dropped because nothing was taken.", get(&counters.stalled));
        let _ = writeln!(
            text,
            "# HELP heartstream_songs_total Songs by how they ended.\n# TYPE heartstream_songs_total counter"
        );
        for (state, count) in State::ALL.iter().zip(&counters.ended).filter(|(state, _)| state.is_over()) {
            let _ = writeln!(text, "heartstream_songs_total{{outcome=\"{}\"}} {}", state.name(), get(count));
        }
        let name = "heartstream_first_sound_seconds";
        let _ = writeln!(text, "# HELP {name} From the order to the first sound.\n# TYPE {name} histogram");
        for (bound, count) in FIRST_SOUND.iter().zip(&counters.first_sound_within) {
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {}", get(count));
        }
        let (count, sum) = (get(&counters.first_sounds), get(&counters.first_sound_micros) as f64 / 1e6);
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
        text
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_in_the_text_and_buckets_add_up() {
        let metrics = Metrics::default();
        metrics.ended(State::Finished);
        metrics.first_sound(Duration::from_millis(500));
        metrics.first_sound(Duration::from_secs(60));
        let _open = metrics.connected();
        let text = metrics.text((3, 1), 2);
        for line in [
            "heartstream_songs_waiting 3",
            "heartstream_places_elsewhere 2",
            "heartstream_connections 1",
            "heartstream_songs_total{outcome=\"finished\"} 1",
            "heartstream_first_sound_seconds_bucket{le=\"0.3\"} 0",
            "heartstream_first_sound_seconds_bucket{le=\"0.6\"} 1",
            "heartstream_first_sound_seconds_bucket{le=\"30\"} 1",
            "heartstream_first_sound_seconds_bucket{le=\"+Inf\"} 2",
            "heartstream_first_sound_seconds_sum 60.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
