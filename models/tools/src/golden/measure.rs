//! Distance of two tensors, and its tolerance.

use std::fmt;

use crate::quality::signal_to_noise;

/// One compared tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name in the golden data.
    pub tensor: String,
    /// How far the engine is from the reference.
    pub measure: Measure,
    /// What would have been near enough, in the measure's unit.
    pub tolerance: f64,
    /// An explanation where one is needed; empty otherwise.
    pub note: String,
}

/// A distance, in the unit that suits the tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// The larger of two relative errors: root of summed squares, and largest difference over largest value.
    RelativeError(f64),
    /// Signal over difference, dB.
    SignalToNoise(f64),
    /// Codes that agree, of how many.
    CodesEqual(usize, usize),
}

impl Row {
    /// Whether it is near enough. What is not a number never is.
    pub fn ok(&self) -> bool {
        match self.measure {
            Measure::RelativeError(error) => error <= self.tolerance,
            Measure::SignalToNoise(ratio) => ratio >= self.tolerance,
            Measure::CodesEqual(equal, all) => equal == all && all > 0,
        }
    }

    /// The same row where errors may be `slack` times as large.
    #[must_use]
    pub(super) fn with_slack(self, slack: f64) -> Self {
        let tolerance = match self.measure {
            Measure::RelativeError(_) => self.tolerance * slack,
            Measure::SignalToNoise(_) => self.tolerance - decibels(slack),
            Measure::CodesEqual(..) => self.tolerance,
        };
        Self { tolerance, ..self }
    }

    /// The tolerance as text; nothing for codes, which must all be equal.
    pub fn limit(&self) -> String {
        match self.measure {
            Measure::RelativeError(_) => format!("{:.0e}", self.tolerance),
            Measure::SignalToNoise(_) => format!("{:.0} dB", self.tolerance),
            Measure::CodesEqual(..) => "all".to_owned(),
        }
    }

    /// Compares by relative error.
    pub(super) fn relative(tensor: &str, ours: &[f32], golden: &[f32], tolerance: f64) -> Self {
        Self {
            tensor: tensor.to_owned(),
            measure: Measure::RelativeError(relative_error(ours, golden)),
            tolerance,
            note: String::new(),
        }
    }

    /// Compares by signal-to-noise ratio.
    pub(super) fn ratio(tensor: &str, ours: &[f32], golden: &[f32], tolerance: f64) -> Self {
        Self {
            tensor: tensor.to_owned(),
            measure: Measure::SignalToNoise(signal_to_noise(ours, golden)),
            tolerance,
            note: String::new(),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RelativeError(error) => write!(f, "relative error {error:.2e}"),
            Self::SignalToNoise(ratio) => write!(f, "signal-to-noise {ratio:.1} dB"),
            Self::CodesEqual(equal, all) => write!(f, "{equal} of {all} codes equal"),
        }
    }
}

/// What a factor of errors is in dB of their ratio to the signal.
pub(super) fn decibels(factor: f64) -> f64 {
    20.0 * factor.log10()
}

/// Not a number when the lengths differ: no tolerance accepts that.
fn relative_error(ours: &[f32], golden: &[f32]) -> f64 {
    if ours.len() != golden.len() || golden.is_empty() {
        return f64::NAN;
    }
    let (mut difference, mut signal, mut worst, mut largest) = (0f64, 0f64, 0f64, 0f64);
    for (a, b) in ours.iter().zip(golden).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
        if !(a.is_finite() && b.is_finite()) {
            return f64::NAN;
        }
        difference += (a - b).powi(2);
        signal += b.powi(2);
        worst = worst.max((a - b).abs());
        largest = largest.max(b.abs());
    }
    let tiny = f64::MIN_POSITIVE; // a golden tensor of zeros is only met by zeros
    (difference.sqrt() / signal.sqrt().max(tiny)).max(worst / largest.max(tiny))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_the_error_is_20_db_and_codes_have_no_slack() {
        let limits = |row: Row| [row.clone().with_slack(1.0).limit(), row.with_slack(10.0).limit()];
        assert_eq!(limits(Row::relative("x", &[1.0], &[1.0], 1e-4)), ["1e-4", "1e-3"]);
        assert_eq!(limits(Row::ratio("x", &[1.0], &[1.0], 80.0)), ["80 dB", "60 dB"]);
        let codes = |equal| Row { measure: Measure::CodesEqual(equal, 8), ..Row::ratio("x", &[1.0], &[1.0], 8.0) };
        assert!(codes(8).with_slack(10.0).ok() && !codes(7).with_slack(10.0).ok());
    }

    #[test]
    fn what_is_not_a_number_or_of_another_length_is_never_ok() {
        assert!(!Row::relative("x", &[f32::NAN, 1.0], &[0.0, 1.0], 1e9).ok());
        assert!(!Row::relative("x", &[1.0, 0.0], &[1.0, f32::NAN], 1e9).ok());
        assert!(!Row::relative("x", &[1.0], &[1.0, 1.0], 1e9).ok());
        assert!(!Row::ratio("x", &[f32::NAN], &[1.0], -1e9).ok());
        assert!(!Row::ratio("x", &[], &[], -1e9).ok());
    }

    #[test]
    fn one_bad_value_among_many_good_ones_shows() {
        let golden = vec![1f32; 10_000];
        let mut ours = golden.clone();
        ours[77] += 0.01;
        assert!(!Row::relative("x", &ours, &golden, 1e-3).ok());
        assert!(Row::relative("x", &golden, &golden, 0.0).ok());
    }
}
