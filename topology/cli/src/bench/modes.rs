//! Ways of decoding that `bench continuity` compares.

use heartstream::{Continuity, FirstWindow, Heartstream, SongRequest, units::Frames};
use heartstream_models::signal::SegmentPlan;

use super::args::ContinuityArgs;
use crate::Failed;

/// The first windows that are tried when none are asked for.
const FIRST_WINDOWS: [u64; 7] = [8, 16, 32, 48, 93, 186, 372];

const USUAL: Frames = SongRequest::USUAL_LOOK_AHEAD;

/// One way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mode {
    pub continuity: Continuity,
    pub plan: SegmentPlan,
    /// Euler steps.
    pub steps: usize,
    /// Whether it has the usual first window and the usual number of steps.
    pub usual: bool,
}

/// What all ways are compared with.
pub(super) fn golden(args: &ContinuityArgs, request: &SongRequest) -> Result<Mode, Failed> {
    mode(request, Continuity::Reference, FirstWindow::USUAL, USUAL, args.reference_steps, false)
}

/// All ways, those with the first of the numbers of steps before the others. `request` is for the song as long as it
/// has become; for the shortest of several.
pub(super) fn modes(args: &ContinuityArgs, request: &SongRequest) -> Result<Vec<Mode>, Failed> {
    let frames = request.max_frames;
    let fits = |first: &Frames| *first <= frames;
    let firsts: Vec<Frames> = match &args.first_windows {
        Some(asked) => asked.iter().copied().map(Frames).collect(),
        None => FIRST_WINDOWS.map(Frames).into_iter().filter(fits).collect(),
    };
    let nearest = firsts.iter().copied().min_by_key(|first| first.0.abs_diff(FirstWindow::USUAL.0));
    // A song of less than 8 frames is one window, however it is cut.
    let usual = nearest.unwrap_or(frames);
    let mut modes = Vec::new();
    for (index, steps) in args.flow_steps.iter().enumerate() {
        let first_steps = index == 0;
        modes.push(mode(request, Continuity::Reference, usual, USUAL, *steps, first_steps)?);
        for continuity in [Continuity::Chained, Continuity::Parallel] {
            let all = if first_steps && !firsts.is_empty() { &firsts[..] } else { &[usual] };
            for first in all {
                modes.push(mode(request, continuity, *first, USUAL, *steps, first_steps && *first == usual)?);
            }
        }
        for look_ahead in args.look_aheads.iter().copied().filter(|_| first_steps).map(Frames) {
            modes.push(mode(request, Continuity::Chained, usual, look_ahead, *steps, false)?);
        }
    }
    Ok(modes)
}

fn mode(
    request: &SongRequest,
    continuity: Continuity,
    first: Frames,
    look_ahead: Frames,
    steps: usize,
    usual: bool,
) -> Result<Mode, Failed> {
    let most = if continuity == Continuity::Reference { Frames(1) } else { first };
    let first_window = FirstWindow { most, deadline: None };
    let cut = SongRequest { continuity, first_window, look_ahead, ..request.clone() };
    Ok(Mode { continuity, plan: Heartstream::segment_plan(&cut)?, steps, usual })
}
