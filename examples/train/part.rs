//! Part of a training stage: `2/3` is the second of three.

/// Part of a stage. Each leaves the weights that the next one begins with, and nothing else, so that a stage of any
/// length can be learnt in short calls, on machines that keep nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

impl Part {
    /// The whole stage.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// The share of the whole stage that is done once `share` of this part is.
    pub fn through(self, share: f64) -> f64 {
        ((self.number - 1) as f64 + share) / self.of as f64
    }
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("expected a part such as 2/3, found {text:?}");
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        match (number.parse(), of.parse()) {
            (Ok(number), Ok(of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_as_it_is_written_and_is_one_of_those_that_there_are() {
        for wrong in ["", "2", "0/2", "3/2", "1/x", "-1/2", "1/0"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
        let part: Part = "2/3".parse().expect("a part");
        assert_eq!(part, Part { number: 2, of: 3 });
        assert_eq!(part.to_string(), "2/3");
        assert!((part.through(0.5) - 0.5).abs() < 1e-12, "half of the second of three is half of all");
    }
}
