//! An input as a program that embeds the engine gives it: loaded, tried out, and sung.

use std::path::Path;

use heartstream::{Checkpoint, FailureKind, Heartstream, Placement, Sampling, SongRequest, codes::SavedSong, units};
use heartstream_models::{ModelDirectory, foreign_text, text::PromptTokenizer};
use heartstream_tools::golden;

use crate::Target;

/// Loads the model, tries its tokenizer, its golden data and its codes, and sings three frames.
pub fn in_process(
    model: &Path,
    target: Target,
    words: &(String, String),
    codes: Option<&[u8]>,
    runtime: &tokio::runtime::Runtime,
) {
    let Ok(checkpoint) = Checkpoint::open(model) else { return };
    let fine = |error: &dyn std::fmt::Display| {
        let said = error.to_string();
        let (lines, bytes) = (said.lines().count(), said.len());
        assert!(
            lines <= foreign_text::MOST_LINES && bytes <= foreign_text::MOST_BYTES,
            "{lines} lines, {bytes} bytes: {said}"
        );
    };
    match ModelDirectory::open(checkpoint.clone()) {
        Err(error) => return fine(&error),
        Ok(directory) => {
            if let Err(error) = directory.load_tokenizer().and_then(|tokenizer| PromptTokenizer::try_out(&tokenizer)) {
                fine(&error);
            }
            directory.check_drafter().unwrap_or_else(|error| fine(&error));
            if target == Target::Bytes("goldens.safetensors") {
                golden::check(&directory, &candle_core::Device::Cpu, &mut |_| ()).unwrap_or_else(|error| fine(&error));
                return;
            }
        }
    }
    let speculation = if target == Target::Bytes("HeartMuLa-oss-3B/drafter.safetensors") { "heads:3" } else { "off" };
    let placement = Placement { flow_workers: 1, threads: Some(1), ..Placement::default() };
    runtime.block_on(async {
        let engine = Heartstream::builder(checkpoint).placement(placement);
        let engine = match engine.speculation(speculation.parse().expect("a way to draft")).build().await {
            Ok(engine) => engine,
            Err(error) => return fine(&error),
        };
        let song = match codes {
            Some(codes) => {
                let path = Path::new("x.codes");
                match SavedSong::parse(path, codes) {
                    Ok(kept) => engine.resume(kept, path, heartstream::Sink::Subscriber).await,
                    Err(error) => return fine(&error),
                }
            }
            None => {
                let request = SongRequest {
                    max_frames: units::Frames(3),
                    sampling: Sampling { top_k: 5, ..Sampling::default() },
                    ..SongRequest::new(&words.0, &words.1)
                };
                engine.sing(request).await
            }
        };
        match song {
            Ok(song) => {
                if let heartstream::Outcome::Failed(error) = song.finished().await.outcome {
                    assert!(error.kind != FailureKind::Panic, "{error}");
                    fine(&error);
                }
            }
            Err(error) => fine(&error),
        }
    });
}
