//! How nearly were codes that were drafted right others? By how much each one's score lay above the next.

/// By how much the scores of codes that were drafted right lay above the next.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gaps {
    /// Codes whose gap is known.
    pub codes: u64,
    /// Sum of their gaps.
    pub sum: f64,
    /// The smallest; `None` without any.
    pub least: Option<f64>,
    /// Those within [`Gaps::TAU`]: they might be others where sums are rounded otherwise, as on a graphics card.
    pub tau_hits: u64,
}

impl Gaps {
    /// Logits that are rounded otherwise differ by less.
    pub const TAU: f64 = 1e-5;

    /// Adds a code. Of one that had no rival nothing is known.
    pub fn add(&mut self, gap: f64) {
        if gap.is_finite() {
            self.codes += 1;
            self.sum += gap;
            self.least = Some(self.least.map_or(gap, |least| least.min(gap)));
            self.tau_hits += u64::from(gap < Self::TAU);
        }
    }

    /// Adds those of another round.
    pub fn join(&mut self, other: &Self) {
        self.codes += other.codes;
        self.sum += other.sum;
        self.least = [self.least, other.least].into_iter().flatten().reduce(f64::min);
        self.tau_hits += other.tau_hits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_with_their_least_and_those_that_another_rounding_could_close() {
        let (mut gaps, mut more) = (Gaps::default(), Gaps::default());
        [0.5, f64::INFINITY, 1.5].into_iter().for_each(|gap| gaps.add(gap));
        assert_eq!(gaps, Gaps { codes: 2, sum: 2.0, least: Some(0.5), tau_hits: 0 });
        more.add(1e-6);
        gaps.join(&more);
        gaps.join(&Gaps::default());
        assert_eq!((gaps.codes, gaps.least, gaps.tau_hits), (3, Some(1e-6), 1));
    }
}
