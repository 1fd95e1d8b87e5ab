//! Orders: what a client asks for, and the songs that it means.

use heartstream::{
    Continuity, FirstWindow, Flow, Sampling, SongRequest,
    models::SongDefaults,
    units::{Frames, Seconds},
};
use heartstream_formats::Format;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{error::ApiError, options::Limits, whole_number::whole_number};

/// A song to be made. Only words are needed.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// What it should sound like: words with commas between.
    #[serde(default)]
    #[schema(example = "piano,calm,warm")]
    pub tags: String,
    /// What is sung, with section marks such as `[Verse]` on lines of their own.
    #[schema(example = "[Verse]\nThe window clears", min_length = 1, pattern = "\\S")]
    pub lyrics: String,
    /// The same order with the same seed is the same song. Another one each time where it is left out.
    #[serde(default, deserialize_with = "whole_number")]
    pub seed: Option<u64>,
    /// Songs of these words, with seeds that follow each other.
    #[schema(minimum = 1, maximum = 4)]
    #[serde(default, deserialize_with = "whole_number")]
    pub takes: Option<usize>,
    /// The longest song, in seconds; the model may end it before.
    #[schema(example = 30.0, minimum = 0.08, maximum = 240.0)]
    pub seconds: Option<f64>,
    /// How adventurous: 0 takes the likeliest code always. Where this and the four options below are left out, the
    /// model's own defaults are taken, which `/v1/models` says.
    #[schema(minimum = 0.0, maximum = 1000.0)]
    pub temperature: Option<f32>,
    /// Draw only from so many of the likeliest codes.
    #[schema(minimum = 1)]
    #[serde(default, deserialize_with = "whole_number")]
    pub top_k: Option<usize>,
    /// How far the words lead the song: 1 not at all.
    #[schema(minimum = 1.0, maximum = 1000.0)]
    pub cfg_scale: Option<f64>,
    /// Steps of flow matching.
    #[schema(minimum = 1, maximum = 100)]
    #[serde(default, deserialize_with = "whole_number")]
    pub flow_steps: Option<usize>,
    /// How far the codes lead the sound: 1 not at all.
    #[schema(minimum = 1.0, maximum = 1000.0)]
    pub flow_guidance: Option<f32>,
    /// Frames of the first window, of 80 ms each: fewer sound sooner, more sound better.
    #[schema(minimum = 1, maximum = 372)]
    #[serde(default, deserialize_with = "whole_number")]
    pub first_window: Option<u64>,
    /// `wav`, `wav-s24`, `wav-f32`, `flac`, `flac-24`, `opus` or `mp3`.
    #[schema(example = "wav")]
    pub format: Option<String>,
    /// Whether the song ends when its last listener leaves.
    #[serde(default)]
    pub while_listened: bool,
}

/// The largest temperature and guidance: a hundred times what is usual, and far from what `f32` holds.
const MOST: f64 = 1000.0;

/// The songs that an order means.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub requests: Vec<SongRequest>,
    pub format: Format,
    pub while_listened: bool,
}

impl Order {
    /// The songs, as far as their options are in range; whether the model can sing the words is the engine's to say.
    /// What the order leaves out is the model's default.
    pub fn check(&self, limits: &Limits, defaults: &SongDefaults) -> Result<Checked, ApiError> {
        let refused = |what: &str, expected: String| Err(ApiError::Refused(format!("{what} must be {expected}")));
        let takes = self.takes.unwrap_or(1);
        if !(1..=limits.takes).contains(&takes) {
            return refused("takes", format!("from 1 to {}, but is {takes}", limits.takes));
        }
        let seconds = self.seconds.unwrap_or(limits.seconds);
        if !(seconds > 0.0 && seconds <= limits.seconds) {
            return refused("seconds", format!("above 0 and at most {}, but is {seconds}", limits.seconds));
        }
        if let Some(steps) = self.flow_steps.filter(|steps| *steps > limits.flow_steps) {
            return refused("flow_steps", format!("at most {}, but is {steps}", limits.flow_steps));
        }
        let strengths = [
            ("temperature", self.temperature.map(f64::from)),
            ("cfg_scale", self.cfg_scale),
            ("flow_guidance", self.flow_guidance.map(f64::from)),
        ];
        if let Some((what, found)) =
            strengths.iter().find_map(|(what, found)| Some((what, found.filter(|found| *found > MOST)?)))
        {
            return refused(what, format!("at most {MOST}, but is {found}"));
        }
        let format = self.format.as_deref().unwrap_or("wav");
        let format: Format = format.parse().map_err(|error| ApiError::Refused(format!("{error}")))?;
        format.check()?;
        let first_seed = match self.seed {
            Some(seed) => seed,
            None => another_seed()?,
        };
        let SongDefaults { sampling, flow } = defaults;
        let first = SongRequest {
            seed: first_seed,
            max_frames: Seconds(seconds).frames(),
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(sampling.temperature),
                top_k: self.top_k.unwrap_or(sampling.top_k),
                cfg_scale: self.cfg_scale.unwrap_or(sampling.cfg_scale),
            },
            flow: Flow {
                steps: self.flow_steps.unwrap_or(flow.steps),
                guidance: self.flow_guidance.unwrap_or(flow.guidance),
            },
            continuity: Continuity::default(),
            first_window: FirstWindow { most: self.first_window.map_or(FirstWindow::USUAL, Frames), deadline: None },
            ..SongRequest::new(self.tags.clone(), self.lyrics.clone())
        };
        let take = |take: u64| SongRequest { seed: first_seed.wrapping_add(take), ..first.clone() };
        let requests = (0..takes as u64).map(take).collect();
        Ok(Checked { requests, format, while_listened: self.while_listened })
    }
}

/// A seed that is short enough to be typed again.
fn another_seed() -> Result<u64, ApiError> {
    let mut random = [0; 3];
    getrandom::fill(&mut random).map_err(|error| ApiError::Internal(format!("no random numbers: {error}")))?;
    Ok(random.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(order: &str) -> Result<Checked, ApiError> {
        let order: Order = serde_json::from_str(order).expect("an order");
        order.check(&Limits::default(), &SongDefaults::default())
    }

    #[test]
    fn takes_have_seeds_that_follow_each_other_and_are_otherwise_alike() {
        let checked = checked(r#"{"tags":"piano","lyrics":"la","seed":18446744073709551615,"takes":3}"#).unwrap();
        let seeds: Vec<u64> = checked.requests.iter().map(|request| request.seed).collect();
        assert_eq!(seeds, [u64::MAX, 0, 1]);
        let alike = |request: &SongRequest| SongRequest { seed: 0, ..request.clone() };
        assert!(checked.requests.iter().all(|request| alike(request) == alike(&checked.requests[0])));
    }

    #[test]
    fn an_order_wins_over_the_models_defaults_and_what_it_leaves_out_is_theirs() {
        let sampling = Sampling { temperature: 0.0, top_k: 7, cfg_scale: 3.0 };
        let defaults = SongDefaults { sampling, flow: Flow { steps: 3, guidance: 2.0 } };
        let request = |order: &str| {
            let order: Order = serde_json::from_str(order).expect("an order");
            order.check(&Limits::default(), &defaults).expect("in range").requests.remove(0)
        };
        let plain = request(r#"{"lyrics":"la"}"#);
        assert_eq!((plain.sampling, plain.flow), (defaults.sampling, defaults.flow));
        let asked = request(r#"{"lyrics":"la","temperature":0.5,"flow_guidance":1.5}"#);
        assert_eq!(asked.sampling, Sampling { temperature: 0.5, ..sampling });
        assert_eq!(asked.flow, Flow { guidance: 1.5, ..defaults.flow });
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_its_name() {
        for (order, name) in [
            (r#"{"lyrics":"la","takes":0}"#, "takes"),
            (r#"{"lyrics":"la","takes":5}"#, "takes"),
            (r#"{"lyrics":"la","seconds":0}"#, "seconds"),
            (r#"{"lyrics":"la","seconds":-1}"#, "seconds"),
            (r#"{"lyrics":"la","seconds":1e300}"#, "seconds"),
            (r#"{"lyrics":"la","format":"ogg"}"#, "format"),
            (r#"{"lyrics":"la","flow_steps":101}"#, "flow_steps"),
            (r#"{"lyrics":"la","temperature":1e300}"#, "temperature"),
            (r#"{"lyrics":"la","cfg_scale":1001}"#, "cfg_scale"),
        ] {
            let refused = checked(order).unwrap_err().to_string();
            assert!(refused.contains(name), "{order}: {refused}");
        }
        assert!(serde_json::from_str::<Order>(r#"{"lyric":"la"}"#).is_err(), "a misspelt field is not passed over");
    }
}
