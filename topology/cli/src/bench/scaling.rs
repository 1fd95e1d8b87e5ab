//! Scaling of each stage with threads: a column for each number of them, beside the limit of the machine.

use std::fmt::Write;

use heartstream_models::kernels::cpu::Limits;
use serde_json::{Value, json};

use super::speed_report::{Row, limits_json, rows_json};

/// The stages with another number of threads than the rest of the bench.
#[derive(Debug, Clone)]
pub(super) struct Fewer {
    pub threads: usize,
    pub limits: Limits,
    pub rows: Vec<Row>,
}

impl Fewer {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "threads": self.threads,
            "limits": limits_json(&self.limits),
            "rows": rows_json(&self.rows, &self.limits),
        })
    }
}

/// Each stage of `last` that was measured with others, too: its time, and its share of the limit with these threads.
/// Nothing where there are no others.
pub(super) fn table(others: &[Fewer], last: (usize, &[Row], &Limits)) -> String {
    let (threads, rows, limits) = last;
    if others.is_empty() {
        return String::new();
    }
    let others = others.iter().map(|other| (other.threads, &other.rows[..], &other.limits));
    let columns: Vec<_> = others.chain([(threads, rows, limits)]).collect();
    let mut text = format!("\n{:<28}", "threads");
    let mut line = |head: &str, cells: Vec<String>| {
        let _ = write!(text, "{head}");
        for cell in cells {
            let _ = write!(text, "{cell:>20}");
        }
        text.push('\n');
    };
    line("", columns.iter().map(|(threads, ..)| threads.to_string()).collect());
    let limit = |(_, _, limits): &(usize, &[Row], &Limits)| {
        format!("{:.0} GB/s, {:.0} GF/s", limits.read_bytes / 1e9, limits.flop / 1e9)
    };
    line(&format!("{:<28}", "limits"), columns.iter().map(limit).collect());
    for Row { stage, .. } in rows {
        let cell = |(_, rows, limits): &(usize, &[Row], &Limits)| {
            let row = rows.iter().find(|row| row.stage == *stage)?;
            Some(format!("{:.1} ms {:3.0} %", row.time.0 * 1e3, 100.0 * row.share(limits)))
        };
        if let Some(cells) = columns.iter().map(cell).collect::<Option<Vec<_>>>() {
            line(&format!("{stage:<28}"), cells);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use heartstream::units::Seconds;

    use super::{super::speed_report::Work, *};

    #[test]
    fn each_stage_that_all_have_is_a_line_with_a_share_of_each_numbers_own_limits() {
        let row = |stage: &str, time| Row {
            stage: stage.to_owned(),
            time: Seconds(time),
            work: Work::Flop(1_000_000_000),
            audio: None,
        };
        let limits = |flop| Limits { read_bytes: 1e10, flop };
        let others = [Fewer { threads: 1, limits: limits(2e9), rows: vec![row("flow", 1.0)] }];
        let table = table(&others, (16, &[row("flow", 0.125), row("workers", 1.0)], &limits(16e9)));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[3].starts_with("flow ") && lines[3].ends_with("125.0 ms  50 %"), "{table}");
        assert!(lines[3].contains("1000.0 ms  50 %"), "{table}");
    }
}
