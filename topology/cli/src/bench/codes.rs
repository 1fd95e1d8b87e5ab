//! Codes that are decoded: those that the language model writes for the words and the seed.

use candle_core::Device;
use heartstream::{Heartstream, SongRequest};
use heartstream_models::{
    ModelDirectory,
    heartmula::{Begun, KeyedSampler, prompt_positions},
    signal::KeyedNoise,
};

use crate::Failed;

/// The codes of a song, frame after frame. The language model is in memory only while it writes.
pub(super) fn written(directory: &ModelDirectory, request: SongRequest) -> Result<Vec<u16>, Failed> {
    Heartstream::check_options(&request)?;
    let SongRequest { sampling, max_frames, seed, .. } = request;
    let mut sampler = KeyedSampler::new(sampling, KeyedNoise::new(seed))?;
    let prompt = directory.load_tokenizer()?.prompt(&request.tags, &request.lyrics)?.ids;
    let model = directory.load_lm(&Device::Cpu)?;
    // The last frame is never read again, so it takes no position.
    let room = (directory.lm.backbone.max_seq_len + 1).saturating_sub(prompt_positions(&prompt));
    let frames = room.min(max_frames.0 as usize);
    let state = model.start(&prompt, sampling.cfg_scale, frames)?;
    let end = directory.ids.audio_eos;
    let Begun { state: mut song, codes: mut frame, .. } = model.begin(state, &prompt, frames, &sampler, end)?;
    let mut codes = Vec::new();
    while frame.iter().all(|code| *code < end) {
        // Every code is below the vocabulary size, which the config limits to 16 bits.
        codes.extend(frame.iter().map(|code| *code as u16));
        if song.frames() == frames as u64 {
            break;
        }
        frame = model.next_frame(&mut song, &mut sampler)?;
    }
    Ok(codes)
}
