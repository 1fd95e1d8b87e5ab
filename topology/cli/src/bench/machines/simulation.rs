//! Simulation of an engine with flow workers on other machines: events in the order of their times, no clock.
//!
//! The engine's machine has a language model that writes all songs in lockstep, a flow worker, a vocoder and one line to
//! the workers, each with time of its own. What is done with windows is what the engine does: the first of a song stays at
//! home, others go to whichever is free, and what comes back goes home. Queues have no bounds here.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use heartstream_models::signal::{Draws, KeyedNoise, SegmentPlan, Window};

use super::scene::{FRAMES_PER_SECOND, Part, Scene, SceneResult};

/// Bytes of an answer for a frame: two latents of 256 numbers of 4 bytes, each of which is 1.9 on its way.
const ANSWER_BYTES: f64 = 2.0 * 256.0 * 4.0 * 1.9;
/// Deadline, as `actors/src/remote/workers.rs` has it: a floor, and a factor on the measured rate, which follows.
const DEADLINE_FLOOR: f64 = 3.0;
const DEADLINE_FACTOR: f64 = 4.0;
const NEWEST: f64 = 0.3;
/// How long a worker that was late is left out.
const PAUSE: f64 = 1.0;
/// Music in the vocoder's first piece, in seconds.
const FIRST_PIECE: f64 = 0.64;

/// A window of a song.
#[derive(Debug, Clone, Copy)]
struct Task {
    song: usize,
    window: Window,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// Its codes are written.
    Written(Task),
    /// It has come back, or been decoded at home.
    Back(Task),
    DecodedAtHome(Task),
    /// A worker has its latents, which begin to travel.
    Computed {
        worker: usize,
        task: Task,
        since: f64,
    },
    /// They are there.
    Arrived {
        worker: usize,
        task: Task,
        since: f64,
    },
    /// A worker is there again.
    Free(usize),
}

/// Something that does one thing after the other.
#[derive(Debug, Clone, Copy, Default)]
struct Server {
    free_at: f64,
    busy: f64,
}

impl Server {
    /// Does what takes `seconds`, once it is free; when it begins and ends.
    fn serve(&mut self, now: f64, seconds: f64) -> (f64, f64) {
        let begins = self.free_at.max(now);
        (self.free_at, self.busy) = (begins + seconds, self.busy + seconds);
        (begins, self.free_at)
    }
}

struct Worker {
    is_free: bool,
    /// Seconds for a frame, as the engine measured it.
    rate: f64,
    dies_at: f64,
}

/// A song on its way through the vocoder, which takes its windows in order.
#[derive(Default)]
struct Song {
    next: usize,
    decoded: BTreeMap<usize, f64>,
    first_sound: f64,
}

struct Simulation<'a> {
    scene: &'a Scene,
    /// Times are compared as nanoseconds; the number keeps events of one time in order.
    events: BinaryHeap<Reverse<(u64, usize)>>,
    known: Vec<(f64, Event)>,
    common: VecDeque<Task>,
    home_queue: VecDeque<Task>,
    home_is_free: bool,
    workers: Vec<Worker>,
    free: Vec<usize>,
    songs: Vec<Song>,
    line: Server,
    vocoder: Server,
    home_busy: f64,
    workers_busy: f64,
    wasted: f64,
    ends: f64,
    draws: Draws,
}

/// Plays the songs of `scene` with `workers` workers.
pub(crate) fn play(scene: &Scene, workers: usize) -> SceneResult {
    let frames = (scene.seconds * FRAMES_PER_SECOND).ceil() as usize;
    let plan = SegmentPlan::parallel(scene.first_window.clamp(1, 372));
    let windows = plan.map(|plan| plan.windows(frames)).unwrap_or_default(); // the first window is in range
    let frame_time = scene.lm / FRAMES_PER_SECOND * (1.0 + scene.further_song * (scene.songs - 1) as f64);
    let mut draws = KeyedNoise::new(1).draws(0);
    let alone = scene.frame_elsewhere() + ANSWER_BYTES / scene.connection_rate();
    let workers: Vec<Worker> = (0..workers)
        .map(|_| Worker { is_free: true, rate: alone, dies_at: exponential(&mut draws, scene.lifetime) })
        .collect();
    let mut simulation = Simulation {
        scene,
        events: BinaryHeap::new(),
        known: Vec::new(),
        common: VecDeque::new(),
        home_queue: VecDeque::new(),
        home_is_free: true,
        free: (0..workers.len()).rev().collect(),
        workers,
        songs: (0..scene.songs).map(|_| Song::default()).collect(),
        line: Server::default(),
        vocoder: Server::default(),
        home_busy: 0.0,
        workers_busy: 0.0,
        wasted: 0.0,
        ends: 0.0,
        draws,
    };
    for window in &windows {
        for song in 0..scene.songs {
            let written = window.end() as f64 * frame_time;
            simulation.at(written, Event::Written(Task { song, window: *window }));
        }
    }
    while let Some(Reverse((_, number))) = simulation.events.pop() {
        let (now, event) = simulation.known[number];
        simulation.handle(now, event);
        simulation.dispatch(now);
    }
    simulation.outcome(frames as f64 * frame_time)
}

/// A time until something that happens once in `mean` seconds.
fn exponential(draws: &mut Draws, mean: f64) -> f64 {
    if mean.is_finite() { -mean * draws.uniform().ln() } else { f64::INFINITY }
}

impl Simulation<'_> {
    fn at(&mut self, time: f64, event: Event) {
        self.events.push(Reverse(((time * 1e9) as u64, self.known.len())));
        self.known.push((time, event));
    }

    fn handle(&mut self, now: f64, event: Event) {
        match event {
            Event::Written(task) if task.window.index == 0 => self.home_queue.push_back(task),
            Event::Written(task) => self.common.push_back(task),
            Event::Back(task) => self.home_queue.push_back(task),
            Event::DecodedAtHome(task) => {
                self.home_is_free = true;
                self.decoded(now, task);
            }
            Event::Computed { worker, task, since } => {
                let bytes = task.window.computed() as f64 * ANSWER_BYTES;
                let (begins, ends) = self.line.serve(now, bytes / self.scene.bandwidth);
                let there = ends.max(begins + bytes / self.scene.connection_rate()) + self.scene.round_trip / 2.0;
                if there - since > self.deadline(worker, task) {
                    self.late(since, there, worker, task);
                } else {
                    self.at(there, Event::Arrived { worker, task, since });
                }
            }
            Event::Arrived { worker, task, since } => self.arrived(now, worker, task, since),
            Event::Free(worker) => self.set_free(worker),
        }
    }

    fn set_free(&mut self, worker: usize) {
        self.workers[worker].is_free = true;
        self.free.push(worker);
    }

    /// Time in which a worker must have decoded a window.
    fn deadline(&self, worker: usize, task: Task) -> f64 {
        DEADLINE_FLOOR + DEADLINE_FACTOR * self.workers[worker].rate * task.window.computed() as f64
    }

    /// A window that is not there at its deadline comes back then; its worker is free a while after it has done it.
    fn late(&mut self, since: f64, done: f64, worker: usize, task: Task) {
        self.wasted += task.window.computed() as f64 * self.scene.frame_elsewhere();
        let deadline = self.deadline(worker, task);
        self.at(since + deadline, Event::Back(task));
        self.at(done + PAUSE, Event::Free(worker));
    }

    fn arrived(&mut self, now: f64, worker: usize, task: Task, since: f64) {
        let frames = task.window.computed() as f64;
        let rate = &mut self.workers[worker].rate;
        *rate += NEWEST * ((now - since) / frames - *rate);
        self.set_free(worker);
        self.decoded(now, task);
    }

    /// The vocoder takes the windows of a song in order.
    fn decoded(&mut self, now: f64, task: Task) {
        let song = &mut self.songs[task.song];
        let new = task.window.frames - task.window.fade_in;
        song.decoded.insert(task.window.index, new as f64 / FRAMES_PER_SECOND * self.scene.vocoder);
        while let Some(seconds) = song.decoded.remove(&song.next) {
            let (begins, ends) = self.vocoder.serve(now, seconds);
            if song.next == 0 {
                song.first_sound = begins + seconds.min(FIRST_PIECE * self.scene.vocoder);
            }
            song.next += 1;
            self.ends = self.ends.max(ends);
        }
    }

    /// Gives windows to whatever is free.
    fn dispatch(&mut self, now: f64) {
        if self.home_is_free
            && let Some(task) = self.home_queue.pop_front().or_else(|| self.common.pop_front())
        {
            let seconds = task.window.computed() as f64 * self.scene.flow / FRAMES_PER_SECOND;
            (self.home_is_free, self.home_busy) = (false, self.home_busy + seconds);
            self.at(now + seconds, Event::DecodedAtHome(task));
        }
        while !self.common.is_empty()
            && let Some(worker) = self.free.pop()
            && let Some(task) = self.common.pop_front()
        {
            let begins = now + self.scene.round_trip / 2.0;
            let ends = begins + task.window.computed() as f64 * self.scene.frame_elsewhere();
            // It may have died and come back while it had nothing to do.
            while self.workers[worker].dies_at + self.scene.restart < now {
                self.workers[worker].dies_at += self.scene.restart + exponential(&mut self.draws, self.scene.lifetime);
            }
            let died = self.workers[worker].dies_at;
            self.workers[worker].is_free = false;
            if died < ends {
                let (lost, gone) = ((died - begins).max(0.0), died.max(now));
                (self.wasted, self.workers_busy) = (self.wasted + lost, self.workers_busy + lost);
                let back = gone + self.scene.restart;
                self.workers[worker].dies_at = back + exponential(&mut self.draws, self.scene.lifetime);
                self.at(gone + self.scene.round_trip / 2.0, Event::Back(task));
                self.at(back, Event::Free(worker));
            } else {
                self.workers_busy += ends - begins;
                if ends - now > self.deadline(worker, task) {
                    self.late(now, ends, worker, task);
                } else {
                    self.at(ends, Event::Computed { worker, task, since: now });
                }
            }
        }
    }

    fn outcome(self, lm_busy: f64) -> SceneResult {
        let songs = self.songs.len() as f64;
        let ends = self.ends.max(lm_busy);
        let loads = [
            (Part::LanguageModel, lm_busy),
            (Part::HomeFlow, self.home_busy),
            (Part::Workers, self.workers_busy / self.workers.len().max(1) as f64),
            (Part::Line, self.line.busy),
            (Part::Vocoder, self.vocoder.busy),
        ];
        SceneResult {
            first_sound: self.songs.iter().map(|song| song.first_sound).sum::<f64>() / songs,
            last_first_sound: self.songs.iter().map(|song| song.first_sound).fold(0.0, f64::max),
            speed: songs * self.scene.seconds / ends,
            wasted: self.wasted / (self.home_busy + self.workers_busy).max(f64::MIN_POSITIVE),
            loads: loads.map(|(part, busy)| (part, busy / ends)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flow matching is what a song waits for.
    const SCENE: Scene = Scene {
        lm: 0.1,
        flow: 3.0,
        vocoder: 0.05,
        songs: 8,
        further_song: 0.0,
        seconds: 240.0,
        first_window: 48,
        worker_speed: 1.0,
        round_trip: 0.04,
        bandwidth: 125e6,
        loss: 0.0,
        lifetime: f64::INFINITY,
        restart: 10.0,
    };

    #[test]
    fn where_flow_matching_is_the_bottleneck_speed_grows_with_the_workers_and_nothing_is_wasted() {
        let alone = play(&SCENE, 0);
        assert_eq!(alone.bottleneck().0, Part::HomeFlow);
        for workers in [1, 3, 7] {
            let outcome = play(&SCENE, workers);
            let times = outcome.speed / alone.speed;
            let all = (1 + workers) as f64;
            assert!((0.8 * all..=all + 0.01).contains(&times), "{workers} workers: {times:.2} times");
            assert_eq!(outcome.wasted, 0.0);
        }
    }

    #[test]
    fn with_many_workers_another_part_is_the_bottleneck() {
        let bottleneck = |scene: &Scene| play(scene, 1000).bottleneck().0;
        assert_eq!(bottleneck(&Scene { lm: 2.0, ..SCENE }), Part::LanguageModel);
        assert_eq!(bottleneck(&Scene { vocoder: 0.5, ..SCENE }), Part::Vocoder);
        let narrow = |bandwidth| Scene { bandwidth, lm: 0.01, vocoder: 0.001, ..SCENE };
        assert_eq!(bottleneck(&narrow(0.4e6)), Part::Line);
        // On a line that is narrower still answers are late, and what is late is decoded at home once more.
        let late = play(&narrow(0.1e6), 1000);
        assert!(late.wasted > 0.2 && late.bottleneck().0 == Part::HomeFlow, "{}", late.wasted);
        // The first window of each song is decoded at home.
        assert_eq!(bottleneck(&Scene { songs: 200, lm: 0.01, vocoder: 0.001, ..SCENE }), Part::HomeFlow);
    }

    #[test]
    fn every_window_is_decoded_once_however_often_workers_die() {
        let mortal = Scene { lifetime: 20.0, ..SCENE };
        let (kept, lost) = (play(&SCENE, 8), play(&mortal, 8));
        assert!(lost.wasted > 0.0 && lost.wasted < 0.9, "{}", lost.wasted);
        assert!(lost.speed < kept.speed && lost.speed > play(&SCENE, 0).speed * 0.9);
        assert!(lost.first_sound.is_finite() && lost.first_sound > 0.0);
    }

    #[test]
    fn loss_leaves_a_connection_what_its_round_trip_allows() {
        let lossy = Scene { loss: 0.01, ..SCENE };
        assert_eq!(lossy.connection_rate().round(), (1.225 * 1448.0 / (0.04 * 0.1_f64)).round());
        assert_eq!(SCENE.connection_rate(), 125e6);
        assert_eq!(Scene { loss: 1e-12, ..SCENE }.connection_rate(), 125e6);
    }
}
