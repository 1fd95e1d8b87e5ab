//! Pace of an engine's songs: the time that a second of music takes, by the number of songs that are made at once.

/// Weight of the newest song in the averages: the last four songs or so count.
const NEWEST: f64 = 0.25;
/// Mean deviations above the mean of what is forecast, so that hardly a song begins later than that: as many as TCP's
/// timeout takes, and as there half of the first measurement stands for the deviation (RFC 6298, section 2).
const DEVIATIONS: f64 = 4.0;

/// Averages of what songs took, for each number of songs at once.
#[derive(Debug, Default)]
pub(super) struct Paces(Vec<Option<Pace>>);

/// Seconds for each second of music.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// From the beginning to the end, with what the song waited for its listener.
    pub wall: f64,
    /// Mean deviation of `wall`.
    deviation: f64,
    /// Work alone.
    pub working: f64,
}

impl Pace {
    /// A time that few songs exceed.
    pub fn at_most(&self) -> f64 {
        self.wall + DEVIATIONS * self.deviation
    }
}

impl Paces {
    /// A song that was one of `songs` took `wall` seconds for each second of its music, and worked for `working`.
    pub fn measured(&mut self, songs: usize, wall: f64, working: f64) {
        let place = songs.max(1) - 1;
        if self.0.len() <= place {
            self.0.resize(place + 1, None);
        }
        let towards = |average: f64, new: f64| average + NEWEST * (new - average);
        self.0[place] = Some(match self.0[place] {
            None => Pace { wall, deviation: wall / 2.0, working },
            Some(pace) => Pace {
                wall: towards(pace.wall, wall),
                deviation: towards(pace.deviation, (wall - pace.wall).abs()),
                working: towards(pace.working, working),
            },
        });
    }

    /// The pace of one of `songs` songs; `None` before any was measured. Where this number was never measured, that of the
    /// next larger number, which is no faster; else that of the largest, slower by as much as there are more songs.
    pub fn of(&self, songs: usize) -> Option<Pace> {
        let place = songs.max(1) - 1;
        let larger = self.0.iter().skip(place).find_map(|pace| *pace);
        let smaller = || {
            let (most, pace) = self.0.iter().enumerate().rev().find_map(|(place, pace)| Some((place + 1, (*pace)?)))?;
            let more = songs as f64 / most as f64;
            Some(Pace { wall: pace.wall * more, deviation: pace.deviation * more, working: pace.working * more })
        };
        larger.or_else(smaller)
    }
}

/// Seconds until a song begins, where songs are made in `places` places: the songs in them take the seconds of `running`
/// to their ends, and those of `before` are made first, in this order.
pub(super) fn starts_in(places: usize, running: &[f64], before: &[f64]) -> f64 {
    let mut free = vec![0f64; places.max(1).max(running.len())];
    free.iter_mut().zip(running).for_each(|(free, end)| *free = *end);
    for song in before {
        let first = (0..free.len()).min_by(|a, b| free[*a].total_cmp(&free[*b])).unwrap_or(0);
        free[first] += song;
    }
    free.into_iter().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_song_begins_when_those_before_it_have_left_a_place() {
        assert_eq!(starts_in(2, &[], &[]), 0.0);
        assert_eq!(starts_in(2, &[5.0], &[]), 0.0);
        assert_eq!(starts_in(2, &[5.0, 3.0], &[]), 3.0);
        assert_eq!(
            starts_in(2, &[5.0, 3.0], &[4.0]),
            5.0,
            "the first one has the place that is free after 3 s until 7 s"
        );
        assert_eq!(starts_in(2, &[5.0, 3.0], &[4.0, 1.0]), 6.0);
        assert_eq!(starts_in(1, &[1.0], &[1.0, 1.0]), 3.0);
    }

    #[test]
    fn what_was_not_measured_is_as_slow_as_what_was_measured_with_more_songs_or_slower() {
        let mut paces = Paces::default();
        assert_eq!(paces.of(1), None);
        paces.measured(2, 0.5, 0.4);
        let [one, two, four] = [1, 2, 4].map(|songs| paces.of(songs).expect("a pace").working);
        assert_eq!([one, two, four], [0.4, 0.4, 0.8]);
        paces.measured(4, 0.6, 0.5);
        assert_eq!(paces.of(3).expect("a pace").working, 0.5);
        assert_eq!(paces.of(8).expect("a pace").working, 1.0);
    }

    #[test]
    fn a_forecast_follows_what_is_measured_and_stays_above_it() {
        let mut paces = Paces::default();
        for _ in 0..40 {
            paces.measured(1, 2.0, 1.0);
        }
        let steady = paces.of(1).expect("a pace");
        assert!((2.0..2.001).contains(&steady.at_most()), "{steady:?}");
        (0..40).for_each(|song| paces.measured(1, if song % 2 == 0 { 2.0 } else { 4.0 }, 1.0));
        let unsteady = paces.of(1).expect("a pace");
        assert!((4.0..8.0).contains(&unsteady.at_most()), "{unsteady:?}");
    }
}
