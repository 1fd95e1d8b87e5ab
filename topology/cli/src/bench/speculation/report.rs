//! Report of the speculation bench: a table for people, JSON for programs.

use std::fmt::Write as _;

use heartstream_models::heartmula::{HeartMulaConfig, WeightReads};
use serde_json::{Value, json};

use super::{
    measure::{CoarseMatches, Measured},
    runs::{Row, Rows},
};

/// All that the bench found.
pub(super) struct Report {
    pub model: String,
    pub threads: usize,
    pub seed: u64,
    pub frames: usize,
    pub guidance: f64,
    /// Whether the model has a trained drafter.
    pub trained: bool,
    pub cost: Cost,
    pub measured: Measured,
    pub rows: Rows,
    pub coarse: Vec<CoarseMatches>,
}

/// The cost model: what weights are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost(WeightReads);

impl Cost {
    pub(super) fn new(config: &HeartMulaConfig) -> Self {
        Self(WeightReads::new(config))
    }

    /// How many times as fast as plain decoding a round is that reads each weight once a pass, where reading is all
    /// that costs: `frames_per_verify` for a pass of the backbone, and `passes_per_frame` of the depth decoder.
    pub(super) fn predicted(&self, frames_per_verify: f64, passes_per_frame: f64) -> f64 {
        let passes = frames_per_verify * passes_per_frame;
        // Looks of less than a pass are rounds of which some had none: they read as much less.
        let read = self.0.passes(1.0, passes);
        self.0.plain_frame() * frames_per_verify / (self.0.backbone + read)
    }
}

impl Row {
    fn numbers(&self) -> (Option<f64>, Option<f64>) {
        (self.counters.frames_per_verify(), self.counters.depth_passes_per_frame())
    }

    pub(super) fn predicted(&self, cost: &Cost) -> Option<f64> {
        let (frames, passes) = self.numbers();
        Some(cost.predicted(frames?, passes?))
    }
}

impl Report {
    pub(super) fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.done.iter().map(|row| row_json(row, &self.cost)).collect();
        let coarse =
            self.coarse.iter().map(|CoarseMatches { bits, matches }| json!({ "bits": bits, "match": matches }));
        let codebooks = self.measured.codebooks.iter().map(|codebook| {
            json!({
                "entropy_bits": codebook.entropy, "likeliest": codebook.likeliest,
                "same_after_wrong_code": codebook.after_wrong_code, "next_frame_same": codebook.next_frame,
                "same_after_window_frame": codebook.after_window,
            })
        });
        let widths = self.measured.widths.iter().map(|width| {
            json!({
                "frames": width.frames, "backbone_s": width.backbone.as_secs_f64(), "depth_s": width.depth.as_secs_f64(),
            })
        });
        json!({
            "model": self.model, "threads": self.threads, "seed": self.seed, "frames": self.frames,
            "guidance": self.guidance, "trained_drafter": self.trained,
            "codebooks": codebooks.collect::<Vec<_>>(), "coarse_weights": coarse.collect::<Vec<_>>(), "passes": widths.collect::<Vec<_>>(), "rows": rows,
        })
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |sentence: String| {
            let _ = writeln!(text, "{sentence}"); // a string takes everything
        };
        line(format!("{}: {} frames, guidance {}, {} threads", self.model, self.frames, self.guidance, self.threads));
        line(String::new());
        let coarse: String = self.coarse.iter().map(|coarse| format!("  with {} bits", coarse.bits)).collect();
        let columns = "codebook  entropy  likeliest  same after a wrong code  next frame the same  after a drawn frame";
        line(format!("{columns}{coarse}"));
        for (place, codebook) in self.measured.codebooks.iter().enumerate() {
            let after = codebook.after_wrong_code.map_or("-".to_owned(), |share| format!("{share:.2}"));
            let (entropy, likeliest, next) = (codebook.entropy, codebook.likeliest, codebook.next_frame);
            let window = number(codebook.after_window, 2);
            let coarse: String = self.coarse.iter().map(|coarse| format!("  {:11.2}", coarse.matches[place])).collect();
            line(format!("{place:8}  {entropy:7.2}  {likeliest:9.2}  {after:>23}  {next:19.2}  {window:>19}{coarse}"));
        }
        line(String::new());
        line("frames  backbone pass  depth pass".to_owned());
        for width in &self.measured.widths {
            let [backbone, depth] = [width.backbone, width.depth].map(|time| time.as_secs_f64() * 1e3);
            line(format!("{:6}  {backbone:10.2} ms  {depth:7.2} ms", width.frames));
        }
        line(String::new());
        line(
            "drafter                K  prefetch  frames/verify  passes/frame  hits  backbone  depth  completion  draft  \
             speed-up  predicted"
                .to_owned(),
        );
        self.rows.done.iter().for_each(|row| line(row_line(row, &self.cost)));
        text
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

fn row_line(row: &Row, cost: &Cost) -> String {
    let (frames, passes) = row.numbers();
    let total = row.time.as_secs_f64();
    let share = |time: std::time::Duration| format!("{:.0} %", 100.0 * time.as_secs_f64() / total);
    let times = &row.counters.times;
    let hits = row.prefetch.map(|(cache, _)| (cache.exact + cache.near) as f64 / (cache.lookups.max(1)) as f64);
    format!(
        "{:21} {:>2}  {:>8}  {:>13}  {:>12}  {:>4}  {:>8}  {:>5}  {:>10}  {:>5}  {:8.2}  {:>9}",
        row.setting.drafter(),
        row.setting.frames.map_or("-".to_owned(), |frames| frames.to_string()),
        if row.setting.prefetch.is_some() { "on" } else { "off" },
        number(frames, 2),
        number(passes, 2),
        number(hits, 2),
        share(times.backbone),
        share(times.depth_verify),
        share(times.completion),
        share(row.counters.draft),
        row.speedup(),
        number(row.predicted(cost), 2),
    )
}

fn row_json(row: &Row, cost: &Cost) -> Value {
    let (frames, passes) = row.numbers();
    let share = |(of, right): &(u64, u64)| (*of > 0).then(|| *right as f64 / *of as f64);
    let (counters, times) = (&row.counters, &row.counters.times);
    let seconds = |time: std::time::Duration| time.as_secs_f64();
    json!({
        "drafter": row.setting.drafter(),
        "k": row.setting.frames,
        "prefetch": row.setting.prefetch.is_some(),
        "frames_per_verify": frames,
        "depth_passes_per_frame": passes,
        "speedup": row.speedup(),
        "predicted_speedup": row.predicted(cost),
        "accepted_share": (counters.draft_frames > 0)
            .then(|| counters.accepted_frames as f64 / counters.draft_frames as f64),
        "match_by_codebook": counters.compared.iter().map(share).collect::<Vec<_>>(),
        "guess_right_by_codebook": counters.guessed.iter().map(share).collect::<Vec<_>>(),
        "first_reject_by_codebook": counters.first_reject,
        "plain_frames": counters.plain_rounds,
        "policy_switches": counters.policy_switches,
        "seconds": seconds(row.time),
        "plain_seconds": seconds(row.plain),
        "time": {
            "backbone": seconds(times.backbone), "depth_verify": seconds(times.depth_verify),
            "completion": seconds(times.completion), "sample": seconds(times.sample), "draft": seconds(counters.draft),
            "wait_draft": row.prefetch.map(|(_, waited)| seconds(waited)),
        },
        "cache": row.prefetch.map(|(cache, _)| json!({
            "built": cache.built, "exact": cache.exact, "near": cache.near, "miss": cache.miss, "stale": cache.stale,
            "unused": cache.unused, "accepted_on_hit": cache.accepted_on_hit, "accepted_on_miss": cache.accepted_on_miss,
        })),
    })
}

#[cfg(test)]
mod tests {
    use heartstream_tools::synth::SynthSize;

    use super::*;

    #[test]
    fn the_cost_model_gives_the_published_models_figures() {
        let config = SynthSize::Full.lm();
        let cost = Cost::new(&config);
        // Guessing codes only, with 1 and 3 passes; 1.5 frames with 2 and 2 frames with 3 passes a round.
        for (frames, passes, speed) in [(1.0, 1.0, 1.58), (1.0, 3.0, 1.27), (1.5, 2.0, 2.11), (2.0, 3.0, 2.53)] {
            let predicted = cost.predicted(frames, passes / frames);
            assert!((predicted - speed).abs() < 0.02, "{predicted}, expected {speed}");
        }
    }
}
