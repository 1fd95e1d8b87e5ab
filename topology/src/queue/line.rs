//! Line of an engine's songs: those that are made, and those that wait, the earliest deadline first.

use std::time::Instant;

use heartstream_messages::units::Seconds;

use super::pace::{Paces, starts_in};

/// Songs that are made and songs that wait.
pub(super) struct Line {
    /// Songs that may be made at once.
    most: usize,
    waiting: Vec<Waiter>,
    running: Vec<Running>,
    /// The number of the next song.
    next: u64,
    paces: Paces,
}

struct Waiter {
    number: u64,
    due: Instant,
    length: Seconds,
}

/// Up to where the sinks of a song have it.
pub(super) type Made = Box<dyn Fn() -> Seconds + Send>;

struct Running {
    number: u64,
    length: Seconds,
    made: Made,
    /// The most songs that there were at once.
    beside: usize,
}

/// A song's place in the queue of its engine.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct QueuePosition {
    /// Songs that begin before it, as it stands now: one that is due earlier goes ahead.
    pub ahead: usize,
    /// Whether its turn has come.
    pub turn: bool,
    /// Upper bound of the wait: every song ahead runs to its maximum length at the recent pace, and none overtakes. `None`
    /// before the engine has finished a song.
    pub starts_in: Option<Seconds>,
    /// Speed: seconds of audio per wall second with `songs` concurrent songs. Below 1, live playback stalls. `None` before
    /// the engine has finished a song.
    pub speed: Option<f64>,
    /// Songs that are made at once then, this one among them.
    pub songs: usize,
}

impl Line {
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), waiting: Vec::new(), running: Vec::new(), next: 0, paces: Paces::default() }
    }

    /// Songs at once, at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Puts a song into the line, and returns its number.
    pub fn join(&mut self, due: Instant, length: Seconds) -> u64 {
        let number = self.next;
        self.next += 1;
        // Of two that are due at once the first goes first.
        let place = self.waiting.partition_point(|waiter| waiter.due <= due);
        self.waiting.insert(place, Waiter { number, due, length });
        self.advance();
        number
    }

    /// Takes out a song, whether it waits or is made.
    pub fn leave(&mut self, number: u64) {
        self.waiting.retain(|waiter| waiter.number != number);
        self.running.retain(|song| song.number != number);
        self.advance();
    }

    /// Whether the turn of a song has come.
    pub fn has_turn(&self, number: u64) -> bool {
        self.running.iter().any(|song| song.number == number)
    }

    /// A song has begun, and `made` says how far it is.
    pub fn begun(&mut self, number: u64, made: Made) {
        if let Some(song) = self.running.iter_mut().find(|song| song.number == number) {
            song.made = made;
        }
    }

    /// A song came to its end in `wall` seconds, of which it was at work for `working`, and has `music` seconds.
    pub fn measured(&mut self, number: u64, [wall, working, music]: [f64; 3]) {
        if let Some(song) = self.running.iter().find(|song| song.number == number).filter(|_| music > 0.0) {
            self.paces.measured(song.beside, wall / music, working / music);
        }
    }

    /// Where a song stands.
    pub fn place(&self, number: u64) -> QueuePosition {
        let turn = self.has_turn(number);
        let ahead = self.waiting.iter().position(|waiter| waiter.number == number).unwrap_or(0);
        let songs = (self.running.len() + self.waiting.len()).clamp(1, self.most);
        let starts_in = if turn { Some(0.0) } else { self.starts_in(ahead) };
        let speed = self.paces.of(songs).map(|pace| 1.0 / pace.working);
        QueuePosition { ahead, turn, starts_in: starts_in.map(Seconds), speed, songs }
    }

    fn starts_in(&self, ahead: usize) -> Option<f64> {
        let pace = self.paces.of(self.most)?.at_most();
        let running: Vec<f64> =
            self.running.iter().map(|song| (song.length.0 - (song.made)().0).max(0.0) * pace).collect();
        let before: Vec<f64> = self.waiting.iter().take(ahead).map(|waiter| waiter.length.0 * pace).collect();
        Some(starts_in(self.most, &running, &before))
    }

    /// Gives their turn to as many songs as there are places for.
    fn advance(&mut self) {
        let free = self.most.saturating_sub(self.running.len()).min(self.waiting.len());
        for Waiter { number, length, .. } in self.waiting.drain(..free) {
            self.running.push(Running { number, length, made: Box::new(|| Seconds(0.0)), beside: 0 });
        }
        let songs = self.running.len();
        self.running.iter_mut().for_each(|song| song.beside = song.beside.max(songs));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LENGTH: Seconds = Seconds(10.0);

    #[test]
    fn what_is_due_first_begins_first_and_what_is_due_at_once_in_the_order_in_which_it_came() {
        let now = Instant::now();
        let mut line = Line::new(1);
        let due = [0, 50, 10, 50, 20].map(|seconds| line.join(now + Duration::from_secs(seconds), LENGTH));
        assert_eq!(due.map(|number| line.place(number).ahead), [0, 2, 0, 3, 1]);
        let mut order = Vec::new();
        while let Some(number) = due.into_iter().find(|number| line.has_turn(*number)) {
            order.push(number);
            line.leave(number);
        }
        assert_eq!(order, [due[0], due[2], due[4], due[1], due[3]]);
    }

    #[test]
    fn no_more_songs_than_may_be_are_made_at_once_and_one_that_leaves_the_line_holds_up_no_other() {
        let now = Instant::now();
        let mut line = Line::new(2);
        let songs = [(); 4].map(|()| line.join(now, LENGTH));
        let turns = |line: &Line| songs.map(|number| line.has_turn(number));
        assert_eq!(turns(&line), [true, true, false, false]);
        line.leave(songs[2]);
        assert_eq!((turns(&line), line.place(songs[3]).ahead), ([true, true, false, false], 0));
        line.leave(songs[1]);
        assert_eq!(turns(&line), [true, false, false, true]);
    }

    #[test]
    fn the_start_is_forecast_from_what_is_left_of_the_songs_before() {
        let now = Instant::now();
        let mut line = Line::new(1);
        let first = line.join(now, LENGTH);
        line.measured(first, [5.0, 5.0, 10.0]);
        line.leave(first);
        let [second, third, fourth] = [(); 3].map(|()| line.join(now, LENGTH));
        let starts =
            |line: &Line| [second, third, fourth].map(|number| line.place(number).starts_in.expect("a time").0);
        // Half a second for each second of music, and of one song nothing is known of how they differ: a second more.
        assert_eq!(starts(&line), [0.0, 15.0, 30.0]);
        line.begun(second, Box::new(|| Seconds(7.0)));
        assert_eq!(starts(&line), [0.0, 4.5, 19.5]);
        assert_eq!(line.place(third).speed, Some(2.0));
    }
}
