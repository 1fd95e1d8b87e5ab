//! Level of a song and of its edges: largest sample, bursts at the beginning and at the end.

/// The largest magnitude of a sample and the mean of all.
pub fn level(sound: [&[f32]; 2]) -> (f32, f64) {
    let all = || sound.into_iter().flatten();
    let loudest = all().fold(0f32, |loudest, x| loudest.max(x.abs()));
    (loudest, all().map(|x| f64::from(*x)).sum::<f64>() / all().count().max(1) as f64)
}

/// RMS of a span of the mean of both channels, in decibels of full scale, at least -180.
fn rms([left, right]: [&[f32]; 2], span: std::ops::Range<usize>) -> f64 {
    let end = span.end.min(left.len()).min(right.len());
    let pairs = left[span.start.min(end)..end].iter().zip(&right[span.start.min(end)..end]);
    let power = pairs.map(|(left, right)| (f64::from(left + right) / 2.0).powi(2)).sum::<f64>();
    20.0 * ((power / (end - span.start.min(end)).max(1) as f64).sqrt() + 1e-9).log10()
}

/// Decibels by which the first 40 ms are louder than what sounds from 60 to 100 ms, and the last 10 ms louder than the
/// 250 ms before them. A burst is above 3 dB; a song that begins and ends in silence is far below.
pub fn bursts(sound: [&[f32]; 2]) -> [f64; 2] {
    let ms = |count: usize| 48 * count;
    let end = sound[0].len();
    let from_end = |count: usize| end.saturating_sub(ms(count));
    [
        rms(sound, 0..ms(40)) - rms(sound, ms(60)..ms(100)),
        rms(sound, from_end(10)..end) - rms(sound, from_end(260)..from_end(10)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(seconds: f64, level: f64) -> Vec<f32> {
        let wave = |n: usize| level * (std::f64::consts::TAU * 997.0 * n as f64 / 48_000.0).sin();
        (0..(seconds * 48_000.0) as usize).map(|n| wave(n) as f32).collect()
    }

    #[test]
    fn a_burst_is_found_at_the_edge_that_it_is_planted_at() {
        let mut sound = sine(2.0, 0.1);
        assert!((level([&sound, &sound]).0 - 0.1).abs() < 1e-3);
        let [begin, end] = bursts([&sound, &sound]);
        assert!(begin.abs() < 0.5 && end.abs() < 0.5, "{begin} and {end}");
        sound[..1920].iter_mut().for_each(|x| *x *= 3.0);
        let [begin, end] = bursts([&sound, &sound]);
        assert!((begin - 9.5).abs() < 0.5 && end.abs() < 0.5, "{begin} and {end}");
        let last = sound.len() - 480;
        sound[last..].iter_mut().for_each(|x| *x *= 3.0);
        assert!(bursts([&sound, &sound])[1] > 9.0);
        assert!(bursts([&[], &[]]).iter().all(|burst| burst.is_finite()));
    }
}
