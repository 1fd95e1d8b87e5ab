//! Request for a song: words, seed, length, and how to sample and decode.

use serde::{Deserialize, Serialize};

use crate::units::{Frames, Seconds};

/// A song to be made.
///
/// ```
/// use heartstream_messages::{Continuity, SongRequest, units::Seconds};
///
/// let request = SongRequest {
///     seed: 7,
///     max_frames: Seconds(30.0).frames(),
///     continuity: Continuity::Parallel,
///     ..SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in across the floor")
/// };
/// assert_eq!(request.max_frames.0, 375); // frames of 80 ms
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SongRequest {
    /// What it should be like: words with commas between, such as `piano,happy`.
    pub tags: String,
    /// What is sung, with section marks such as `[Verse]` on lines of their own.
    pub lyrics: String,
    /// The same request with the same seed is the same song.
    pub seed: u64,
    /// The song ends here at the latest; the model may end it before.
    pub max_frames: Frames,
    /// How codes are drawn.
    pub sampling: Sampling,
    /// How codes become latents.
    pub flow: Flow,
    /// How the song is cut into windows.
    pub continuity: Continuity,
    /// How long the first window is.
    pub first_window: FirstWindow,
    /// Look-ahead: trailing frames of a chained window that are not played. The next window computes them again, with
    /// codes behind them.
    #[serde(default = "usual_look_ahead")]
    pub look_ahead: Frames,
}

fn usual_look_ahead() -> Frames {
    SongRequest::USUAL_LOOK_AHEAD
}

/// How a song is cut into windows, and how they are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuity {
    /// The reference's windows of 29.76 s, to the number.
    Reference,
    /// Windows that start small and grow; each goes on from the latents of the one before, whose end it computes again.
    #[default]
    Chained,
    /// Windows that start small and grow and know nothing of each other; workers decode them side by side.
    Parallel,
}

/// How long the first window is, and so how soon the first sound comes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FirstWindow {
    /// Its length at most …
    pub most: Frames,
    /// … and as many fewer as it takes for the first sound to come in time, at the rates measured in this run. Without
    /// a deadline its length, and so the song, does not depend on the machine.
    pub deadline: Option<Seconds>,
}

impl Default for FirstWindow {
    fn default() -> Self {
        Self { most: Self::USUAL, deadline: None }
    }
}

impl FirstWindow {
    /// Long enough for the model to sound like itself, short enough for a first sound within a second on a machine
    /// that is a few times faster than real time; `heartstream bench continuity` measures what it costs.
    pub const USUAL: Frames = Frames(48);
    /// For the soonest sound: half a second is played of it. On a GPU, engines prepare for this length and the usual one.
    pub const SHORT: Frames = Frames(12);
    /// As long as windows are: a song that is no longer is decoded in one piece.
    pub const LONGEST: Frames = Frames(372);
    /// When the first sound of a song that is listened to shall be there.
    pub const USUAL_DEADLINE: Seconds = Seconds(10.0);
}

/// How codes are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the likeliest code always.
    pub temperature: f32,
    /// Only the likeliest codes can be drawn.
    pub top_k: usize,
    /// How far the words lead the song: 1 is no guidance.
    pub cfg_scale: f64,
}

/// How codes become latents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Euler steps.
    pub steps: usize,
    /// How far the codes lead the sound: 1 is no guidance.
    pub guidance: f32,
}

/// The reference's defaults: `music_generation.py` and the command line of `run_music_generation.py`.
impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 50, cfg_scale: 1.5 }
    }
}

/// The reference's defaults: `HeartCodec.detokenize`.
impl Default for Flow {
    fn default() -> Self {
        Self { steps: 10, guidance: 1.25 }
    }
}

impl SongRequest {
    /// Longest song by default: the 240 s of the reference's command line.
    pub const DEFAULT_LENGTH: Seconds = Seconds(240.0);

    /// Frames of look-ahead at which no seam of the demo model can be told from any other place (`docs/continuity.md`).
    pub const USUAL_LOOK_AHEAD: Frames = Frames(12);

    /// A song of these words with seed 0 and the reference's defaults, whatever the model's own are.
    pub fn new(tags: impl Into<String>, lyrics: impl Into<String>) -> Self {
        Self {
            tags: tags.into(),
            lyrics: lyrics.into(),
            seed: 0,
            max_frames: Self::DEFAULT_LENGTH.frames(),
            sampling: Sampling::default(),
            flow: Flow::default(),
            continuity: Continuity::default(),
            first_window: FirstWindow::default(),
            look_ahead: Self::USUAL_LOOK_AHEAD,
        }
    }

    /// Takes of this request: the same words with this seed, the next one, and so on.
    ///
    /// ```
    /// use heartstream_messages::SongRequest;
    ///
    /// let request = SongRequest { seed: 7, ..SongRequest::new("piano", "[Verse]\nThe sun creeps in") };
    /// let seeds: Vec<u64> = request.takes(3).map(|take| take.seed).collect();
    /// assert_eq!(seeds, [7, 8, 9]);
    /// ```
    pub fn takes(&self, count: u64) -> impl Iterator<Item = Self> + '_ {
        (0..count).map(|take| Self { seed: self.seed.wrapping_add(take), ..self.clone() })
    }
}
