//! Runs of the speculation bench: the compared ways of drafting, and their times.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heartstream_actors::prefetcher::{PrefetchRing, PrefetcherArgs};
use heartstream_models::{
    ModelError,
    heartmula::{HeartMula, KeyedSampler, PromptTokens},
    speculation::{
        Completion, Counters, DepthWork, DrafterInputs, DrafterName, DrafterWeights, Frame, MOST_FRAMES,
        PrefetchCounters, Speculation, Speculator,
    },
};
use heartstream_tools::oracle::{AdversarialDrafter, Oracle};

use crate::Failed;

/// What is written again and again.
pub(super) struct Subject {
    pub model: Arc<HeartMula>,
    pub drafter: Option<Arc<DrafterWeights>>,
    /// The same of both that prepares drafts, where that is on a device of its own.
    pub drafting: Option<(Arc<HeartMula>, Option<Arc<DrafterWeights>>)>,
    pub prompt: PromptTokens,
    pub guidance: f64,
    pub frames: usize,
    pub sampler: KeyedSampler,
}

impl Subject {
    pub(super) fn drafter_inputs(&self) -> DrafterInputs<'_> {
        DrafterInputs { model: &self.model, trained: self.drafter.as_ref() }
    }

    fn prefetch_inputs(&self) -> DrafterInputs<'_> {
        match &self.drafting {
            None => self.drafter_inputs(),
            Some((model, trained)) => DrafterInputs { model, trained: trained.as_ref() },
        }
    }

    /// The song, one code after the other, and how long its frames took.
    pub(super) fn plain(&self) -> Result<(Vec<Frame>, Duration), ModelError> {
        let mut state = self.model.start(&self.prompt, self.guidance, self.frames)?;
        let mut sampler = self.sampler.clone();
        let since = Instant::now();
        let frames = (0..self.frames).map(|_| self.model.next_frame(&mut state, &mut sampler));
        Ok((frames.collect::<Result<_, _>>()?, since.elapsed()))
    }
}

/// Who drafts in a run.
#[derive(Debug, Clone, PartialEq)]
enum Who {
    /// As a user asks for it.
    Asked(Speculation),
    /// An oracle that is right with a probability.
    Oracle(f64),
    /// The adaptive policy, with an oracle that is right until it is relied on.
    Adversarial,
}

/// One way of drafting.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    who: Who,
    /// Frames that are drafted at once; `None` where that is chosen in the run.
    pub frames: Option<usize>,
    /// The cores on which drafts are prepared meanwhile.
    pub prefetch: Option<Vec<usize>>,
}

impl Setting {
    /// All that there is to compare.
    pub(super) fn all(
        subject: &Subject,
        counts: &[usize],
        oracles: &[f64],
        draft_cores: Option<&[usize]>,
    ) -> Vec<Self> {
        let asked = |drafters: &[DrafterName], frames, prefetch: Option<&[usize]>| Self {
            who: Who::Asked(Speculation::Fixed { drafters: drafters.to_vec(), frames }),
            frames: Some(frames),
            prefetch: prefetch.map(<[usize]>::to_vec),
        };
        let auto = |prefetch| Self { who: Who::Asked(Speculation::Auto), frames: None, prefetch };
        let mut settings = vec![auto(None)];
        settings.extend(draft_cores.map(|cores| auto(Some(cores.to_vec()))));
        settings.push(Self { who: Who::Adversarial, frames: None, prefetch: None });
        for drafter in DrafterName::ALL {
            if drafter == DrafterName::DepthJacobi {
                settings.push(asked(&[drafter], 0, None));
            } else if !drafter.is_trained() || subject.drafter.is_some() {
                // A drafter that only copies has nothing that could be done meanwhile.
                let worth_hiding = drafter.is_trained() || drafter == DrafterName::DepthDecoder;
                // What is carried over costs nothing, however many.
                let all = drafter == DrafterName::CarryOver && !counts.contains(&MOST_FRAMES);
                for frames in counts.iter().chain(Some(&MOST_FRAMES).filter(|_| all)) {
                    settings.push(asked(&[drafter], *frames, None));
                    if let Some(cores) = draft_cores.filter(|_| worth_hiding) {
                        settings.push(asked(&[drafter], *frames, Some(cores)));
                    }
                }
            }
        }
        for probability in oracles {
            let oracle = |frames| Self { who: Who::Oracle(*probability), frames: Some(frames), prefetch: None };
            settings.push(oracle(0));
            settings.extend(counts.iter().filter(|frames| **frames > 0).map(|frames| oracle(*frames)));
        }
        settings
    }

    /// Its name in tables.
    pub(super) fn drafter(&self) -> String {
        match &self.who {
            Who::Asked(Speculation::Fixed { drafters, .. }) => {
                drafters.iter().map(|drafter| drafter.name()).collect::<Vec<_>>().join(",")
            }
            Who::Asked(other) => other.to_string(),
            Who::Oracle(probability) => format!("oracle:{probability}"),
            Who::Adversarial => "auto, adversarial".to_owned(),
        }
    }

    /// The probability of an oracle.
    pub(super) fn probability(&self) -> Option<f64> {
        match self.who {
            Who::Oracle(probability) => Some(probability),
            Who::Asked(_) | Who::Adversarial => None,
        }
    }

    fn speculator(&self, subject: &Subject, song: &Arc<[Frame]>) -> Result<Speculator, Failed> {
        let sampler = subject.sampler.clone();
        match &self.who {
            Who::Asked(speculation) => {
                let speculator = Speculator::new(speculation, sampler.clone(), &subject.drafter_inputs(), None)?;
                let Some(cores) = self.prefetch.clone() else { return Ok(speculator) };
                let drafters = Speculator::prefetchers(speculation, &subject.prefetch_inputs())?;
                let args = PrefetcherArgs { drafters, sampler, cores, max_wait: Duration::ZERO };
                let ring = PrefetchRing::start(args)
                    .map_err(|error| Failed::Error(format!("the system starts no more threads: {error}")))?;
                Ok(speculator.with_prefetch(Box::new(ring)))
            }
            Who::Adversarial => Ok(Speculator::adapting(vec![Box::new(AdversarialDrafter::new(song)?)], sampler)),
            Who::Oracle(probability) => {
                let oracle = Oracle::new(Arc::clone(song), *probability, 1)?;
                let work = DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail: false };
                let frames = self.frames.unwrap_or(0);
                Ok(Speculator::drafting(vec![Box::new(oracle)], frames, work, sampler).at_least_cost())
            }
        }
    }
}

/// What runs of one setting came to: the fastest of them.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub setting: Setting,
    /// The fastest run.
    pub time: Duration,
    /// The fastest plain run.
    pub plain: Duration,
    pub counters: Counters,
    pub prefetch: Option<(PrefetchCounters, Duration)>,
}

impl Row {
    /// How many times as fast as plain decoding.
    pub(super) fn speedup(&self) -> f64 {
        self.plain.as_secs_f64() / self.time.as_secs_f64()
    }
}

/// All settings and what their runs came to.
pub(super) struct Rows {
    settings: Vec<Setting>,
    pub done: Vec<Row>,
}

impl Rows {
    pub(super) fn new(settings: Vec<Setting>) -> Self {
        Self { settings, done: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.settings.len()
    }

    /// Runs every setting once, with plain decoding between, and keeps the fastest runs.
    pub(super) fn run(&mut self, subject: &Subject, song: &Arc<[Frame]>) -> Result<(), Failed> {
        for (place, setting) in self.settings.iter().enumerate() {
            let plain = subject.plain()?.1;
            let row = Self::once(setting, subject, song, plain)?;
            match self.done.get_mut(place) {
                None => self.done.push(row),
                Some(best) => {
                    let plain = best.plain.min(row.plain);
                    if row.time < best.time {
                        *best = row;
                    }
                    best.plain = plain;
                }
            }
        }
        Ok(())
    }

    fn once(setting: &Setting, subject: &Subject, song: &Arc<[Frame]>, plain: Duration) -> Result<Row, Failed> {
        let mut speculator = setting.speculator(subject, song)?;
        let mut state = subject.model.start(&subject.prompt, subject.guidance, subject.frames)?;
        let mut written: Vec<Frame> = Vec::with_capacity(subject.frames);
        let since = Instant::now();
        while written.len() < subject.frames {
            written.extend(speculator.next_frames(&subject.model, &mut state)?);
        }
        let time = since.elapsed();
        if let Some(place) = written.iter().zip(song.iter()).position(|(drafted, plain)| drafted != plain) {
            let drafter = setting.drafter();
            return Err(Failed::Error(format!(
                "frame {place} is another one than in plain decoding when {drafter} drafts: this is a mistake of the engine"
            )));
        }
        let counters = speculator.counters().cloned().unwrap_or_default();
        let prefetch = speculator.prefetch_counters().map(|(counters, waited)| (*counters, waited));
        Ok(Row { setting: setting.clone(), time, plain, counters, prefetch })
    }
}
