//! Checks of a request against the model: all that can be known before a song begins.

use std::{collections::HashMap, sync::Arc};

use heartstream_messages::{
    Continuity, Flow, SongRequest,
    units::{Frames, Seconds},
};
use heartstream_models::{
    ModelError, SongCodes,
    heartcodec::check_flow,
    heartmula::{KeyedSampler, check_guidance, prompt_positions},
    signal::{KeyedNoise, ReferenceWindows, SegmentPlan},
    text::PromptTokenizer,
};

/// A checked request, with the inputs of its stages.
pub(crate) struct CheckedRequest {
    pub request: SongRequest,
    pub sampler: KeyedSampler,
    pub sound: Sound,
    /// Frames that were written before, in a song that is resumed; none otherwise.
    pub resumed_from: Arc<SongCodes>,
    /// What was changed to fit the model, in sentences.
    pub notes: Vec<String>,
    /// Positions of the model that the prompt takes.
    pub prompt_positions: usize,
}

/// How codes become sound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sound {
    pub segments: SegmentPlan,
    /// For the first sound; only where it applies.
    pub deadline: Option<Seconds>,
    pub flow: Flow,
    pub noise: KeyedNoise,
    /// The most frames that the song can have.
    pub longest: Frames,
}

/// Checks what decides how codes become sound.
pub(crate) fn sound(request: &SongRequest) -> Result<Sound, ModelError> {
    Ok(Sound {
        segments: segment_plan(request)?,
        deadline: request.first_window.deadline.filter(|_| request.continuity != Continuity::Reference),
        flow: check_flow(request.flow)?,
        noise: KeyedNoise::new(request.seed),
        longest: request.max_frames,
    })
}

/// Checks what does not depend on a model: the options.
pub(crate) fn check_options(request: &SongRequest) -> Result<(KeyedSampler, Sound), ModelError> {
    let SongRequest { sampling, max_frames, .. } = request;
    let sampler = KeyedSampler::new(*sampling, KeyedNoise::new(request.seed))?;
    check_guidance(sampling.cfg_scale)?;
    if *max_frames == Frames(0) {
        let expected = "at least 0.08 (one frame)".to_owned();
        return Err(ModelError::Option { option: "max-seconds", expected, found: max_frames.seconds().0.to_string() });
    }
    Ok((sampler, sound(request)?))
}

/// How the song is cut into windows; a deadline can still shorten the first one. A first window may be longer than the
/// song, which then is one window.
pub(crate) fn segment_plan(request: &SongRequest) -> Result<SegmentPlan, ModelError> {
    let frames = |count: Frames| usize::try_from(count.0).unwrap_or(usize::MAX);
    let first = frames(request.first_window.most);
    match request.continuity {
        Continuity::Reference => Ok(SegmentPlan::reference(ReferenceWindows::default())),
        Continuity::Chained => SegmentPlan::chained(first, frames(request.look_ahead)),
        Continuity::Parallel => SegmentPlan::parallel(first),
    }
}

/// Checks `request` for a model with `positions` positions.
///
/// The prompt is tokenized here and again by its stage: it costs a millisecond, and an error before the first stage
/// starts is worth it.
pub(crate) fn check(
    mut request: SongRequest,
    tokenizer: &PromptTokenizer,
    positions: usize,
) -> Result<CheckedRequest, ModelError> {
    let (sampler, _) = check_options(&request)?;
    let prompt = tokenizer.prompt(&request.tags, &request.lyrics)?;
    let mut notes: Vec<String> = prompt.notes.iter().map(ToString::to_string).collect();
    let taken = prompt_positions(&prompt.ids);
    if taken >= positions {
        return Err(ModelError::Prompt {
            problem: format!(
                "tags and lyrics take {taken} positions, and the model has {positions} for them and the song together"
            ),
            remedy: "Shorten the lyrics".to_owned(),
        });
    }
    // The last frame is never read again, so it takes no position.
    let room = Frames((positions - taken + 1) as u64);
    if request.max_frames > room {
        notes.push(format!(
            "the song ends after {} at the latest: tags and lyrics take {taken} of the model's {positions} positions",
            room.seconds()
        ));
        request.max_frames = room;
    }
    // Only now is it known how long the song can be.
    let sound = sound(&request)?;
    let resumed_from = Arc::new(SongCodes { codebooks: 0, codes: Vec::new(), notes: HashMap::new() });
    Ok(CheckedRequest { request, sampler, sound, resumed_from, notes, prompt_positions: taken })
}
