//! Figures of songs by prompts in a user's manner, beside real renders: form, dwelling, silence, length, level, edges.

use heartstream::units::Frames;

use super::{
    Counts, Shown,
    chroma::chroma,
    comb::{Comb, comb},
    edges::{bursts, level},
    form::{dwelling, returning, silence_inside},
    instruments::{InstrumentClassifier, tagged},
    prompts::{Prompt, prompts, sung_lines},
    rendered::Renderer,
    wav,
};
use crate::{
    corpus::{INSTRUMENTS, Manner, loudness},
    error::Result,
    feed::Song,
    setting::Setting,
};

/// Seconds of a line, by which the length of a song is judged.
const LINE_SECONDS: f64 = 3.2;
/// How far from that a length may be, as a share of it.
const LENGTH_TOLERANCE: f64 = 0.25;
/// Seconds of the shortest song that is asked what comes back in it.
pub const LONG: f64 = 20.0;

/// What is measured of a song.
struct Figures {
    lines: usize,
    seconds: f64,
    returning: Option<f64>,
    dwelling: f64,
    silence: f64,
    loudness: f64,
    loudest: f32,
    bursts: [f64; 2],
    comb: Comb,
    by_itself: bool,
}

impl Figures {
    fn of(song: &Song, by_itself: bool) -> Result<Self> {
        let (chroma, sound) = (chroma(&song.left)?, [song.left.as_slice(), &song.right]);
        Ok(Self {
            lines: sung_lines(&song.lyrics),
            seconds: song.left.len() as f64 / 48_000.0,
            returning: returning(&chroma),
            dwelling: dwelling(&chroma),
            silence: silence_inside(&song.left),
            loudness: loudness(sound),
            loudest: level(sound).0,
            bursts: bursts(sound),
            comb: comb(&song.left),
            by_itself,
        })
    }

    fn fits(&self) -> bool {
        fits(self.seconds, self.lines)
    }
}

/// Whether a song is as long as its lines say.
pub fn fits(seconds: f64, lines: usize) -> bool {
    (seconds / (LINE_SECONDS * lines as f64) - 1.0).abs() <= LENGTH_TOLERANCE
}

/// The frames after which a song is ended: twice what its lines ask for, and 10 s.
pub fn longest(prompt: &Prompt) -> Frames {
    Frames(((2.0 * LINE_SECONDS * prompt.lines() as f64 + 10.0) * 12.5) as u64)
}

/// Has the songs written and prints the figures, beside those of as many real renders as there are prompts.
///
/// # Errors
/// When the engine fails, or a sound cannot be written.
pub fn print(
    setting: &Setting,
    renderer: &Renderer,
    classifier: &InstrumentClassifier,
    counts: &Counts,
    shown: &Shown,
) -> Result<()> {
    let (mut ours, mut recognised) = (Vec::new(), [0, 0]);
    for (place, prompt) in prompts().into_iter().take(counts.prompts).enumerate() {
        for take in 0..counts.takes {
            let seed = (take * counts.prompts + place) as u64;
            let rendered = renderer.rendered(&prompt.tags, &prompt.lyrics, seed, longest(&prompt))?;
            let figures = Figures::of(&rendered.song, rendered.by_itself)?;
            let recognised_as = classifier.classify(&rendered.song)?;
            if let Some(tagged) = tagged(&prompt.tags.to_lowercase()) {
                recognised[1] += 1;
                recognised[0] += usize::from(recognised_as == Some(tagged));
            }
            println!(
                "  {place:>2}.{take} {:<34} {:>2} lines, {:>5.1} s{}, {} back, {:>4.1} s on a class, {:>4.2} s silent, {:>5.1} LUFS; \
                 sounds like {}",
                prompt.tags,
                figures.lines,
                figures.seconds,
                if figures.by_itself { "" } else { " (not ended)" },
                figures.returning.map_or("  - ".to_owned(), |share| format!("{:>3.0} %", 100.0 * share)),
                figures.dwelling,
                figures.silence,
                figures.loudness,
                recognised_as.map_or("nothing", |place| INSTRUMENTS[place].tag),
            );
            if let (Some(folder), 0) = (&shown.wavs, take) {
                wav::write([&rendered.song.left, &rendered.song.right], folder, &format!("prompt-{place:02}.wav"))?;
            }
            ours.push(figures);
        }
    }
    let songs = setting.source.songs(true, Manner::Form, 0, setting.seed, setting.threads).take(counts.prompts);
    let real = songs.map(|song| Figures::of(&song?, true)).collect::<Result<Vec<_>>>()?;
    print_table(&ours, &real);
    println!("tagged instrument recognised: {} of {}", recognised[0], recognised[1]);
    Ok(())
}

/// The `share` quantile; not a number where there is nothing.
pub fn quantile(numbers: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let place = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// How many of a hundred.
pub fn percent<T>(figures: &[T], holds: impl Fn(&T) -> bool) -> f64 {
    100.0 * figures.iter().filter(|one| holds(one)).count() as f64 / figures.len().max(1) as f64
}

fn print_table(ours: &[Figures], real: &[Figures]) {
    let each = |name: &str, wanted: &str, of: &dyn Fn(&[Figures]) -> String| {
        println!("{name}: {} (real renders {}; {wanted})", of(ours), of(real));
    };
    println!("prompts in a user's manner, {} songs, beside {} real renders:", ours.len(), real.len());
    each("3 s patches that come back in songs of 20 s and more, median", "at least 25 %", &|all| {
        let long = all.iter().filter(|one| one.seconds >= LONG).filter_map(|one| one.returning);
        format!("{:.0} %", 100.0 * quantile(long, 0.5))
    });
    each("songs with more than 4 s on one pitch class; with more than 6 s", "at most 15 % and 3 %", &|all| {
        format!("{:.0} % and {:.0} %", percent(all, |one| one.dwelling > 4.0), percent(all, |one| one.dwelling > 6.0))
    });
    each("longest stretch on one pitch class, median and largest", "as real renders have", &|all| {
        let of = |share| quantile(all.iter().map(|one| one.dwelling), share);
        format!("{:.1} and {:.1} s", of(0.5), of(1.0))
    });
    each("silence inside, 95th percentile and largest", "at most 0.6 s in 95 %", &|all| {
        let of = |share| quantile(all.iter().map(|one| one.silence), share);
        format!("{:.2} and {:.2} s", of(0.95), of(1.0))
    });
    each("songs that end by themselves", "100 %", &|all| format!("{:.0} %", percent(all, |one| one.by_itself)));
    each("lengths within 25 % of 3.2 s a line", "at least 80 %", &|all| {
        format!("{:.0} %", percent(all, Figures::fits))
    });
    each("loudness, 5th percentile, median and 95th", "-16 LUFS, within 2", &|all| {
        let of = |share| quantile(all.iter().map(|one| one.loudness), share);
        format!("{:.1}, {:.1} and {:.1} LUFS", of(0.05), of(0.5), of(0.95))
    });
    each("largest sample", "below 1", &|all| format!("{:.3}", all.iter().map(|one| one.loudest).fold(0.0, f32::max)));
    each("burst at the beginning, at the end, median", "at most 3 dB", &|all| {
        let of = |edge: usize| quantile(all.iter().map(|one| one.bursts[edge]), 0.5);
        format!("{:.1} and {:.1} dB", of(0), of(1))
    });
    each("4 to 12 kHz within 5 Hz of multiples of 125 Hz; energy there, medians", "white noise 9 %", &|all| {
        let of = |part: &dyn Fn(&Comb) -> f64| quantile(all.iter().map(|one| part(&one.comb)), 0.5);
        format!("{:.0} %, {:.1} dB below the song", 100.0 * of(&|comb| comb.share), -of(&|comb| comb.band))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_judged_by_its_lines_and_a_quantile_by_its_rank() {
        let lyrics = "[Verse]\none\ntwo\n\n[Outro]".to_owned();
        let song = |seconds: f64| {
            let sound = vec![0.1f32; (seconds * 48_000.0) as usize];
            Song::sounding("", &lyrics, [sound.clone(), sound], 0)
        };
        for (seconds, fits) in [(4.7, false), (4.9, true), (7.9, true), (8.1, false)] {
            assert_eq!(Figures::of(&song(seconds), true).expect("a sound").fits(), fits, "{seconds} s of 2 lines");
        }
        assert_eq!(quantile([3.0, 1.0, 2.0].into_iter(), 0.5), 2.0);
        assert_eq!(quantile([3.0, 1.0, 2.0].into_iter(), 1.0), 3.0);
        assert!(quantile(std::iter::empty(), 0.5).is_nan());
    }
}
