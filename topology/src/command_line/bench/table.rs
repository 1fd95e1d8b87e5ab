//! How is a bench told to a person? As a table.

use std::fmt::Write;

use heartstream_messages::Continuity;
use heartstream_models::quality::SeamMeasure;

use super::report::{Measured, Report};

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
    let head = [
        ("", "first", "", "", "SNR", "mel", "", "jump", "99 %", "per-", "step", "99 %", "per-", "flow", ""),
        (
            "continuity",
            "window",
            "steps",
            "windows",
            "dB",
            "distance",
            "seams",
            "dB",
            "dB",
            "centile",
            "",
            "",
            "centile",
            "RTF",
            "RTF",
        ),
    ];
    for (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o) in head {
        let _ = writeln!(
            text,
            "{a:<10} {b:>6} {c:>5} {d:>7} {e:>6} {f:>8} {g:>5} {h:>6} {i:>5} {j:>7} {k:>6} {l:>6} {m:>7} {n:>6} {o:>6}"
        );
    }
    for mode in modes {
        let _ = writeln!(text, "{}", row(mode));
    }
    text += "\n\
        SNR           signal-to-noise ratio against the reference\n\
        mel distance  mean absolute difference of log-mel spectra against the reference; 0.1 is 0.87 dB\n\
        seams         instants that were compared with the rest of the song: a join, or begin, middle and end of a fade\n\
        jump, step    the worst seam's click and change of timbre; the 99th percentile of the same measure elsewhere; and\n\
        \x20             the percentile that the worst seam has there: * is above the 99th\n\
        RTF           time of decoding per time of music, window after window on all cores; flow: without the vocoder\n";
    text
}

fn row(measured: &Measured) -> String {
    let Measured { mode, windows, signal_to_noise, found, audio, flow, .. } = measured;
    let ratio = if signal_to_noise.is_finite() { format!("{signal_to_noise:.1}") } else { "same".to_owned() };
    let (jump, step) = (cells(&found.jump, 1), cells(&found.step, 3));
    format!(
        "{:<10} {:>6} {:>5} {windows:>7} {ratio:>6} {:>8.4} {:>5} {:>6} {:>5} {:>7} {:>6} {:>6} {:>7} {:>6.3} {:>6.3}",
        name(mode.continuity),
        mode.plan.first_window(),
        mode.steps,
        measured.mel_distance(),
        found.jump.at_seams.len(),
        jump[0],
        jump[1],
        jump[2],
        step[0],
        step[1],
        step[2],
        flow.0 / audio.0,
        measured.real_time_factor(),
    )
}

/// The worst seam, the limit, and the seam's percentile.
fn cells(measure: &SeamMeasure, digits: usize) -> [String; 3] {
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let worst = measure.worst().map(|worst| worst.1);
    let mut percentile = number(worst.and_then(|worst| measure.percentile(worst)), 1);
    percentile += if measure.holds() { " " } else { "*" };
    [number(worst, digits), number(measure.limit(), digits), percentile]
}
