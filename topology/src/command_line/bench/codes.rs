//! Which codes are decoded? Those that the language model writes for the words and the seed.

use candle_core::Device;
use heartstream_messages::SongRequest;
use heartstream_models::{ModelDirectory, heartmula::CodeSampler};

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
    let sampler: &mut dyn CodeSampler = &mut sampler;
    let mut song = model.start(&prompt, request.sampling.cfg_scale, request.max_frames.0 as usize)?;
    let mut codes = Vec::new();
    while song.frames() < request.max_frames.0 {
        let frame = model.next_frame(&mut song, sampler)?;
        if frame.iter().any(|code| *code >= directory.ids.audio_eos) {
            break;
        }
        // Every code is below the vocabulary size, which the config limits to 16 bits.
        codes.extend(frame.into_iter().map(|code| code as u16));
    }
    if codes.is_empty() {
        return Err(Failed::Error("the model ended the song before its first frame. Try another seed".to_owned()));
    }
    Ok(codes)
}
