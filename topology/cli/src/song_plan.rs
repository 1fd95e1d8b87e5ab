//! Segmentation of a song: from the options, or from the plan in a record, by which it is cut so again.

use std::{fs, path::Path};

use heartstream::{
    Continuity, FirstWindow, Heartstream, SongReport, SongRequest,
    units::{Frames, Seconds},
};
use heartstream_models::{foreign_text::shown, text::decode_json};
use serde_json::{Value, json};

use super::{
    Failed,
    arg_groups::{ContinuityName, SoundArgs},
};

/// How a song is to be cut.
pub(super) struct Cut {
    pub continuity: Continuity,
    pub first_window: FirstWindow,
    pub look_ahead: Frames,
}

impl Cut {
    /// The same song, cut like this.
    pub fn of(self, request: SongRequest) -> SongRequest {
        let Self { continuity, first_window, look_ahead } = self;
        SongRequest { continuity, first_window, look_ahead, ..request }
    }
}

/// How the options want the song to be cut; `fingerprint` is that of the checkpoint. Only a song that is listened to
/// (`live`) has a default deadline: a file may depend on how fast the machine is only where that was.
pub(super) fn asked_for(args: &SoundArgs, fingerprint: &str, live: bool) -> Result<Cut, Failed> {
    if let Some(path) = &args.plan {
        return read(path, fingerprint);
    }
    if args.continuity == ContinuityName::Reference && (args.first_window.is_some() || args.first_audio.is_some()) {
        let problem = format!(
            "the reference's windows all have {} frames, so first-window and first-audio have no say in them",
            FirstWindow::LONGEST.0
        );
        return Err(Failed::Usage(format!("{problem}. Leave the option out, or choose another continuity")));
    }
    let most = args.first_window.map(Frames);
    let deadline = args.first_audio.map(Seconds);
    let first_window = match (most, deadline) {
        (None, None) => FirstWindow { deadline: live.then_some(FirstWindow::USUAL_DEADLINE), ..FirstWindow::default() },
        (most, deadline) => FirstWindow { most: most.unwrap_or(FirstWindow::LONGEST), deadline },
    };
    Ok(Cut { continuity: args.continuity.into(), first_window, look_ahead: SongRequest::USUAL_LOOK_AHEAD })
}

/// The plan of a song that has ended: enough to cut it so again, and its windows.
pub(super) fn plan(request: &SongRequest, report: &SongReport, fingerprint: &str) -> Value {
    let first = report.first_window.unwrap_or(request.first_window.most);
    let fixed = SongRequest {
        first_window: FirstWindow { most: first, deadline: None },
        max_frames: report.frames.max(first),
        ..request.clone()
    };
    let windows =
        Heartstream::segment_plan(&fixed).map(|plan| plan.windows(report.frames.0 as usize)).unwrap_or_default();
    let windows: Vec<Value> = windows
        .iter()
        .map(|w| {
            let (known, look_ahead) = (w.known, w.look_ahead);
            json!({ "first": w.first, "frames": w.frames, "known": known, "look_ahead": look_ahead, "fade_in": w.fade_in })
        })
        .collect();
    json!({
        "checkpoint": fingerprint,
        "continuity": request.continuity,
        "first_window": first.0,
        "look_ahead": request.look_ahead.0,
        "windows": windows,
    })
}

fn read(path: &Path, fingerprint: &str) -> Result<Cut, Failed> {
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
    parse(&bytes, Some(fingerprint)).map_err(wrong)
}

/// Reads a plan for the checkpoint with this fingerprint, or for any.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(bytes: &[u8], fingerprint: Option<&str>) -> Result<Cut, String> {
    let file = decode_json(bytes).map_err(|reason| format!("is {}", shown(&reason)))?;
    let plan = file.get("plan").unwrap_or(&file);
    let made_for = plan.get("checkpoint").and_then(Value::as_str).ok_or("names no checkpoint")?;
    if let Some(fingerprint) = fingerprint.filter(|fingerprint| made_for != *fingerprint) {
        return Err(format!("was made for the checkpoint {}, and this model is {fingerprint}", shown(made_for)));
    }
    let continuity = plan.get("continuity").cloned().unwrap_or(Value::Null);
    let continuity =
        serde_json::from_value(continuity).map_err(|_| "has no `continuity` of reference, chained or parallel")?;
    let Frames(longest) = FirstWindow::LONGEST;
    let first = plan.get("first_window").and_then(Value::as_u64).filter(|first| (1..=longest).contains(first));
    let first = first.ok_or_else(|| format!("has no `first_window` from 1 to {longest}"))?;
    let look_ahead = look_ahead(plan, continuity)?;
    Ok(Cut { continuity, first_window: FirstWindow { most: Frames(first), deadline: None }, look_ahead })
}

/// The look-ahead of a plan. A plan without one was made when no window had one, and the beginning and the end of a
/// song were decoded without context: no song is cut so any more, but for `reference`, which is as it was.
fn look_ahead(plan: &Value, continuity: Continuity) -> Result<Frames, String> {
    match plan.get("look_ahead").map(Value::as_u64) {
        Some(Some(frames)) => Ok(Frames(frames)),
        None if continuity == Continuity::Reference => Ok(SongRequest::USUAL_LOOK_AHEAD),
        None => Err("is of a version whose windows had no `look_ahead`, and no song is cut so any more".to_owned()),
        Some(None) => Err("has no whole number as `look_ahead`".to_owned()),
    }
}
