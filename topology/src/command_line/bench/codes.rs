//! Codes that are decoded: those that the language model writes for the words and the seed.

use candle_core::Device;
use heartstream_messages::SongRequest;
use heartstream_models::{ModelDirectory, heartmula::Begun};

use crate::{
    command_line::Failed,
    request::{self, CheckedRequest},
};

/// The codes of a song, frame after frame. The language model is in memory only while it writes.
pub(super) fn written(directory: &ModelDirectory, request: SongRequest) -> Result<Vec<u16>, Failed> {
    let tokenizer = directory.load_tokenizer()?;
    let positions = directory.lm.backbone.max_seq_len;
    let CheckedRequest { request, mut sampler, .. } = request::check(request, &tokenizer, positions)?;
    let prompt = tokenizer.prompt(&request.tags, &request.lyrics)?.ids;
    let model = directory.load_lm(&Device::Cpu)?;
    let frames = request.max_frames.0 as usize;
    let state = model.start(&prompt, request.sampling.cfg_scale, frames)?;
    let end = directory.ids.audio_eos;
    let Begun { state: mut song, codes: mut frame, .. } = model.begin(state, &prompt, frames, &sampler, end)?;
    let mut codes = Vec::new();
    while frame.iter().all(|code| *code < end) {
        // Every code is below the vocabulary size, which the config limits to 16 bits.
        codes.extend(frame.iter().map(|code| *code as u16));
        if song.frames() == request.max_frames.0 {
            break;
        }
        frame = model.next_frame(&mut song, &mut sampler)?;
    }
    Ok(codes)
}
