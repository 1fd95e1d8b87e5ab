//! How was a song cut, and how is it cut so again? The plan in a record.

use std::{fs, path::Path};

use heartstream_models::text::decode_json;
use serde_json::{Value, json};

use super::{
    Failed,
    arg_groups::{ContinuityName, SoundArgs},
};
use crate::{
    Continuity, FirstWindow, SongReport, SongRequest,
    request::segment_plan,
    units::{Frames, Seconds},
};

/// Frames of the longest first window.
const LONGEST: u64 = heartstream_models::signal::REFERENCE_WINDOW as u64;

/// How the options want the song to be cut; `fingerprint` is that of the checkpoint. Only a song that is listened to
/// (`live`) has a deadline that nobody asked for: a file may depend on how fast the machine is only where that was.
pub(super) fn asked_for(args: &SoundArgs, fingerprint: &str, live: bool) -> Result<(Continuity, FirstWindow), Failed> {
    if let Some(path) = &args.plan {
        return read(path, fingerprint);
    }
    if args.continuity == ContinuityName::Reference && (args.first_window.is_some() || args.first_audio.is_some()) {
        let problem =
            "the reference's windows all have 372 frames, so first-window and first-audio have no say in them";
        return Err(Failed::Usage(format!("{problem}. Leave the option out, or choose another continuity")));
    }
    let most = args.first_window.map(Frames);
    let deadline = args.first_audio.map(Seconds);
    let first_window = match (most, deadline) {
        (None, None) => FirstWindow { deadline: live.then_some(FirstWindow::USUAL_DEADLINE), ..FirstWindow::default() },
        (most, deadline) => FirstWindow { most: most.unwrap_or(Frames(LONGEST)), deadline },
    };
    Ok((args.continuity.into(), first_window))
}

/// The plan of a song that has ended: enough to cut it so again, and the windows to look at.
pub(super) fn plan(request: &SongRequest, report: &SongReport, fingerprint: &str) -> Value {
    let first = report.first_window.unwrap_or(request.first_window.most);
    let fixed = SongRequest {
        first_window: FirstWindow { most: first, deadline: None },
        max_frames: report.frames.max(first),
        ..request.clone()
    };
    let windows = segment_plan(&fixed).map(|plan| plan.windows(report.frames.0 as usize)).unwrap_or_default();
    let windows: Vec<Value> = windows
        .iter()
        .map(|w| json!({ "first": w.first, "frames": w.frames, "known": w.known, "fade_in": w.fade_in }))
        .collect();
    json!({ "checkpoint": fingerprint, "continuity": request.continuity, "first_window": first.0, "windows": windows })
}

fn read(path: &Path, fingerprint: &str) -> Result<(Continuity, FirstWindow), Failed> {
    let wrong = |problem: String| {
        Failed::Usage(format!(
            "the plan {} {problem}. Give a record that `--record` wrote for this model",
            path.display()
        ))
    };
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(wrong("is no regular file".to_owned()));
    }
    let bytes = fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let file = decode_json(&bytes).map_err(|reason| wrong(format!("is {reason}")))?;
    let plan = file.get("plan").unwrap_or(&file);
    let made_for =
        plan.get("checkpoint").and_then(Value::as_str).ok_or_else(|| wrong("names no checkpoint".to_owned()))?;
    if made_for != fingerprint {
        return Err(wrong(format!("was made for the checkpoint {made_for}, and this model is {fingerprint}")));
    }
    let continuity = plan.get("continuity").cloned().unwrap_or(Value::Null);
    let continuity = serde_json::from_value(continuity)
        .map_err(|_| wrong("has no `continuity` of reference, chained or parallel".to_owned()))?;
    let first = plan.get("first_window").and_then(Value::as_u64).filter(|first| (1..=LONGEST).contains(first));
    let first = first.ok_or_else(|| wrong(format!("has no `first_window` from 1 to {LONGEST}")))?;
    Ok((continuity, FirstWindow { most: Frames(first), deadline: None }))
}
