//! Turns on shared cores: of the stages that compute on the same cores, the later one in the pipeline goes first.
//!
//! Two stages that compute at once on the same cores slow each other far below half: each has a thread on every core,
//! and each of its products waits for the thread that the operating system runs last. So a stage gives way at its next
//! checkpoint (a block of flow matching, a layer of the prefill, a frame) while a later stage is at work. The later
//! stage's work is what the listener waits for.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use heartstream_messages::Stage;

use crate::song_context::StopFlag;

/// How often a stage that waits looks whether its song was ended.
const REST: Duration = Duration::from_millis(10);

/// The turns of a song's stages. Clones share them. By default every stage has cores of its own, and none gives way.
///
/// Songs of one engine do not give way to each other: the first sound of one would wait for all windows of the others.
#[derive(Debug, Clone, Default)]
pub struct CoreTurns(Arc<Inner>);

type Counts = [AtomicUsize; Stage::ALL.len()];

#[derive(Debug, Default)]
struct Inner {
    /// Pairs of stages that share cores: the first gives way to the second.
    order: Vec<(Stage, Stage)>,
    /// How many actors of each stage are at work.
    at_work: Counts,
    /// The same for all songs of the engine.
    of_all_songs: Arc<Counts>,
    /// Held while a turn ends, so that no stage misses it between looking and waiting.
    ends: Mutex<()>,
    ended: Condvar,
}

/// A stage at work; the end of its life is the end of its turn.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Inner,
    stage: Stage,
}

impl CoreTurns {
    /// Turns of stages that share cores in pairs: of each pair the earlier one in the pipeline gives way.
    pub fn of(sharing: impl IntoIterator<Item = (Stage, Stage)>) -> Self {
        let ordered = |(one, other): (Stage, Stage)| (one.min(other), one.max(other));
        let order = sharing.into_iter().map(ordered).filter(|(first, then)| first != then).collect();
        Self(Arc::new(Inner { order, ..Inner::default() }))
    }

    /// The turns of a new song, in the same order.
    pub fn of_a_song(&self) -> Self {
        let (order, of_all_songs) = (self.0.order.clone(), Arc::clone(&self.0.of_all_songs));
        Self(Arc::new(Inner { order, of_all_songs, ..Inner::default() }))
    }

    /// Whether `first` gives way to `then`.
    pub fn orders(&self, first: Stage, then: Stage) -> bool {
        self.0.order.contains(&(first, then))
    }

    /// Says that `stage` is at work, until what is returned is dropped.
    pub fn take(&self, stage: Stage) -> Turn<'_> {
        self.0.begin(stage);
        Turn { turns: &self.0, stage }
    }

    /// Waits without being at work: `stage`, which has a turn, waits for what other stages have yet to do.
    pub fn wait_outside(&self, stage: Stage, wait: impl FnOnce()) {
        self.0.leave(stage);
        wait();
        self.0.begin(stage);
    }

    /// Whether one of `stages` is at work in a song of the engine.
    pub fn are_at_work_in_any_song(&self, stages: &[Stage]) -> bool {
        stages.iter().any(|stage| self.0.of_all_songs[*stage as usize].load(Ordering::Acquire) > 0)
    }

    /// Whether a stage that `stage` gives way to is at work.
    pub fn is_behind(&self, stage: Stage) -> bool {
        self.0.order.iter().any(|(first, then)| *first == stage && self.0.is_at_work(*then))
    }

    /// Waits while a stage that `stage` gives way to is at work; not after the song was ended.
    pub fn give_way(&self, stage: Stage, stop: &StopFlag) {
        self.0.wait_while(|| self.is_behind(stage), stop);
    }

    /// Waits as [`CoreTurns::give_way`], until one of the stages that are waited for has ended its turn, and for `most`
    /// at most.
    pub fn give_way_within(&self, stage: Stage, stop: &StopFlag, most: Duration) {
        let ends = self.0.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_behind(stage) && !stop.is_set() {
            drop(self.0.ended.wait_timeout(ends, most)); // a poisoned lock guards nothing
        }
    }

    /// Waits while one of `stages` is at work in this song; not after the song was ended.
    pub fn give_way_to(&self, stages: &[Stage], stop: &StopFlag) {
        self.0.wait_while(|| stages.iter().any(|stage| self.0.is_at_work(*stage)), stop);
    }
}

impl Inner {
    fn is_at_work(&self, stage: Stage) -> bool {
        self.at_work[stage as usize].load(Ordering::Acquire) > 0
    }

    fn begin(&self, stage: Stage) {
        for counts in [&self.at_work, &*self.of_all_songs] {
            counts[stage as usize].fetch_add(1, Ordering::AcqRel);
        }
    }

    fn leave(&self, stage: Stage) {
        let _end = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for counts in [&self.at_work, &*self.of_all_songs] {
            counts[stage as usize].fetch_sub(1, Ordering::AcqRel);
        }
        self.ended.notify_all();
    }

    fn wait_while(&self, behind: impl Fn() -> bool, stop: &StopFlag) {
        if !behind() {
            return;
        }
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        while behind() && !stop.is_set() {
            // The end of a song wakes no waiter, so it looks again.
            ends = self.ended.wait_timeout(ends, REST).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.leave(self.stage);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn on_shared_cores_the_earlier_stage_gives_way_and_no_other() {
        let turns = CoreTurns::of([
            (Stage::Vocoder, Stage::LanguageModel),
            (Stage::Vocoder, Stage::FlowWorker),
            (Stage::LanguageModel, Stage::FlowWorker),
        ]);
        let vocoder = turns.take(Stage::Vocoder);
        assert!(turns.is_behind(Stage::FlowWorker) && turns.is_behind(Stage::LanguageModel));
        assert!(!turns.is_behind(Stage::Vocoder));
        drop(vocoder);
        let flow = turns.take(Stage::FlowWorker);
        assert!(turns.is_behind(Stage::LanguageModel) && !turns.is_behind(Stage::FlowWorker));
        drop(flow);
        assert!(!turns.is_behind(Stage::LanguageModel));
    }

    #[test]
    fn stages_with_cores_of_their_own_wait_for_none() {
        let turns = CoreTurns::of([(Stage::FlowWorker, Stage::Vocoder)]);
        let _at_work = [turns.take(Stage::Vocoder), turns.take(Stage::FlowWorker)];
        turns.give_way(Stage::LanguageModel, &StopFlag::default());
        assert!(turns.is_behind(Stage::FlowWorker));
        let none = CoreTurns::default();
        let _at_work = none.take(Stage::Vocoder);
        none.give_way(Stage::FlowWorker, &StopFlag::default());
    }

    #[test]
    fn a_stage_that_waits_goes_on_when_the_later_one_is_done() {
        let turns = CoreTurns::of([(Stage::FlowWorker, Stage::Vocoder)]);
        let (tell, told) = flume::bounded(1);
        thread::scope(|scope| {
            let vocoder = turns.take(Stage::Vocoder);
            scope.spawn(|| {
                turns.give_way(Stage::FlowWorker, &StopFlag::default());
                let _ = tell.send(());
            });
            thread::yield_now();
            assert!(told.is_empty(), "it waits");
            drop(vocoder);
            assert_eq!(told.recv(), Ok(()));
        });
    }

    #[test]
    fn a_stage_that_waits_for_an_earlier_one_does_not_hold_it_up() {
        let turns = CoreTurns::of([(Stage::LanguageModel, Stage::FlowWorker)]);
        let flow = turns.take(Stage::FlowWorker);
        turns.wait_outside(Stage::FlowWorker, || turns.give_way(Stage::LanguageModel, &StopFlag::default()));
        assert!(turns.is_behind(Stage::LanguageModel), "it is at work again");
        drop(flow);
        assert!(!turns.is_behind(Stage::LanguageModel));
    }

    #[test]
    fn songs_do_not_give_way_to_each_other_and_know_of_each_other() {
        let engine = CoreTurns::of([(Stage::LanguageModel, Stage::FlowWorker)]);
        let [first, second] = [engine.of_a_song(), engine.of_a_song()];
        let at_work = first.take(Stage::FlowWorker);
        assert!(first.is_behind(Stage::LanguageModel) && !second.is_behind(Stage::LanguageModel));
        second.give_way(Stage::LanguageModel, &StopFlag::default());
        second.give_way_to(&[Stage::FlowWorker], &StopFlag::default());
        assert!(second.are_at_work_in_any_song(&[Stage::Vocoder, Stage::FlowWorker]));
        assert!(!second.are_at_work_in_any_song(&[Stage::Vocoder]));
        drop(at_work);
        assert!(!second.are_at_work_in_any_song(&[Stage::FlowWorker]));
    }

    #[test]
    fn a_song_that_is_ended_waits_for_no_turn() {
        let turns = CoreTurns::of([(Stage::FlowWorker, Stage::Vocoder)]);
        let _at_work = turns.take(Stage::Vocoder);
        let stop = StopFlag::default();
        thread::scope(|scope| {
            scope.spawn(|| turns.give_way(Stage::FlowWorker, &stop));
            stop.set();
        });
    }
}
