//! Sampling of a code from logits: temperature, top-k, and noise that is keyed by its place.

use heartstream_messages::Sampling;

use crate::{
    error::{ModelError, Result},
    signal::KeyedNoise,
};

/// Chooses codes. The engine draws keyed samples; a comparison with recorded numbers takes the largest logit.
pub trait CodeSampler {
    /// The code of `codebook` of `frame` for `logits`, one for each code, guidance already applied.
    ///
    /// # Errors
    /// When the logits are not numbers.
    fn sample(&mut self, frame: u64, codebook: usize, logits: &[f32]) -> Result<u32>;

    /// Parameters for sampling on the device; `None` if the sampler is not plain keyed sampling.
    fn keyed(&self) -> Option<(Sampling, KeyedNoise)> {
        None
    }

    /// Margin of the last chosen code: how far its score lay above the next one; `None` where it is not known.
    fn last_margin(&self) -> Option<f64> {
        None
    }
}

/// Draws from the softmax of the filtered logits, with noise keyed by (seed, frame, codebook, code). Where the last of
/// the `top_k` largest logits are equal, more codes than `top_k` can be drawn.
#[derive(Debug, Clone)]
pub struct KeyedSampler {
    options: Sampling,
    noise: KeyedNoise,
    /// Reused between calls so that nothing is allocated for a code: scaled logits, the largest of each block of them, and
    /// those that may be among the `top_k` largest.
    scaled: Vec<f32>,
    largest: Vec<f32>,
    few: Vec<(u32, f32)>,
    /// Between the last code that was drawn and the next one; infinite where there was only one.
    gap: Option<f64>,
}

impl KeyedSampler {
    /// A sampler for the song of `noise`.
    ///
    /// # Errors
    /// When the temperature is negative or not a number, or `top_k` is 0.
    pub fn new(options: Sampling, noise: KeyedNoise) -> Result<Self> {
        let Sampling { temperature, top_k, .. } = options;
        let refuse = |option, expected: &str, found: String| {
            Err(ModelError::Option { option, expected: expected.to_owned(), found })
        };
        if !(temperature.is_finite() && temperature >= 0.0) {
            return refuse(
                "temperature",
                "a number from 0 (always the likeliest code) upwards; 1.0 is usual",
                temperature.to_string(),
            );
        }
        if top_k == 0 {
            return refuse("top-k", "at least 1 (50 is usual)", top_k.to_string());
        }
        let (scaled, largest, few) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { options, noise, scaled, largest, few, gap: None })
    }

    /// The sampler of attempt `attempt` at the same song ([`KeyedNoise::attempt`]).
    #[must_use]
    pub fn attempt(&self, attempt: u32) -> Self {
        Self { noise: self.noise.attempt(attempt), gap: None, ..self.clone() }
    }

    /// Whether sampling is greedy: every attempt draws the same.
    pub fn is_greedy(&self) -> bool {
        self.options.temperature == 0.0
    }

    /// Leaves in `few` the scaled logits that may be among the `top_k` largest, in their order, and returns the
    /// `top_k`-th largest. The vocabulary is read three times, without data dependencies.
    fn threshold(&mut self) -> f32 {
        let Self { options, scaled, largest, few, .. } = self;
        let count = options.top_k.min(scaled.len());
        // Of columns as many as these, `top_k` have a number that reaches the `top_k`-th largest of the columns'
        // largest.
        let columns = 4 * count;
        let mut bound = f32::NEG_INFINITY;
        if columns < scaled.len() {
            largest.clear();
            largest.resize(columns, f32::NEG_INFINITY);
            for row in scaled.chunks(columns) {
                largest
                    .iter_mut()
                    .zip(row)
                    .for_each(|(most, number)| *most = if *number > *most { *number } else { *most });
            }
            bound = *largest.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1;
        }
        few.clear();
        few.extend((0u32..).zip(scaled.iter().copied()).filter(|(_, number)| *number >= bound));
        largest.clear();
        largest.extend(few.iter().map(|(_, number)| *number));
        *largest.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1
    }

    /// Calls `take` with each code that can be drawn and its score: the scaled logit with the noise of its place, or,
    /// at temperature 0, the logit of every code. The largest score is drawn; of equal ones the lower code.
    fn scores(&mut self, frame: u64, codebook: usize, logits: &[f32], mut take: impl FnMut(u32, f64)) -> Result<()> {
        let all_finite = logits.iter().fold(true, |all, logit| all & logit.is_finite());
        if let Some(bad) = logits.iter().find(|logit| !all_finite && !logit.is_finite()) {
            return Err(ModelError::NotANumber { frame, codebook, found: *bad });
        }
        if logits.is_empty() {
            return Err(ModelError::shape("logits", "at least one", 0));
        }
        let temperature = self.options.temperature;
        if temperature == 0.0 {
            (0u32..).zip(logits).for_each(|(token, logit)| take(token, f64::from(*logit)));
            return Ok(());
        }
        self.scaled.clear();
        self.scaled.extend(logits.iter().map(|logit| logit / temperature));
        let threshold = self.threshold();
        for (token, logit) in self.few.iter().copied().filter(|(_, logit)| *logit >= threshold) {
            take(token, f64::from(logit) + self.noise.gumbel(frame, codebook as u32, token));
        }
        Ok(())
    }

    /// The `count` codes with the largest scores, the drawn one first, with their scores.
    ///
    /// # Errors
    /// When the logits are not numbers.
    pub fn ranked(&mut self, frame: u64, codebook: usize, logits: &[f32], count: usize) -> Result<Vec<(u32, f64)>> {
        let mut scores = Vec::new();
        self.scores(frame, codebook, logits, |token, score| scores.push((token, score)))?;
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        scores.truncate(count);
        Ok(scores)
    }
}

impl CodeSampler for KeyedSampler {
    fn sample(&mut self, frame: u64, codebook: usize, logits: &[f32]) -> Result<u32> {
        let (mut best, mut next) = ((f64::NEG_INFINITY, 0), f64::NEG_INFINITY);
        self.scores(frame, codebook, logits, |token, score| {
            // Strictly larger: of equal scores the lower code wins, everywhere.
            if score > best.0 {
                (best, next) = ((score, token), best.0);
            } else {
                next = next.max(score);
            }
        })?;
        self.gap = Some(best.0 - next);
        Ok(best.1)
    }

    fn keyed(&self) -> Option<(Sampling, KeyedNoise)> {
        Some((self.options, self.noise))
    }

    fn last_margin(&self) -> Option<f64> {
        self.gap
    }
}

/// The place of the largest logit, the lower one of equals.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (token, logit) in (0u32..).zip(logits) {
        if *logit > best.0 {
            best = (*logit, token);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_k: usize) -> Result<KeyedSampler> {
        KeyedSampler::new(Sampling { temperature, top_k, ..Sampling::default() }, KeyedNoise::new(11))
    }

    #[test]
    fn samples_follow_the_softmax_of_the_survivors() {
        let logits = [1.0f32, 0.0, 2.0, -1.0, 0.5];
        let temperature = 0.8;
        let weights: Vec<f64> = [0usize, 2, 4].iter().map(|i| (f64::from(logits[*i]) / 0.8).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut counts = [0f64; 5];
        let draws = 60_000;
        let mut sampler = sampler(temperature, 3).expect("options in range");
        for frame in 0..draws {
            counts[sampler.sample(frame, 3, &logits).expect("finite logits") as usize] += 1.0;
        }
        assert_eq!((counts[1], counts[3]), (0.0, 0.0), "codes outside the top 3 were drawn");
        for (place, code) in [0usize, 2, 4].iter().enumerate() {
            let expected = weights[place] / total * draws as f64;
            let z = (counts[*code] - expected) / (expected * (1.0 - weights[place] / total)).sqrt();
            assert!(z.abs() < 4.0, "code {code}: {} draws, expected {expected}, z {z}", counts[*code]);
        }
    }

    #[test]
    fn the_gap_is_that_between_the_two_largest_scores() {
        let mut sampler = sampler(1.0, 4).expect("options in range");
        assert_eq!(sampler.last_margin(), None);
        for frame in 0..200 {
            let logits = [0.3, 1.0, -0.5, 0.9, 0.0];
            let ranked = sampler.ranked(frame, 2, &logits, 2).expect("finite logits");
            assert_eq!(sampler.sample(frame, 2, &logits).expect("finite logits"), ranked[0].0);
            assert_eq!(sampler.last_margin(), Some(ranked[0].1 - ranked[1].1));
        }
    }

    #[test]
    fn ties_at_the_threshold_all_survive() {
        let mut sampler = sampler(1.0, 2).expect("options in range");
        let mut seen = [false; 4];
        for frame in 0..1000 {
            seen[sampler.sample(frame, 0, &[1.0, 1.0, 1.0, -9.0]).expect("finite logits") as usize] = true;
        }
        assert_eq!(seen, [true, true, true, false]);
    }

    #[test]
    fn of_a_large_vocabulary_the_same_codes_can_be_drawn_as_if_all_were_sorted() {
        let noise = KeyedNoise::new(5);
        for (top_k, size) in [(1, 9), (3, 40), (50, 8197), (50, 201), (7, 29)] {
            let logits: Vec<f32> =
                (0..size).map(|token| (noise.gumbel(1, 2, token) * 4.0).round() as f32 / 4.0).collect();
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let expected = logits.iter().filter(|logit| **logit >= sorted[top_k - 1]).count();
            let ranked = sampler(1.0, top_k).expect("in range").ranked(0, 0, &logits, size as usize).expect("finite");
            assert_eq!(ranked.len(), expected, "{top_k} of {size}");
            assert!(ranked.iter().all(|(token, _)| logits[*token as usize] >= sorted[top_k - 1]));
        }
    }

    #[test]
    fn temperature_zero_takes_the_largest_logit_and_the_lower_of_equals() {
        assert_eq!(sampler(0.0, 50).expect("in range").sample(0, 0, &[0.0, 3.0, 3.0, 1.0]).expect("finite"), 1);
    }

    #[test]
    fn a_top_k_beyond_the_vocabulary_filters_nothing() {
        let mut all = sampler(1.0, 1000).expect("in range");
        let mut exact = sampler(1.0, 4).expect("in range");
        let logits = [0.3, 0.1, -0.2, 0.7];
        for frame in 0..200 {
            assert_eq!(
                all.sample(frame, 1, &logits).expect("finite"),
                exact.sample(frame, 1, &logits).expect("finite")
            );
        }
    }

    #[test]
    fn the_first_of_the_ranked_codes_is_the_one_that_is_drawn() {
        let logits = [1.0f32, 0.0, 2.0, -1.0, 0.5, 2.0];
        for temperature in [0.0, 1.0] {
            let mut sampler = sampler(temperature, 4).expect("in range");
            for frame in 0..100 {
                let ranked = sampler.ranked(frame, 2, &logits, 3).expect("finite");
                assert_eq!(ranked[0].0, sampler.sample(frame, 2, &logits).expect("finite"));
                assert!(ranked.is_sorted_by(|a, b| a.1 >= b.1) && ranked.len() == 3);
            }
        }
    }

    #[test]
    fn options_outside_their_range_are_refused_by_name() {
        for temperature in [f32::NAN, f32::INFINITY, -0.1] {
            assert!(sampler(temperature, 50).expect_err("out of range").to_string().starts_with("temperature must be"));
        }
        assert!(sampler(1.0, 0).expect_err("out of range").to_string().starts_with("top-k must be"));
    }

    #[test]
    fn logits_that_are_not_numbers_are_an_error_with_their_place() {
        let error = sampler(1.0, 5).expect("in range").sample(12, 3, &[0.0, f32::NAN]).expect_err("not a number");
        assert!(error.to_string().contains("frame 12, codebook 3"), "{error}");
    }
}
