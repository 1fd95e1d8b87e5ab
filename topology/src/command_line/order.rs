//! What do the options ask for? A request, new or of a kept song.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    Failed,
    args::{RenderArgs, SoundArgs},
    song_plan, words,
};
use crate::{EngineError, Flow, KeptSong, Sampling, SongRequest, units::Seconds};

/// The request of `render` and `play`; `fingerprint` is that of the checkpoint.
pub(super) fn request(args: &RenderArgs, fingerprint: &str) -> Result<SongRequest, Failed> {
    if !(args.max_seconds.is_finite() && args.max_seconds > 0.0) {
        let (expected, found) = ("a number above 0".to_owned(), args.max_seconds.to_string());
        return Err(EngineError::Option { option: "max-seconds", expected, found }.into());
    }
    let words = words::read(&args.words)?;
    let (continuity, first_window) = song_plan::asked_for(&args.sound, fingerprint)?;
    Ok(SongRequest {
        seed: args.seed.unwrap_or_else(another_seed),
        max_frames: Seconds(args.max_seconds).frames(),
        sampling: Sampling { temperature: args.temperature, top_k: args.top_k, cfg_scale: args.cfg_scale },
        flow: flow(&args.sound),
        continuity,
        first_window,
        ..SongRequest::new(words.tags, words.lyrics)
    })
}

/// The request of a kept song, with the options of `decode` for its sound.
pub(super) fn kept_request(kept: &KeptSong, args: &SoundArgs, fingerprint: &str) -> Result<SongRequest, Failed> {
    let (continuity, first_window) = song_plan::asked_for(args, fingerprint)?;
    Ok(SongRequest { flow: flow(args), continuity, first_window, ..kept.request.clone() })
}

fn flow(args: &SoundArgs) -> Flow {
    Flow { steps: args.flow_steps, guidance: args.flow_guidance }
}

/// A seed that is short enough to be typed again.
fn another_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}
