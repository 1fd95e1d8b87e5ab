//! Table of `bench continuity` for a person.

use std::fmt::Write;

use heartstream::Continuity;
use heartstream_tools::quality::{Heard, SeamMeasure, Thumps};

use super::report::{Measured, Report};

/// The two lines above each column.
const HEAD: [[&str; COLUMNS]; 2] = [
    [
        "",
        "first",
        "look-",
        "",
        "SNR",
        "mel",
        "",
        "jumps",
        "steps",
        "50-350 Hz",
        "above",
        "100-1500 Hz",
        "above",
        "begin",
        "end",
        "",
        "flow",
        "",
    ],
    [
        "continuity",
        "window",
        "ahead",
        "steps",
        "dB",
        "distance",
        "seams",
        "above",
        "above",
        "median dB",
        "95 %",
        "median dB",
        "95 %",
        "dB",
        "dB",
        "",
        "RTF",
        "RTF",
    ],
];
const COLUMNS: usize = 18;

/// What the columns mean.
const LEGEND: &str = "\
SNR           signal-to-noise ratio against the reference, mean of the songs
mel distance  mean absolute difference of log-mel spectra against the reference; 0.1 is 0.87 dB
seams         instants that are compared with the rest of the songs: a join, or begin, middle and end of a fade
jumps, steps  seams whose click, or change of timbre, is above the 99th percentile elsewhere in the same song
50-350 Hz     energy of 70 ms at a seam over its surroundings, median of all seams, and beside it that of all places
              elsewhere; the seams above the 95th percentile of these. The same from 100 to 1500 Hz
begin, end    the first 40 ms over what follows, the last 10 ms over what precedes; median of the songs
ok            at most 12 % of the seams are above, their median is at most 1 dB above that elsewhere, begin and end are
              at most 3 dB
RTF           time of decoding per time of music, window after window on all cores; flow: without the vocoder
";

/// What the command line calls a continuity.
pub(super) fn name(continuity: Continuity) -> &'static str {
    match continuity {
        Continuity::Reference => "reference",
        Continuity::Chained => "chained",
        Continuity::Parallel => "parallel",
    }
}

/// The table, and what its columns mean.
pub(super) fn table(report: &Report) -> String {
    let seconds: f64 = report.songs.iter().map(|song| song.request.max_frames.seconds().0).sum();
    let mut text = format!(
        "model {}, {} of {seconds:.1} s, compared with reference at {} steps\n\n",
        report.model,
        if report.songs.len() == 1 { "1 song".to_owned() } else { format!("{} songs", report.songs.len()) },
        report.golden_steps,
    );
    let head = HEAD.map(|line| line.map(str::to_owned));
    text += &aligned(&head.into_iter().chain(report.ways().iter().map(|way| row(way))).collect::<Vec<_>>());
    text + "\n" + LEGEND
}

/// The first column stands to the left, all others to the right.
fn aligned(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A way of decoding, as it came out in all songs.
fn row(way: &[&Measured]) -> [String; COLUMNS] {
    let Some(Measured { mode, .. }) = way.first() else { return std::array::from_fn(|_| String::new()) };
    let heard = Heard::of(way.iter().map(|measured| &measured.heard));
    let sum = |value: fn(&Measured) -> f64| way.iter().map(|measured| value(measured)).sum::<f64>();
    let mean = |value| sum(value) / way.len() as f64;
    let audio = sum(|measured| measured.audio.0);
    let ratio = mean(|measured| measured.signal_to_noise);
    let above = |measure: fn(&Measured) -> &SeamMeasure| {
        way.iter().map(|measured| measure(measured).above()).sum::<usize>().to_string()
    };
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let [(low, low_above), (high, high_above)] = heard.thumps.map(|thumps| cells(&thumps));
    [
        name(mode.continuity).to_owned(),
        mode.plan.first_window().to_string(),
        if mode.continuity == Continuity::Chained { mode.plan.look_ahead().to_string() } else { "-".to_owned() },
        mode.steps.to_string(),
        if ratio.is_finite() { format!("{ratio:.1}") } else { "same".to_owned() },
        format!("{:.4}", mean(Measured::mel_distance)),
        way.iter().map(|measured| measured.found.jump.at_seams.len()).sum::<usize>().to_string(),
        above(|measured| &measured.found.jump),
        above(|measured| &measured.found.step),
        low,
        low_above,
        high,
        high_above,
        number(heard.begin),
        number(heard.end),
        if heard.holds() { "ok" } else { "NOT OK" }.to_owned(),
        format!("{:.3}", sum(|measured| measured.flow.0) / audio),
        format!("{:.3}", sum(|measured| measured.flow.0 + measured.vocoder.0) / audio),
    ]
}

/// The median of the seams with that of elsewhere, and the share of seams above the limit.
fn cells(thumps: &Thumps) -> (String, String) {
    match (thumps.median, thumps.elsewhere) {
        (Some(median), Some(elsewhere)) => {
            (format!("{median:+.1} ({elsewhere:+.1})"), format!("{:.0} %", 100.0 * thumps.above))
        }
        _ => ("-".to_owned(), "-".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |first: &str, second: &str| {
            let mut row: [String; COLUMNS] = std::array::from_fn(|_| String::new());
            (row[0], row[1]) = (first.to_owned(), second.to_owned());
            row
        };
        assert_eq!(aligned(&[row("a", "1000"), row("bcd", "2")]), "a    1000\nbcd     2\n");
    }
}
