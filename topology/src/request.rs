//! Can this model sing that request? Everything that can be known before a song begins is checked here.

use heartstream_messages::{SongRequest, units::Frames};
use heartstream_models::{
    ModelError,
    heartcodec::FlowOptions,
    heartmula::{KeyedSampler, SamplingOptions},
    signal::KeyedNoise,
    text::PromptTokenizer,
};

/// A request that the model can sing, with what its stages need of it.
pub(crate) struct CheckedRequest {
    pub request: SongRequest,
    pub sampler: KeyedSampler,
    pub flow: FlowOptions,
    pub noise: KeyedNoise,
    /// What was changed to fit the model, in sentences.
    pub notes: Vec<String>,
}

/// Checks `request` for a model with `positions` positions.
///
/// The prompt is tokenized here and again by its stage: it costs a millisecond, and an error before the first stage
/// starts is worth it.
pub(crate) fn check(mut request: SongRequest, tokenizer: &PromptTokenizer, positions: usize) -> Result<CheckedRequest, ModelError> {
    let noise = KeyedNoise::new(request.seed);
    let sampling = request.sampling;
    let sampler = KeyedSampler::new(SamplingOptions { temperature: sampling.temperature, top_k: sampling.top_k }, noise)?;
    let flow = FlowOptions { steps: request.flow.steps, guidance: request.flow.guidance }.check()?;
    if !(sampling.cfg_scale.is_finite() && sampling.cfg_scale >= 1.0) {
        let expected = "a number from 1.0 (no guidance) upwards; 1.5 is usual".to_owned();
        return Err(ModelError::Option { option: "cfg-scale", expected, found: sampling.cfg_scale.to_string() });
    }
    if request.max_frames == Frames(0) {
        let expected = "at least 0.08 (one frame)".to_owned();
        return Err(ModelError::Option { option: "max-seconds", expected, found: request.max_frames.seconds().0.to_string() });
    }
    let prompt = tokenizer.prompt(&request.tags, &request.lyrics)?;
    let mut notes = prompt.notes;
    let taken = prompt.ids.positions();
    if taken >= positions {
        return Err(ModelError::Prompt {
            problem: format!("tags and lyrics take {taken} positions, and the model has {positions} for them and the song together"),
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
    Ok(CheckedRequest { request, sampler, flow, noise, notes })
}
