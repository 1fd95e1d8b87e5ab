//! Report of a comparison, for people as it is made, or for programs once all of it is there.

use candle_core::Device;
use heartstream_models::{WeightDtype, kernels::cpu::KernelSet};
use heartstream_tools::golden::{Dtypes, Goldens, Half, Measure, Row};
use serde_json::{Value, json};

use super::wider::{Found, Verdict};
use crate::{Failed, model_args::CheckArgs};

/// What is known so far.
pub(super) struct Report {
    json: Option<Value>,
    rows: usize,
    bad: usize,
}

impl Report {
    /// Says what computes, and in which dtypes weights, keys and values are held.
    pub fn begin(args: &CheckArgs, device: &Device, goldens: &Goldens) -> Result<Self, Failed> {
        let kernels = device.is_cpu().then(|| KernelSet::chosen().to_string());
        let held =
            goldens.halves().map(|half| Ok((half, goldens.dtypes(half)?))).collect::<Result<Vec<_>, Failed>>()?;
        if args.json {
            let held: Value = held.iter().map(|(half, held)| (key(*half), dtypes(held))).collect();
            let json = json!({
                "directory": args.directory.display().to_string(),
                "kernels": kernels,
                "device": args.device.to_string(),
                "held": held,
                "rows": [],
            });
            return Ok(Self { json: Some(json), rows: 0, bad: 0 });
        }
        if let Some(kernels) = kernels {
            out!("kernels: {kernels}");
        }
        out!("device: {}", args.device);
        for (half, held) in &held {
            out!("{half}: {held}");
        }
        out!("{:<34} {:<28} {:<10} ", "tensor", "engine against reference", "tolerance");
        Ok(Self { json: None, rows: 0, bad: 0 })
    }

    /// Rows that are not ok.
    pub fn bad(&self) -> usize {
        self.bad
    }

    /// Adds a row.
    pub fn row(&mut self, row: Row) {
        self.rows += 1;
        self.bad += usize::from(!row.ok());
        if let Some(json) = &mut self.json {
            if let Some(rows) = json["rows"].as_array_mut() {
                rows.push(of_row(&row));
            }
            return;
        }
        let verdict = if row.ok() { "ok" } else { "NOT OK" };
        out!("{:<34} {:<28} {:<10} {verdict}", row.tensor, row.measure.to_string(), row.limit());
        if !row.note.is_empty() {
            out!("{:<34} {}", "", row.note);
        }
    }

    /// Says whether all is ok, and what would help.
    pub fn end(self, verdicts: &[Verdict]) -> Result<(), Failed> {
        let Self { json, rows, bad } = self;
        match json {
            Some(mut json) => {
                json["ok"] = json!(bad == 0);
                json["wider"] = verdicts.iter().map(of_verdict).collect();
                out!("{json:#}");
            }
            None => {
                verdicts.iter().for_each(|verdict| out!("{}", verdict.sentence()));
                match bad {
                    0 => out!("all {rows} ok"),
                    bad => out!("{bad} of {rows} not ok"),
                }
            }
        }
        if bad == 0 { Ok(()) } else { Err(Failed::Said) }
    }
}

fn key(half: Half) -> String {
    half.to_string().replace(' ', "_")
}

fn dtypes(held: &Dtypes) -> Value {
    let names = |dtypes: &[WeightDtype]| dtypes.iter().map(WeightDtype::to_string).collect::<Vec<_>>();
    let mut dtypes = json!({ "stored": names(&held.stored), "weights": names(&held.weights), "bytes": held.bytes });
    if let Some(kv) = held.kv {
        dtypes["keys_and_values"] = json!(kv.to_string());
    }
    dtypes
}

/// A row; what is not a number is null.
fn of_row(row: &Row) -> Value {
    let mut json = match row.measure {
        Measure::RelativeError(error) => json!({ "relative_error": error }),
        Measure::SignalToNoise(decibels) => json!({ "signal_to_noise_db": decibels }),
        Measure::CodesEqual(equal, all) => json!({ "codes_equal": equal, "codes": all }),
    };
    json["tensor"] = json!(row.tensor);
    json["tolerance"] = json!(row.tolerance);
    json["ok"] = json!(row.ok());
    json["note"] = json!(row.note);
    json
}

fn of_verdict(verdict: &Verdict) -> Value {
    let passes = match verdict.found {
        Found::Passes => json!(true),
        Found::Fails => json!(false),
        Found::NotTried(_) => Value::Null,
    };
    json!({ "half": key(verdict.half), "add": verdict.add, "passes": passes, "sentence": verdict.sentence() })
}
