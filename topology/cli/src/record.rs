//! The record of a song, one JSON object: what was asked for, what came of it, and how long it took.

use std::path::Path;

use heartstream::{Outcome, SongReport, SongRequest, plan::Plan};
use serde_json::{Map, Value, json};

use super::{Failed, output::write_whole};

/// The record of a song; `format` is that of the file, if one was written.
pub(super) fn record(
    model: &str,
    request: &SongRequest,
    format: Option<&str>,
    plan: &Plan,
    report: &SongReport,
) -> Value {
    let stages: Map<String, Value> = report
        .stages
        .iter()
        .map(|stage| {
            let counters = json!({ "busy_s": stage.busy.0, "wait_s": stage.wait.0, "items": stage.items });
            (stage.stage.name().to_owned(), counters)
        })
        .collect();
    let mut outcome = json!({ "kind": kind(&report.outcome) });
    if let Outcome::Failed(error) = &report.outcome {
        outcome["stage"] = json!(error.stage.name());
        outcome["message"] = json!(error.message);
    }
    json!({
        "seed": request.seed,
        "model": model,
        "options": options(request, format, plan),
        "frames": report.frames.0,
        "redraws": report.redraws,
        "audio_s": report.audio.0,
        "wall_s": report.wall.0,
        "working_s": report.working.0,
        "first_audio_s": report.first_audio.map(|first| first.0),
        "milestones_s": report.milestones,
        "rtf": report.real_time_factor(),
        "peak_rss_bytes": peak_memory(),
        "underrun_samples": report.underrun_samples,
        "xruns": report.xruns,
        "buffer_depth_s": report.buffer_depth.map(|depth| depth.0),
        "stages": stages,
        "speculation": report.speculation,
        "notes": report.notes,
        "outcome": outcome,
    })
}

/// What a program that reads events gets to know at the end of a song; docs/progress.md says what each is.
pub(super) fn ending(report: &SongReport, file: Option<&Path>, seed: u64) -> Value {
    json!({
        "outcome": kind(&report.outcome),
        "audio_s": report.audio.0,
        "wall_s": report.wall.0,
        "working_s": report.working.0,
        "real_time_factor": report.real_time_factor(),
        "first_audio_s": report.first_audio.map(|first| first.0),
        "silence_s": report.underrun_samples as f64 / f64::from(heartstream::units::SAMPLE_RATE),
        "seed": seed,
        "file": file.map(|file| file.display().to_string()),
    })
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Finished => "finished",
        Outcome::Cancelled => "cancelled",
        Outcome::ReaderLeft => "reader_left",
        Outcome::Failed(_) => "failed",
        _ => "other",
    }
}

fn options(request: &SongRequest, format: Option<&str>, plan: &Plan) -> Value {
    json!({
        "tags": request.tags,
        "lyrics": request.lyrics,
        "max_seconds": request.max_frames.seconds().0,
        "temperature": request.sampling.temperature,
        "top_k": request.sampling.top_k,
        "cfg_scale": request.sampling.cfg_scale,
        "flow_steps": request.flow.steps,
        "flow_guidance": request.flow.guidance,
        "format": format,
        "flow_workers": plan.flow.len(),
        "continuity": request.continuity,
        "first_window_at_most": request.first_window.most.0,
        "look_ahead": request.look_ahead.0,
        "first_audio_asked_for_s": request.first_window.deadline.map(|deadline| deadline.0),
        "lm_threads": plan.lm.threads,
        "flow_threads": plan.flow.first().map(|site| site.threads),
        "vocoder_threads": plan.vocoder.threads,
        "draft_cores": plan.draft.as_ref().map(|draft| draft.cores.clone()),
        "draft_device": plan.draft.as_ref().map(|draft| draft.device.to_string()),
        "lm_device": plan.devices.lm.to_string(),
        "flow_devices": plan.flow_devices.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "vocoder_device": plan.devices.vocoder.to_string(),
    })
}

/// Writes the record of a song; `-` is standard output.
pub(super) fn write(path: &Path, record: &Value) -> Result<(), Failed> {
    if path == Path::new("-") {
        out!("{record:#}");
        return Ok(());
    }
    write_whole(path, &format!("{record:#}\n")).map_err(|reason| {
        Failed::Error(format!(
            "cannot write the record {}: {reason}. Give --record a path that may be written to",
            path.display()
        ))
    })
}

/// The most memory that the process ever had, in bytes; `None` where the system does not say.
pub(super) fn peak_memory() -> Option<u64> {
    #[cfg(unix)]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        // Kibibytes, but on Apple's systems bytes.
        let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
        u64::try_from(usage.max_rss()).ok().map(|rss| rss * unit)
    }
    #[cfg(not(unix))]
    None
}
