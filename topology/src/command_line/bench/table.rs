//! How is a bench told to a person? As a table.

use std::fmt::Write;

use heartstream_messages::Continuity;
use heartstream_models::quality::SeamMeasure;

use super::report::{Measured, Report};

/// The two lines above each column.
const HEAD: [[&str; COLUMNS]; 2] = [
    [
        "", "first", "", "", "SNR", "mel", "", "jump", "99 %", "refer-", "per-", "step", "99 %", "refer-", "per-",
        "flow", "",
    ],
    [
        "continuity",
        "window",
        "steps",
        "windows",
        "dB",
        "distance",
        "seams",
        "dB",
        "dB",
        "ence",
        "centile",
        "",
        "",
        "ence",
        "centile",
        "RTF",
        "RTF",
    ],
];
const COLUMNS: usize = 17;

/// What the columns mean.
const LEGEND: &str = "\
SNR           signal-to-noise ratio against the reference
mel distance  mean absolute difference of log-mel spectra against the reference; 0.1 is 0.87 dB
seams         instants that are compared with the rest of the song: a join, or begin, middle and end of a fade
jump, step    the worst seam's click and its change of timbre; the 99th percentile of the same measure elsewhere; the
              measure at the same place of the reference; and the worst seam's percentile: * is above the 99th.
              By chance one seam in a hundred is, and so the worst of many is more often
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
    let Report { model, request, golden_steps, modes } = report;
    let mut text = format!(
        "model {model}, seed {}, {} frames ({}), compared with reference at {golden_steps} steps\n\n",
        request.seed,
        request.max_frames.0,
        request.max_frames.seconds()
    );
    let head = HEAD.map(|line| line.map(str::to_owned));
    text += &aligned(&head.into_iter().chain(modes.iter().map(row)).collect::<Vec<_>>());
    let _ = writeln!(text, "\n{}", among_all("jump", modes, |measured| &measured.found.jump));
    let _ = writeln!(text, "{}\n", among_all("step", modes, |measured| &measured.found.step));
    text + LEGEND
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

fn row(measured: &Measured) -> [String; COLUMNS] {
    let Measured { mode, windows, signal_to_noise, found, golden, audio, flow, .. } = measured;
    let ratio = if signal_to_noise.is_finite() { format!("{signal_to_noise:.1}") } else { "same".to_owned() };
    let [jump, limit, reference, percentile] = cells(&found.jump, &golden.jump, 1);
    let [step, step_limit, step_reference, step_percentile] = cells(&found.step, &golden.step, 2);
    [
        name(mode.continuity).to_owned(),
        mode.plan.first_window().to_string(),
        mode.steps.to_string(),
        windows.to_string(),
        ratio,
        format!("{:.4}", measured.mel_distance()),
        found.jump.at_seams.len().to_string(),
        jump,
        limit,
        reference,
        percentile,
        step,
        step_limit,
        step_reference,
        step_percentile,
        format!("{:.3}", flow.0 / audio.0),
        format!("{:.3}", measured.real_time_factor()),
    ]
}

/// How many seams stand out, all ways taken together: the sum tells chance from a fault where one way cannot.
fn among_all(name: &str, modes: &[Measured], measure: impl Fn(&Measured) -> &SeamMeasure) -> String {
    let (mut above, mut all) = (0, 0);
    for measure in modes.iter().map(measure) {
        above += measure.above();
        all += measure.at_seams.len();
    }
    format!("{name}: {above} of {all} seams are above the 99th percentile elsewhere")
}

/// The worst seam, the limit, the same place of the reference, and the seam's percentile.
fn cells(measure: &SeamMeasure, golden: &SeamMeasure, digits: usize) -> [String; 4] {
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let worst = measure.worst();
    let value = worst.map(|worst| worst.1);
    let mut percentile = number(value.and_then(|worst| measure.percentile(worst)), 1);
    percentile.push(if measure.holds() { ' ' } else { '*' });
    let reference = worst.and_then(|worst| golden.at(worst.0));
    [number(value, digits), number(measure.limit(), digits), number(reference, digits), percentile]
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
