//! Stages of the pipeline.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stage of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// Words to ids.
    PromptTokenizer,
    /// Ids to codes.
    LanguageModel,
    /// A saved song's codes, in the place of the two before.
    CodesSource,
    /// The codes and the sound of a song that another machine makes, in the place of all stages before the sinks.
    RemoteSong,
    /// Codes to a file.
    CodesSink,
    /// Codes to segments.
    Segmenter,
    /// Segments to latents.
    FlowWorker,
    /// Segments to latents, by a worker on another machine.
    RemoteFlow,
    /// Latents to samples.
    Vocoder,
    /// Samples of segments to one song.
    Stitcher,
    /// The song to a file or to standard output.
    WavSink,
    /// The song to a loudspeaker.
    SpeakerSink,
    /// The song to the program that embeds the engine.
    SubscriberSink,
}

impl Stage {
    /// Every stage, in the order in which a song passes them.
    pub const ALL: [Self; 13] = [
        Self::PromptTokenizer,
        Self::LanguageModel,
        Self::CodesSource,
        Self::RemoteSong,
        Self::CodesSink,
        Self::Segmenter,
        Self::FlowWorker,
        Self::RemoteFlow,
        Self::Vocoder,
        Self::Stitcher,
        Self::WavSink,
        Self::SpeakerSink,
        Self::SubscriberSink,
    ];

    /// Its name: in messages, in records, and of its thread (so at most 15 bytes, all that Linux keeps).
    pub const fn name(self) -> &'static str {
        match self {
            Self::PromptTokenizer => "tokenizer",
            Self::LanguageModel => "language_model",
            Self::CodesSource => "codes_source",
            Self::RemoteSong => "remote_song",
            Self::CodesSink => "codes_sink",
            Self::Segmenter => "segmenter",
            Self::FlowWorker => "flow_worker",
            Self::RemoteFlow => "remote_flow",
            Self::Vocoder => "vocoder",
            Self::Stitcher => "stitcher",
            Self::WavSink => "wav_sink",
            Self::SpeakerSink => "speaker_sink",
            Self::SubscriberSink => "subscriber_sink",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_listed_once_and_its_name_fits_a_thread() {
        for (place, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(Stage::ALL.iter().position(|other| other.name() == stage.name()), Some(place));
            assert_eq!(*stage as usize, place);
            assert!(stage.name().len() <= 15, "{stage}");
        }
    }
}
