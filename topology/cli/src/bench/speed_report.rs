//! Report of the speed bench: a table for people, JSON for programs.

use std::fmt::Write;

use heartstream::{
    memory::MemorySize,
    report::Milestones,
    units::{Frames, Seconds},
};
use heartstream_models::kernels::cpu::Limits;
use serde_json::{Value, json};

use super::scaling::{self, Fewer};

/// What a stage has to do, and so which limit it runs into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Work {
    /// Bytes of weights that must be read: so few rows share them that reading is what takes the time.
    Bytes(u64),
    /// Floating-point operations, two for each multiplication with its addition.
    Flop(u64),
}

/// One measured stage.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What was measured.
    pub stage: String,
    /// The best time of one pass.
    pub time: Seconds,
    /// What one pass does.
    pub work: Work,
    /// Music that one pass makes, or takes part in making.
    pub audio: Option<Seconds>,
}

/// A song from words to sound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub audio: Seconds,
    pub wall: Seconds,
    pub first_audio: Seconds,
    /// What that is made of.
    pub milestones: Milestones,
    /// Frames of the first window.
    pub first_window: Frames,
    /// When the first sound was to be there, if it was said.
    pub deadline: Option<Seconds>,
}

/// Everything that one run found.
#[derive(Debug, Clone)]
pub(super) struct SpeedReport {
    pub model: String,
    /// What it was measured on.
    pub machine: String,
    pub limits: Limits,
    /// Threads that the rows were measured with.
    pub threads: usize,
    pub rows: Vec<Row>,
    /// The same stages with other numbers of threads.
    pub fewer: Vec<Fewer>,
    /// How many times the segments of one flow worker on one core two make on two.
    pub worker_gain: Option<f64>,
    pub whole: Option<Whole>,
    /// Keys and values of the long song that was there while sound was made.
    pub kv_bytes: Option<u64>,
    pub peak_memory: Option<u64>,
    /// The most bytes of GPU memory that the model and the song took, without CUDA's own context; `None` without a song.
    pub gpu_memory: Option<u64>,
    /// Estimated peak memory of the pipeline in the machine's memory, with a song of this length.
    pub estimated: u64,
    /// The same in the GPU's, without CUDA's own context.
    pub gpu_estimated: Option<u64>,
}

impl Row {
    /// Work done in a second: GB or GFLOP.
    fn rate(&self) -> f64 {
        let (Work::Bytes(work) | Work::Flop(work)) = self.work;
        work as f64 / self.time.0 / 1e9
    }

    /// The part of what the machine can do in that time.
    pub(super) fn share(&self, limits: &Limits) -> f64 {
        let limit = match self.work {
            Work::Bytes(_) => limits.read_bytes,
            Work::Flop(_) => limits.flop,
        };
        self.rate() * 1e9 / limit
    }

    fn real_time_factor(&self) -> Option<f64> {
        self.audio.map(|audio| self.time.0 / audio.0)
    }
}

impl SpeedReport {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "model": self.model,
            "machine": self.machine,
            "limits": limits_json(&self.limits),
            "threads": self.threads,
            "rows": rows_json(&self.rows, &self.limits),
            "other_threads": self.fewer.iter().map(Fewer::json).collect::<Vec<_>>(),
            "two_workers_gain": self.worker_gain,
            "first_audio_s": self.whole.map(|whole| whole.first_audio.0),
            "first_audio_parts_s": self.whole.map(|whole| {
                parts(whole.milestones, whole.first_audio).into_iter().map(|(name, time)| (name.to_owned(), json!(time)))
                    .collect::<serde_json::Map<_, _>>()
            }),
            "first_audio_asked_for_s": self.whole.and_then(|whole| whole.deadline).map(|deadline| deadline.0),
            "first_window": self.whole.map(|whole| whole.first_window.0),
            "rtf": self.whole.map(|whole| whole.wall.0 / whole.audio.0),
            "kv_bytes": self.kv_bytes,
            "peak_rss_bytes": self.peak_memory,
            "gpu_memory_bytes": self.gpu_memory,
            "estimated_bytes": self.estimated,
            "gpu_estimated_bytes": self.gpu_estimated,
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let Limits { read_bytes, flop } = self.limits;
        let mut text = format!("model {} on {}\n", self.model, self.machine);
        let _ = writeln!(text, "limits: reads {:.1} GB/s, multiplies {:.0} GFLOP/s\n", read_bytes / 1e9, flop / 1e9);
        let _ =
            writeln!(text, "{:<28}{:>11}{:>14}{:>16}{:>10}{:>9}", "stage", "time", "work", "rate", "of limit", "RTF");
        for row in &self.rows {
            let (work, unit) = match row.work {
                Work::Bytes(bytes) => (scaled(bytes, "B"), "GB/s"),
                Work::Flop(flop) => (scaled(flop, "FLOP"), "GFLOP/s"),
            };
            let rtf = row.real_time_factor().map_or("-".to_owned(), |rtf| format!("{rtf:.3}"));
            let _ = writeln!(
                text,
                "{:<28}{:>8.1} ms{work:>14}{:>16}{:>8.0} %{rtf:>9}",
                row.stage,
                row.time.0 * 1e3,
                format!("{:.1} {unit}", row.rate()),
                100.0 * row.share(&self.limits),
            );
        }
        text += &scaling::table(&self.fewer, (self.threads, &self.rows, &self.limits));
        if let Some(gain) = self.worker_gain {
            let _ =
                writeln!(text, "\ntwo flow workers on two cores make {gain:.2} times the segments of one on one core");
        }
        if let Some(whole) = self.whole {
            let Whole { audio, wall, first_audio, milestones, first_window, deadline } = whole;
            let asked = deadline.map(|deadline| format!("asked for within {deadline}, ")).unwrap_or_default();
            let _ = writeln!(
                text,
                "\nsong of {audio}: first sound after {first_audio} ({asked}first window of {} frames), RTF {:.3}",
                first_window.0,
                wall.0 / audio.0
            );
            for (part, time) in parts(milestones, first_audio) {
                let _ = writeln!(text, "  {part:<26}{:>8.1} ms", time * 1e3);
            }
        }
        if let Some(bytes) = self.kv_bytes {
            let _ = writeln!(text, "keys and values of the long song {}", MemorySize(bytes));
        }
        if let Some(bytes) = self.peak_memory {
            let _ = writeln!(text, "peak memory {}, estimated {}", MemorySize(bytes), MemorySize(self.estimated));
        }
        if let Some(bytes) = self.gpu_memory {
            let estimated =
                self.gpu_estimated.map_or(String::new(), |bytes| format!(", estimated {}", MemorySize(bytes)));
            let _ = writeln!(text, "GPU memory {}{estimated}, beside CUDA's own context", MemorySize(bytes));
        }
        text + LEGEND
    }
}

/// Limits for programs.
pub(super) fn limits_json(limits: &Limits) -> Value {
    json!({ "read_gb_s": limits.read_bytes / 1e9, "fma_gflop_s": limits.flop / 1e9 })
}

/// Rows for programs.
pub(super) fn rows_json(rows: &[Row], limits: &Limits) -> Vec<Value> {
    let row = |row: &Row| {
        let (bytes, flop) = match row.work {
            Work::Bytes(bytes) => (Some(bytes), None),
            Work::Flop(flop) => (None, Some(flop)),
        };
        json!({
            "stage": row.stage.trim(),
            "time_s": row.time.0,
            "bytes": bytes,
            "flop": flop,
            "share_of_limit": row.share(limits),
            "rtf": row.real_time_factor(),
        })
    };
    rows.iter().map(row).collect()
}

/// What the columns mean.
const LEGEND: &str = "
of limit   share of the bytes or of the operations that the machine can do in that time, measured in this run
RTF        time per time of music; a flow step is one of those that --flow-steps counts
";

/// What the latency of the first sound is made of, in seconds.
fn parts(milestones: Milestones, first_audio: Seconds) -> Vec<(&'static str, f64)> {
    let Milestones { first_frame, first_window, first_latents, .. } = milestones;
    let times = [first_frame, first_window, first_latents, Some(first_audio)];
    let names = ["prompt and first frame", "frames of the first window", "flow matching", "vocoder"];
    let mut before = 0.0;
    let part = |(name, time): (&'static str, Option<Seconds>)| {
        let time = time?.0;
        Some((name, time - std::mem::replace(&mut before, time)))
    };
    names.into_iter().zip(times).filter_map(part).collect()
}

/// A count with the prefix that suits it.
fn scaled(count: u64, unit: &str) -> String {
    let (value, prefix) = match count {
        1_000_000_000_000.. => (count as f64 / 1e12, "T"),
        1_000_000_000.. => (count as f64 / 1e9, "G"),
        1_000_000.. => (count as f64 / 1e6, "M"),
        _ => (count as f64 / 1e3, "k"),
    };
    format!("{value:.2} {prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_reads_what_the_machine_can_read_has_all_of_its_limit() {
        let limits = Limits { read_bytes: 2e10, flop: 1e11 };
        let row = |work| Row { stage: "a".to_owned(), time: Seconds(0.5), work, audio: Some(Seconds(0.08)) };
        assert_eq!(row(Work::Bytes(10_000_000_000)).share(&limits), 1.0);
        assert_eq!(row(Work::Flop(10_000_000_000)).share(&limits), 0.2);
        assert_eq!(row(Work::Flop(1)).real_time_factor(), Some(6.25));
    }
}
