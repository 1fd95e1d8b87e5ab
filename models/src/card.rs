//! Model card: what the makers of a checkpoint measured on its songs.

use serde::Deserialize;

use crate::{text::decode, weights::Checkpoint};

/// The file of a checkpoint that holds its card. None of the published checkpoints has one.
pub const CARD_FILE: &str = "card.json";
/// A longer file than this is no card.
const MOST_BYTES: usize = 1 << 16;
/// The largest gain of either sign, in decibels: more is no level of music.
const MOST_GAIN: f64 = 60.0;

/// What a checkpoint's card says of its songs.
///
/// ```
/// use heartstream_models::ModelCard;
///
/// let card = ModelCard::parse(br#"{ "gain_db": 3.8, "seconds_per_line": [2.0, 3.2, 5.0] }"#)?;
/// assert_eq!(card.gain_db, Some(3.8));
/// # Ok::<_, String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[non_exhaustive]
pub struct ModelCard {
    /// The gain in decibels that brings the median song to -16 LUFS.
    pub gain_db: Option<f64>,
    /// Seconds of music for each sung line: the 10th, 50th and 90th percentile of its songs.
    pub seconds_per_line: Option<[f64; 3]>,
}

impl ModelCard {
    /// The card of a checkpoint; an empty one where it has none.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, String> {
        if !checkpoint.has(CARD_FILE) {
            return Ok(Self::default());
        }
        let bytes = checkpoint.file(CARD_FILE).map_err(|error| error.to_string())?;
        let shown = checkpoint.path_of(CARD_FILE);
        Self::parse(&bytes).map_err(|reason| format!("{}: {reason}", shown.display()))
    }

    /// Reads a card. Fields of other names are ignored.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MOST_BYTES {
            return Err("it is longer than 64 KiB, so it is no model card".to_owned());
        }
        let text = decode(bytes).map_err(|error| format!("it is {error}"))?;
        let card: Self = serde_json::from_str(&text).map_err(|error| format!("it is no model card ({error})"))?;
        if let Some(gain) = card.gain_db.filter(|gain| gain.abs() > MOST_GAIN) {
            return Err(format!("gain_db must be from -{MOST_GAIN} to {MOST_GAIN}, but is {gain}"));
        }
        let rises = |[low, median, high]: &[f64; 3]| 0.0 <= *low && low <= median && median <= high;
        match card.seconds_per_line {
            Some(seconds) if !rises(&seconds) => {
                Err(format!("seconds_per_line must be three numbers that rise from at least 0, but is {seconds:?}"))
            }
            _ => Ok(card),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_what_it_knows_and_nothing_is_wrong_with_knowing_less() {
        assert_eq!(ModelCard::parse(b"{}"), Ok(ModelCard::default()));
        let card = ModelCard::parse(br#"{ "author": "me", "seconds_per_line": [0, 1, 1] }"#).unwrap();
        assert_eq!((card.gain_db, card.seconds_per_line), (None, Some([0.0, 1.0, 1.0])));
    }

    #[test]
    fn what_is_no_card_is_refused_with_a_reason() {
        let long = [b' '; MOST_BYTES + 1];
        for (bytes, reason) in [
            (&b""[..], "no model card"),
            (b"[]", "no model card"),
            (b"{ \"gain_db\": \"loud\" }", "no model card"),
            (b"{ \"gain_db\": 1e300 }", "from -60 to 60"),
            (b"{ \"seconds_per_line\": [1, 2] }", "no model card"),
            (b"{ \"seconds_per_line\": [3, 2, 4] }", "that rise"),
            (b"{ \"seconds_per_line\": [-1, 2, 4] }", "that rise"),
            (b"\xff\xfe\x00", "it is"),
            (&long, "64 KiB"),
        ] {
            let refused = ModelCard::parse(bytes).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
