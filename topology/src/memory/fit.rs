//! Memory fit: the ways to make a song within a memory limit.

use heartstream_messages::SongRequest;
use heartstream_models::{ModelDirectory, WeightDtype, weights::Storage};

use super::{MemoryPlan, MemorySize, SongSize};
use crate::{error::EngineError, plan::Plan};

/// A way of making a song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fit {
    /// How the codec's weights are stored.
    pub codec: Storage,
    /// Whether the language model writes the whole song before the codec is loaded.
    pub one_after_the_other: bool,
    /// Estimated peak memory in bytes.
    pub needs: u64,
}

impl Fit {
    /// What it changes of what was asked for, in a sentence.
    pub fn sentence(&self, limit: MemorySize, asked: Storage) -> Option<String> {
        let within = format!("to stay within {limit} of memory ({} are estimated)", MemorySize(self.needs));
        let codec = if self.codec == asked { "" } else { "the codec is stored in f16" };
        match (self.one_after_the_other, codec) {
            (false, "") => None,
            (false, codec) => Some(format!("{within}, {codec}")),
            (true, codec) => {
                let and = if codec.is_empty() { String::new() } else { format!("{codec}, and ") };
                Some(format!(
                    "{within}, {and}the language model writes the whole song and is freed before the codec is loaded: \
                     nothing sounds before that"
                ))
            }
        }
    }
}

/// The first way that fits: as asked; with a codec in f16, unless its storage was given; one half of
/// the model after the other, with either codec.
///
/// # Errors
/// When none fits, with what the least would need; or when a file of the model is missing or damaged.
pub(crate) fn fit(
    limit: MemorySize,
    directory: &ModelDirectory,
    asked: Storage,
    plan: &Plan,
    song: &SongSize,
) -> Result<Fit, EngineError> {
    let half = Storage::As(WeightDtype::F16);
    let mut codecs = vec![asked];
    codecs.extend(Some(half).filter(|_| asked == Storage::Auto));
    let estimate = codecs.into_iter().map(|codec| {
        let directory = directory.clone().stored_as(directory.lm_storage, codec);
        Ok((codec, MemoryPlan::estimate(&directory, plan, song)?))
    });
    let ways = estimate.collect::<Result<Vec<_>, EngineError>>()?;
    let streaming = ways.iter().map(|(codec, plan)| (*codec, false, plan.streaming()));
    let in_turn = ways.iter().map(|(codec, plan)| (*codec, true, plan.one_after_the_other()));
    let ways =
        streaming.chain(in_turn).map(|(codec, one_after_the_other, needs)| Fit { codec, one_after_the_other, needs });
    first_within(limit, &ways.collect::<Vec<_>>())
}

/// Storage of the codec with which a saved song is decoded within the limit, and what that changes, in a sentence.
///
/// # Errors
/// As [`fit`].
pub(crate) fn fit_decoding(
    limit: MemorySize,
    directory: &ModelDirectory,
    asked: Storage,
    plan: &Plan,
    request: &SongRequest,
) -> Result<(Storage, Option<String>), EngineError> {
    let song = SongSize::of(request, 0)?;
    let codecs = [Some(asked), Some(Storage::As(WeightDtype::F16)).filter(|_| asked == Storage::Auto)];
    let estimate = codecs.into_iter().flatten().map(|codec| {
        let directory = directory.clone().stored_as(directory.lm_storage, codec);
        let needs = MemoryPlan::estimate_decoding(&directory, plan, &song)?.streaming();
        Ok(Fit { codec, one_after_the_other: false, needs })
    });
    let ways = estimate.collect::<Result<Vec<Fit>, EngineError>>()?;
    let fit = first_within(limit, &ways).map_err(|error| match error {
        EngineError::Memory { limit, needs, .. } => EngineError::DecodingMemory { limit, needs },
        error => error,
    })?;
    Ok((fit.codec, fit.sentence(limit, asked)))
}

fn first_within(limit: MemorySize, ways: &[Fit]) -> Result<Fit, EngineError> {
    let first = ways.iter().find(|way| way.needs <= limit.0).copied();
    first.ok_or_else(|| EngineError::Memory {
        limit,
        needs: MemorySize(ways.iter().map(|way| way.needs).min().unwrap_or(0)),
        streaming: MemorySize(ways.first().map_or(0, |way| way.needs)),
    })
}

#[cfg(test)]
mod tests {
    use heartstream_models::synth::SynthSize;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Placement;

    fn way(gigabytes: f64, size: SynthSize, asked: Storage) -> Result<Fit, EngineError> {
        let directory = ModelDirectory::random(size, 1).expect("a model");
        let plan = Plan::new(&Placement { flow_workers: 1, threads: Some(2), ..Placement::default() }).expect("a plan");
        let song = SongSize::of(&SongRequest::new("a", "b"), 500).expect("a song");
        fit(MemorySize((gigabytes * 1e9) as u64), &directory, asked, &plan, &song)
    }

    #[test]
    fn less_memory_first_narrows_the_codec_and_then_takes_one_half_after_the_other() {
        let half = Storage::As(WeightDtype::F16);
        for (gigabytes, codec, in_turn) in
            [(16.0, Storage::Auto, false), (12.0, half, false), (9.0, Storage::Auto, true)]
        {
            let fit = way(gigabytes, SynthSize::Full, Storage::Auto).expect("a way");
            assert_eq!((fit.codec, fit.one_after_the_other), (codec, in_turn), "{gigabytes} GB: {fit:?}");
        }
    }

    #[test]
    fn what_is_changed_is_said_and_what_is_not_is_not() {
        let sentence = |gigabytes| {
            let fit = way(gigabytes, SynthSize::Full, Storage::Auto).expect("a way");
            fit.sentence(MemorySize((gigabytes * 1e9) as u64), Storage::Auto)
        };
        assert_eq!(sentence(16.0), None);
        let half = sentence(12.0).expect("the codec is narrowed");
        assert!(half.contains("12.00 GB") && half.ends_with("the codec is stored in f16"), "{half}");
        let in_turn = sentence(9.0).expect("nothing streams");
        assert!(in_turn.ends_with("nothing sounds before that") && !in_turn.contains("f16"), "{in_turn}");
    }

    #[test]
    fn a_kept_song_is_decoded_by_a_codec_in_f16_where_that_fits_and_refused_where_nothing_does() {
        let directory = ModelDirectory::random(SynthSize::Full, 1).expect("a model");
        let plan = Plan::new(&Placement { flow_workers: 1, threads: Some(2), ..Placement::default() }).expect("a plan");
        let fit = |gigabytes: f64, asked| {
            let limit = MemorySize((gigabytes * 1e9) as u64);
            fit_decoding(limit, &directory, asked, &plan, &SongRequest::new("a", "b"))
        };
        assert_eq!(fit(9.0, Storage::Auto).expect("a way"), (Storage::Auto, None));
        let (codec, sentence) = fit(5.0, Storage::Auto).expect("a way");
        assert_eq!(codec, Storage::As(WeightDtype::F16));
        assert!(sentence.is_some_and(|sentence| sentence.ends_with("the codec is stored in f16")));
        let refused = fit(5.0, Storage::As(WeightDtype::F32)).expect_err("it was chosen").to_string();
        assert!(refused.starts_with("decoding needs") && refused.contains("--codec-weights f16"), "{refused}");
        assert!(fit(1.0, Storage::Auto).is_err());
    }

    #[test]
    fn a_codec_that_somebody_has_chosen_stays_as_it_is() {
        let wide = Storage::As(WeightDtype::F32);
        let fit = way(12.0, SynthSize::Full, wide).expect("a way");
        assert_eq!((fit.codec, fit.one_after_the_other), (wide, true));
    }

    #[test]
    fn what_fits_in_no_way_is_refused_with_what_it_would_need_and_what_helps() {
        let error = way(5.0, SynthSize::Full, Storage::Auto).expect_err("too little").to_string();
        for part in ["5.00 GB", "needs 7.", "--max-seconds", "--codec-weights f16", "--memory-limit"] {
            assert!(error.contains(part), "{part:?} in {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_way_is_ever_chosen_that_needs_more_than_the_limit_and_none_refused_that_fits(
            limit in 0u64..100, needs in proptest::collection::vec(0u64..100, 1..5),
        ) {
            let ways: Vec<Fit> = needs
                .iter()
                .map(|needs| Fit { codec: Storage::Auto, one_after_the_other: false, needs: *needs })
                .collect();
            match first_within(MemorySize(limit), &ways) {
                Ok(fit) => prop_assert!(fit.needs <= limit),
                Err(_) => prop_assert!(needs.iter().all(|needs| *needs > limit)),
            }
        }

        #[test]
        fn with_any_limit_a_real_model_gets_a_way_within_it_or_a_refusal_that_names_more(limit in 1u64..400) {
            match way(limit as f64 / 1e3, SynthSize::Small, Storage::Auto) {
                Ok(fit) => prop_assert!(fit.needs <= limit * 1_000_000),
                Err(EngineError::Memory { needs, .. }) => prop_assert!(needs.0 > limit * 1_000_000),
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }
}
