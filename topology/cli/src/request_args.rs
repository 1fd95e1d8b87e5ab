//! The request that the options ask for: a new one, or that of a saved song.

use std::time::{SystemTime, UNIX_EPOCH};

use heartstream::{Flow, Sampling, SongRequest, codes::SavedSong, units::Seconds};
use heartstream_models::SongDefaults;

use super::{Failed, arg_groups::SoundArgs, prompt_input, song_args::RenderArgs, song_plan};

/// The longest song where nothing else is asked for, in seconds.
const USUAL_SECONDS: f64 = 240.0;

/// The request of `render` and, `live`, of `play`, and what was changed in its words. What is not asked for is the
/// model's default; `fingerprint` is that of the checkpoint.
pub(super) fn request(
    args: &RenderArgs,
    defaults: &SongDefaults,
    fingerprint: &str,
    live: bool,
) -> Result<(SongRequest, Vec<String>), Failed> {
    let max_frames = Seconds(args.max_seconds.unwrap_or(USUAL_SECONDS)).frames();
    let words = prompt_input::read(&args.words)?;
    let cut = song_plan::asked_for(&args.sound, fingerprint, live)?;
    let request = cut.of(SongRequest {
        seed: args.seed.unwrap_or_else(another_seed),
        max_frames,
        sampling: sampling(args, defaults.sampling),
        flow: flow(&args.sound, defaults.flow),
        ..SongRequest::new(words.tags, words.lyrics)
    });
    Ok((request, words.notes))
}

/// The request of a saved song, with the options of `decode` for its sound. What is not asked for is the default of the
/// model that decodes.
pub(super) fn saved_request(
    saved: &SavedSong,
    args: &SoundArgs,
    defaults: &SongDefaults,
    fingerprint: &str,
) -> Result<SongRequest, Failed> {
    let cut = song_plan::asked_for(args, fingerprint, false)?;
    Ok(cut.of(SongRequest { flow: flow(args, defaults.flow), ..saved.request.clone() }))
}

fn sampling(args: &RenderArgs, default: Sampling) -> Sampling {
    Sampling {
        temperature: args.temperature.unwrap_or(default.temperature),
        top_k: args.top_k.unwrap_or(default.top_k),
        cfg_scale: args.cfg_scale.unwrap_or(default.cfg_scale),
    }
}

fn flow(args: &SoundArgs, default: Flow) -> Flow {
    Flow { steps: args.flow_steps.unwrap_or(default.steps), guidance: args.flow_guidance.unwrap_or(default.guidance) }
}

/// A seed that is short enough to be typed again.
fn another_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}
