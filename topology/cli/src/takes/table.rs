//! Table of takes: seed, length, loudness and end of each.

use heartstream::{Outcome, SongReport};
use heartstream_formats::Loudness;
use serde_json::{Value, json};

use crate::Failed;

/// What came of a take.
#[derive(Debug)]
pub(super) struct Row {
    pub number: u64,
    pub seed: u64,
    /// How it ended and how long it is; `None` if it did not begin.
    pub report: Option<SongReport>,
    /// Why it is not whole, or has no record.
    pub failure: Option<Failed>,
    pub loudness: Loudness,
    /// Its file, if it has one.
    pub file: Option<String>,
}

/// The heads of the columns.
const HEAD: [&str; 7] = ["take", "seed", "length", "LUFS", "dBTP", "end", "file"];

/// The table, a line for each take.
pub(super) fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 7]> = std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; 7];
    for row in &cells {
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    let line = |row: &[String; 7]| {
        let numbers = row[..5].iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
        let words = row[5..].iter().zip(&widths[5..]).map(|(cell, width)| format!("{cell:<width$}"));
        numbers.chain(words).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn cells(row: &Row) -> [String; 7] {
    let level = |level: Option<f64>| level.map_or_else(|| "-".to_owned(), |level| format!("{level:.1}"));
    let length = row.report.as_ref().map_or_else(|| "-".to_owned(), |report| report.audio.to_string());
    [
        row.number.to_string(),
        row.seed.to_string(),
        length,
        level(row.loudness.integrated),
        level(row.loudness.true_peak),
        end(row).to_owned(),
        row.file.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

/// How a take ended.
fn end(row: &Row) -> &'static str {
    match row.report.as_ref().map(|report| &report.outcome) {
        Some(Outcome::Finished | Outcome::ReaderLeft) => "finished",
        Some(Outcome::Cancelled) => "cancelled",
        Some(Outcome::Failed(_)) => "failed",
        Some(_) => "other",
        None => "not begun",
    }
}

/// The same for programs; docs/progress.md says what each is.
pub(super) fn facts(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "take": row.number,
            "seed": row.seed,
            "audio_s": row.report.as_ref().map(|report| report.audio.0),
            "lufs": row.loudness.integrated,
            "true_peak_db": row.loudness.true_peak,
            "outcome": end(row),
            "file": row.file,
        })
    };
    json!({ "takes": rows.iter().map(row).collect::<Vec<_>>() })
}

/// What the program's end says of the takes: cancelled if one was, else the first that failed.
pub(super) fn outcome(rows: Vec<Row>) -> Result<(), Failed> {
    let count = rows.len();
    let mut failed: Vec<_> = rows.into_iter().filter_map(|row| Some((row.number, row.failure?))).collect();
    if failed.iter().any(|(_, failure)| matches!(failure, Failed::Cancelled)) {
        return Err(Failed::Cancelled);
    }
    let many = failed.len();
    let first = (many > 0).then(|| failed.swap_remove(0));
    match first {
        None => Ok(()),
        Some((number, Failed::Error(said) | Failed::Usage(said))) => {
            Err(Failed::Error(format!("{many} of {count} takes failed; take {number}: {said}")))
        }
        Some((_, failure)) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_a_take_that_did_not_begin_has_its_line() {
        let row = |number, seed| Row {
            number,
            seed,
            report: None,
            failure: None,
            loudness: Loudness { integrated: Some(-18.25), true_peak: None },
            file: None,
        };
        let table = table(&[row(1, 7), row(10, 123_456)]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        let ends: Vec<usize> =
            lines.iter().map(|line| line.find("end").or(line.find("not begun")).expect("it")).collect();
        assert!(ends.iter().all(|place| *place == ends[0]), "{table}");
        assert!(lines[1].contains("-18.2") && lines[2].contains("123456"), "{table}");
    }
}
