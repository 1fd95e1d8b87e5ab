//! Places where a plan joins its windows.

use heartstream_models::signal::{SegmentPlan, Window};

/// Where one window ends and the next begins, in samples of one channel from the start of the song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seam {
    /// The first sample that the new window has a part in.
    pub begin: usize,
    /// The first sample that it has for itself; equal to `begin` where nothing is cross-faded.
    pub end: usize,
}

impl Seam {
    /// The instants at which it could be heard: where it begins, its middle, and where it ends.
    pub fn instants(&self) -> impl Iterator<Item = usize> {
        let Self { begin, end } = *self;
        let all = [begin, begin.midpoint(end), end];
        all.into_iter().take(if begin == end { 1 } else { all.len() })
    }

    /// Whether `place` is less than `distance` samples from it.
    pub fn is_near(&self, place: usize, distance: usize) -> bool {
        place + distance > self.begin && place < self.end + distance
    }
}

/// The seams of a song of `frames` frames. A chained window's is where its first new latent sounds.
pub fn seams_of(plan: &SegmentPlan, frames: usize, samples_per_frame: usize) -> Vec<Seam> {
    let seam = |window: &Window| {
        let known = if plan.is_continuous() { window.known } else { 0 };
        let begin = (window.first + known) * samples_per_frame;
        Seam { begin, end: begin + plan.fade_samples(window.fade_in, samples_per_frame) }
    };
    let song = plan.song_samples(frames, samples_per_frame) as usize;
    plan.windows(frames).iter().skip(1).map(seam).filter(|seam| seam.begin < song).collect()
}

#[cfg(test)]
mod tests {
    use heartstream_models::signal::ReferenceWindows;

    use super::*;

    fn seams(plan: &SegmentPlan) -> Vec<(usize, usize)> {
        seams_of(plan, 400, 10).iter().map(|seam| (seam.begin, seam.end)).collect()
    }

    #[test]
    fn seams_lie_where_each_continuity_joins_its_windows() {
        // 48 of which 40 are played, 96 with 40 known, 192 with 52 known, the rest: each plays 8 frames fewer.
        assert_eq!(seams(&SegmentPlan::chained(48, 8).expect("a plan")), [(400, 400), (880, 880), (2200, 2200)]);
        // 48, 96 from 32 on over 16, 192 from 96 on over 32, the rest from 236 on over 52.
        assert_eq!(seams(&SegmentPlan::parallel(48).expect("a plan")), [(320, 480), (960, 1280), (2360, 2880)]);
        assert_eq!(seams(&SegmentPlan::reference(ReferenceWindows::default())), [(3200, 3720)]);
    }

    #[test]
    fn a_seam_that_is_not_faded_is_an_instant() {
        assert_eq!(Seam { begin: 10, end: 10 }.instants().collect::<Vec<_>>(), [10]);
        assert_eq!(Seam { begin: 10, end: 30 }.instants().collect::<Vec<_>>(), [10, 20, 30]);
    }

    #[test]
    fn what_lies_beside_a_seam_is_near_it() {
        let seam = Seam { begin: 100, end: 120 };
        let near: Vec<usize> = (0..200).filter(|place| seam.is_near(*place, 5)).collect();
        assert_eq!(near, (96..125).collect::<Vec<_>>());
    }
}
