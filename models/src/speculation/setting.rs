//! Setting of speculative decoding: how a song is drafted, as a user writes it.

use std::{fmt, str::FromStr};

/// Frames that may be drafted at once; more would hardly ever be right.
pub const MOST_FRAMES: usize = 16;

/// How the next frames of a song are found. The song does not depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Speculation {
    /// Adaptive, by times measured while the song is written.
    #[default]
    Auto,
    /// One code after the other.
    Off,
    /// With these drafters, asked in this order, and a number of drafted frames a round.
    Fixed {
        /// The drafters.
        drafters: Vec<DrafterName>,
        /// Frames that are drafted at once. With 0 only the codes of one frame are guessed and verified together.
        frames: usize,
    },
}

/// A way of drafting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrafterName {
    /// No frames: the codes of each frame are guessed and verified at once.
    DepthJacobi,
    /// What the target drew behind the last right frame.
    CarryOver,
    /// What followed the same frames before.
    NGram,
    /// Trained heads, one for each coming frame.
    Heads,
    /// The trained heads, with the path of the best sum of scores in the place of one choice after the other.
    HeadsViterbi,
    /// A trained map from one state of the backbone to the next.
    NextState,
    /// The depth decoder on the backbone's last output.
    DepthDecoder,
}

impl DrafterName {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DepthJacobi,
        Self::CarryOver,
        Self::NGram,
        Self::Heads,
        Self::HeadsViterbi,
        Self::NextState,
        Self::DepthDecoder,
    ];

    /// Its name in options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DepthJacobi => "depth-jacobi",
            Self::CarryOver => "carry-over",
            Self::NGram => "ngram",
            Self::Heads => "heads",
            Self::HeadsViterbi => "heads-viterbi",
            Self::NextState => "next-state",
            Self::DepthDecoder => "depth-decoder",
        }
    }

    /// Whether it needs the drafter that was trained for a checkpoint.
    pub const fn is_trained(self) -> bool {
        matches!(self, Self::Heads | Self::HeadsViterbi | Self::NextState)
    }
}

impl fmt::Display for DrafterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Speculation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Fixed { drafters, frames } => {
                let names: Vec<&str> = drafters.iter().map(|drafter| drafter.name()).collect();
                write!(f, "{}:{frames}", names.join(","))
            }
        }
    }
}

impl FromStr for Speculation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "off" => return Ok(Self::Off),
            _ => (),
        }
        let (names, frames) = match text.split_once(':') {
            None => (text, None),
            Some((names, frames)) => (names, Some(frames)),
        };
        let known = |name: &str| DrafterName::ALL.into_iter().find(|drafter| drafter.name() == name);
        let drafter = |name: &str| {
            let names = DrafterName::ALL.map(DrafterName::name).join(", ");
            known(name).ok_or_else(|| format!("expected auto, off, or drafters out of {names}; found {name:?}"))
        };
        let drafters = names.split(',').map(drafter).collect::<Result<Vec<_>, _>>()?;
        let alone = drafters == [DrafterName::DepthJacobi];
        let frames = match frames {
            None => usize::from(!alone) * 2,
            Some(text) => text.parse().ok().filter(|frames| *frames <= MOST_FRAMES).ok_or_else(|| {
                format!("expected a count of frames from 0 to {MOST_FRAMES} behind the colon; found {text:?}")
            })?,
        };
        if alone && frames > 0 {
            return Err("depth-jacobi drafts no frames: write depth-jacobi, or another drafter".to_owned());
        }
        Ok(Self::Fixed { drafters, frames })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_shown() {
        let shown = |text: &str| text.parse::<Speculation>().map(|speculation| speculation.to_string());
        for text in ["auto", "off", "depth-jacobi:0", "carry-over:4", "ngram,carry-over:0", "heads,carry-over:16"] {
            assert_eq!(shown(text), Ok(text.to_owned()));
        }
        assert_eq!(shown("depth-jacobi"), Ok("depth-jacobi:0".to_owned()));
        assert_eq!(shown("ngram"), Ok("ngram:2".to_owned()));
        for wrong in ["", "on", "ngram:", "ngram:17", "ngram:-1", "ngram,,heads", ":3", "depth-jacobi:1", "ngram:2:3"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
