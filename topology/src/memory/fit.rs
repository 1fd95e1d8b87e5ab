//! Memory fit: the ways to make a song within the memory limits of the machine and of its GPUs.

use heartstream_messages::SongRequest;
use heartstream_models::{DeviceName, ModelDirectory, WeightDtype, weights::Storage};

use super::{MemoryLimits, MemoryPlan, MemorySize, SongSize};
use crate::{error::EngineError, plan::Plan};

/// A way of making a song.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fit {
    /// How the codec's weights are stored.
    pub codec: Storage,
    /// Whether the language model writes the whole song before the codec is loaded.
    pub one_after_the_other: bool,
    /// Bytes that it takes of each memory at most, estimated.
    needs: Vec<(DeviceName, u64)>,
    /// Bytes that another song beside it takes of each.
    another: Vec<(DeviceName, u64)>,
}

impl Fit {
    /// The first memory of which it takes more than it may.
    fn exceeds(&self, limits: &MemoryLimits) -> Option<(DeviceName, MemorySize)> {
        let limit = |(device, needs): &(DeviceName, u64)| {
            limits.of(*device).filter(|limit| *needs > limit.0).map(|limit| (*device, limit))
        };
        self.needs.iter().find_map(limit)
    }

    /// Songs at once that all memories have room for; at least one.
    pub fn songs_within(&self, limits: &MemoryLimits) -> usize {
        let beside = self.another.iter().filter_map(|(device, another)| {
            let free = limits.of(*device)?.0.saturating_sub(self.needs_of(*device).0);
            Some(free / (*another).max(1))
        });
        1 + beside.min().map_or(usize::MAX - 1, |songs| usize::try_from(songs).unwrap_or(usize::MAX - 1))
    }

    fn needs_of(&self, device: DeviceName) -> MemorySize {
        MemorySize(self.needs.iter().find(|(name, _)| *name == device).map_or(0, |(_, needs)| *needs))
    }

    /// What it changes of what was asked for, in a sentence; `tight` is the memory that is too small for that, and its limit.
    fn sentence(&self, tight: (DeviceName, MemorySize), asked: Storage) -> Option<String> {
        let ((device, limit), estimated) = (tight, self.needs_of(tight.0));
        let within = format!("to stay within {limit} of {} ({estimated} are estimated)", memory_of(device));
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

/// A device's memory, as a sentence names it.
pub(crate) fn memory_of(device: DeviceName) -> String {
    if device.is_cpu() { "memory".to_owned() } else { format!("{device}'s memory") }
}

/// The first way that fits, and what it changes, in a sentence: as asked; with a codec in f16, where it is not said how it
/// is to be stored; one half of the model after the other, with either codec.
///
/// # Errors
/// When none fits, with what the least would need; or when a file of the model is missing or damaged.
pub(crate) fn fit(
    limits: &MemoryLimits,
    directory: &ModelDirectory,
    asked: Storage,
    plan: &Plan,
    song: &SongSize,
) -> Result<(Fit, Option<String>), EngineError> {
    let half = Storage::As(WeightDtype::F16);
    let mut codecs = vec![asked];
    codecs.extend(Some(half).filter(|_| asked == Storage::Auto));
    let estimate = codecs.into_iter().map(|codec| {
        let directory = directory.clone().stored_as(directory.lm_storage, codec);
        Ok((codec, MemoryPlan::estimate(&directory, plan, song)?))
    });
    let ways = estimate.collect::<Result<Vec<_>, EngineError>>()?;
    let streaming = ways.iter().map(|(codec, plan)| (*codec, false, plan));
    let in_turn = ways.iter().map(|(codec, plan)| (*codec, true, plan));
    let ways = streaming.chain(in_turn).map(|(codec, one_after_the_other, plan)| {
        let needs = |device| match one_after_the_other {
            true => (device, plan.one_after_the_other_on(device)),
            false => (device, plan.streaming_on(device)),
        };
        let another = plan.places().map(|device| (device, plan.another_song_on(device))).collect();
        Fit { codec, one_after_the_other, needs: plan.places().map(needs).collect(), another }
    });
    first_within(limits, ways.collect(), asked)
}

impl MemoryPlan {
    /// How the codec is stored so that a saved song is decoded within the limits, and what that changes, in a sentence.
    ///
    /// # Errors
    /// When no way fits, with what the least would need; or when a file of the codec is missing or damaged.
    pub fn codec_within(
        limits: &MemoryLimits,
        directory: &ModelDirectory,
        asked: Storage,
        plan: &Plan,
        request: &SongRequest,
    ) -> Result<(Storage, Option<String>), EngineError> {
        let song = SongSize::of(request, 0)?;
        let codecs = [Some(asked), Some(Storage::As(WeightDtype::F16)).filter(|_| asked == Storage::Auto)];
        let estimate = codecs.into_iter().flatten().map(|codec| {
            let directory = directory.clone().stored_as(directory.lm_storage, codec);
            let plan = Self::estimate_decoding(&directory, plan, &song)?;
            let needs = plan.places().map(|device| (device, plan.streaming_on(device))).collect();
            Ok(Fit { codec, one_after_the_other: false, needs, another: Vec::new() })
        });
        let ways = estimate.collect::<Result<Vec<Fit>, EngineError>>()?;
        let (fit, sentence) = first_within(limits, ways, asked).map_err(|error| match error {
            EngineError::Memory { memory, limit, needs, .. } => EngineError::DecodingMemory { memory, limit, needs },
            error => error,
        })?;
        Ok((fit.codec, sentence))
    }
}

/// The first of several ways that fits, the first of which is as was asked for.
fn first_within(limits: &MemoryLimits, ways: Vec<Fit>, asked: Storage) -> Result<(Fit, Option<String>), EngineError> {
    let tight = ways.first().and_then(|way| way.exceeds(limits));
    if let Some(fit) = ways.iter().find(|way| way.exceeds(limits).is_none()) {
        return Ok((fit.clone(), tight.and_then(|tight| fit.sentence(tight, asked))));
    }
    // Of the ways that exceed some limit, the last one takes the least.
    let over = ways.last().and_then(|way| way.exceeds(limits)).or(tight);
    let (device, limit) = over.unwrap_or((DeviceName::Cpu, MemorySize(0)));
    Err(EngineError::Memory {
        memory: memory_of(device),
        limit,
        needs: ways.iter().map(|way| way.needs_of(device)).min().unwrap_or(MemorySize(0)),
        streaming: ways.first().map_or(MemorySize(0), |way| way.needs_of(device)),
    })
}

#[cfg(test)]
mod tests {
    use heartstream_models::Devices;
    use heartstream_tools::synth::SynthSize;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Placement;

    fn limits(gigabytes: f64) -> MemoryLimits {
        MemorySize((gigabytes * 1e9) as u64).into()
    }

    fn fit_on(
        devices: Devices,
        limits: &MemoryLimits,
        size: SynthSize,
        asked: Storage,
    ) -> Result<(Fit, Option<String>), EngineError> {
        let directory = heartstream_tools::synth::random_model(size, 1).expect("a model");
        let placement = Placement { flow_workers: 1, threads: Some(2), devices, ..Placement::default() };
        let song = SongSize::of(&SongRequest::new("a", "b"), 500).expect("a song");
        fit(limits, &directory, asked, &Plan::new(&placement).expect("a plan"), &song)
    }

    fn way(gigabytes: f64, size: SynthSize, asked: Storage) -> Result<Fit, EngineError> {
        fit_on(Devices::default(), &limits(gigabytes), size, asked).map(|(fit, _)| fit)
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
            fit_on(Devices::default(), &limits(gigabytes), SynthSize::Full, Storage::Auto).expect("a way").1
        };
        assert_eq!(sentence(16.0), None);
        let half = sentence(12.0).expect("the codec is narrowed");
        assert!(half.contains("12.00 GB") && half.ends_with("the codec is stored in f16"), "{half}");
        let in_turn = sentence(9.0).expect("nothing streams");
        assert!(in_turn.ends_with("nothing sounds before that") && !in_turn.contains("f16"), "{in_turn}");
    }

    #[test]
    fn a_saved_song_is_decoded_by_a_codec_in_f16_where_that_fits_and_refused_where_nothing_does() {
        let directory = heartstream_tools::synth::random_model(SynthSize::Full, 1).expect("a model");
        let plan = Plan::new(&Placement { flow_workers: 1, threads: Some(2), ..Placement::default() }).expect("a plan");
        let fit = |gigabytes: f64, asked| {
            MemoryPlan::codec_within(&limits(gigabytes), &directory, asked, &plan, &SongRequest::new("a", "b"))
        };
        assert_eq!(fit(9.0, Storage::Auto).expect("a way"), (Storage::Auto, None));
        let (codec, sentence) = fit(5.0, Storage::Auto).expect("a way");
        assert_eq!(codec, Storage::As(WeightDtype::F16));
        assert!(sentence.is_some_and(|sentence| sentence.ends_with("the codec is stored in f16")));
        let refused = fit(5.0, Storage::As(WeightDtype::F32)).expect_err("it was chosen").to_string();
        assert!(refused.starts_with("decoding needs") && refused.contains("codec as f16"), "{refused}");
        assert!(fit(1.0, Storage::Auto).is_err());
    }

    #[test]
    fn a_small_card_gets_one_half_after_the_other_and_a_large_one_everything_whatever_the_machine_has() {
        let gpu = Devices::all(DeviceName::Cuda(0));
        let on = |limits: &str| {
            let limits = limits.parse().expect("limits");
            fit_on(gpu, &limits, SynthSize::Full, Storage::Auto).expect("a way")
        };
        let (fit, sentence) = on("cuda:0=24GB");
        assert_eq!((fit.codec, fit.one_after_the_other, sentence), (Storage::Auto, false, None));
        let (fit, sentence) = on("cuda:0=14GB");
        assert_eq!((fit.codec, fit.one_after_the_other), (Storage::As(WeightDtype::F16), false));
        assert!(sentence.is_some_and(|sentence| sentence.contains("14.00 GB of cuda:0's memory")));
        let (fit, sentence) = on("cpu=2GB,cuda:0=9GB");
        assert!(fit.one_after_the_other && fit.needs_of(DeviceName::Cpu).0 < 2_000_000_000, "{fit:?}");
        assert!(sentence.is_some_and(|sentence| sentence.ends_with("nothing sounds before that")));
        let error = fit_on(gpu, &limits(4.0), SynthSize::Full, Storage::Auto).expect_err("too little").to_string();
        assert!(error.contains("of cuda:0's memory") && error.contains("4.00 GB"), "{error}");
    }

    #[test]
    fn a_card_of_8_gb_makes_a_song_of_four_minutes_one_half_after_the_other_and_says_so() {
        let directory = heartstream_tools::synth::random_model(SynthSize::Full, 1).expect("a model");
        let devices = Devices::all(DeviceName::Cuda(0));
        let placement = Placement { flow_workers: 1, threads: Some(2), devices, ..Placement::default() };
        let plan = Plan::new(&placement).expect("a plan");
        let request = SongRequest { max_frames: crate::units::Seconds(240.0).frames(), ..SongRequest::new("a", "b") };
        let song = SongSize::of(&request, 200).expect("a song");
        // Of 8 GiB the driver keeps some 0.1 for itself.
        let limits = "cuda:0=7.9GiB".parse().expect("limits");
        let (fit, sentence) = fit(&limits, &directory, Storage::Auto, &plan, &song).expect("a way");
        assert!(fit.one_after_the_other, "{fit:?}");
        assert!(sentence.is_some_and(|sentence| sentence.ends_with("nothing sounds before that")));
    }

    #[test]
    fn each_gpu_is_asked_for_what_it_computes() {
        let gpus = Devices { lm: DeviceName::Cuda(0), flow: DeviceName::Cuda(1), vocoder: DeviceName::Cuda(1) };
        let (fit, _) =
            fit_on(gpus, &MemoryLimits::default(), SynthSize::Full, Storage::As(WeightDtype::F16)).expect("a way");
        let needs = [0, 1].map(|gpu| fit.needs_of(DeviceName::Cuda(gpu)).0 as f64);
        assert!((7.5e9..9.5e9).contains(&needs[0]) && (3.5e9..6e9).contains(&needs[1]), "{fit:?}");
    }

    #[test]
    fn a_codec_whose_storage_was_chosen_stays_as_it_is() {
        let wide = Storage::As(WeightDtype::F32);
        let fit = way(12.0, SynthSize::Full, wide).expect("a way");
        assert_eq!((fit.codec, fit.one_after_the_other), (wide, true));
    }

    #[test]
    fn what_fits_in_no_way_is_refused_with_what_it_would_need_and_what_helps() {
        let error = way(5.0, SynthSize::Full, Storage::Auto).expect_err("too little").to_string();
        for part in ["5.00 GB", "needs 7.", "Shorten it", "codec as f16", "raise the limit"] {
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
                .map(|needs| Fit {
                    codec: Storage::Auto,
                    one_after_the_other: false,
                    needs: vec![(DeviceName::Cpu, *needs)],
                    another: Vec::new(),
                })
                .collect();
            match first_within(&MemorySize(limit).into(), ways, Storage::Auto) {
                Ok((fit, _)) => prop_assert!(fit.needs_of(DeviceName::Cpu).0 <= limit),
                Err(_) => prop_assert!(needs.iter().all(|needs| *needs > limit)),
            }
        }

        #[test]
        fn with_any_limit_a_real_model_gets_a_way_within_it_or_a_refusal_that_names_more(limit in 1u64..400) {
            match way(limit as f64 / 1e3, SynthSize::Small, Storage::Auto) {
                Ok(fit) => prop_assert!(fit.needs_of(DeviceName::Cpu).0 <= limit * 1_000_000),
                Err(EngineError::Memory { needs, .. }) => prop_assert!(needs.0 > limit * 1_000_000),
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }
}
