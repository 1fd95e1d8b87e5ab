//! Margins of accepted codes: by how much the score of each lay above the next.

/// By how much the scores of codes that were drafted right lay above the next.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MarginStats {
    /// Codes whose margin is known.
    pub codes: u64,
    /// Sum of their margins.
    pub sum: f64,
    /// The smallest; `None` without any.
    pub least: Option<f64>,
    /// Those within [`MarginStats::NEAR_TIE`]: they might differ where sums are rounded otherwise, as on a GPU.
    pub near_ties: u64,
}

impl MarginStats {
    /// Logits that are rounded otherwise differ by less.
    pub const NEAR_TIE: f64 = 1e-5;

    /// Adds a code. A code without a runner-up has no known margin.
    pub fn add(&mut self, margin: f64) {
        if margin.is_finite() {
            self.codes += 1;
            self.sum += margin;
            self.least = Some(self.least.map_or(margin, |least| least.min(margin)));
            self.near_ties += u64::from(margin < Self::NEAR_TIE);
        }
    }

    /// Adds those of another round.
    pub fn join(&mut self, other: &Self) {
        self.codes += other.codes;
        self.sum += other.sum;
        self.least = [self.least, other.least].into_iter().flatten().reduce(f64::min);
        self.near_ties += other.near_ties;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_counted_with_their_least_and_those_that_another_rounding_could_close() {
        let (mut margins, mut more) = (MarginStats::default(), MarginStats::default());
        [0.5, f64::INFINITY, 1.5].into_iter().for_each(|margin| margins.add(margin));
        assert_eq!(margins, MarginStats { codes: 2, sum: 2.0, least: Some(0.5), near_ties: 0 });
        more.add(1e-6);
        margins.join(&more);
        margins.join(&MarginStats::default());
        assert_eq!((margins.codes, margins.least, margins.near_ties), (3, Some(1e-6), 1));
    }
}
