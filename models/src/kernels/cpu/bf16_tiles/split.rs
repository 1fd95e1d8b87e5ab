//! Split of a product into tasks.

use std::ops::Range;

use super::{
    super::{matmul::WORTH_A_THREAD, packed::PANEL},
    parts::SIDE,
    unit::{SQUARE, WIDE},
};

/// Row tiles of a task, at most: the parts of their rows for one block of inputs are 384 KB.
const MOST_TILES: usize = 24;
/// Row tiles from which on a task splits its rows by itself and takes all outputs: weights are then arranged once for
/// at least these rows.
const OWN_TILES: usize = 6;
/// Tasks for each thread, if there is enough work.
const TASKS: usize = 2;

/// Blocks of row tiles times columns of panels, a task each.
pub(super) struct Split {
    pub blocks: usize,
    /// With one column, a task splits its rows itself.
    pub columns: usize,
    /// Whether all of it is too little for a second thread.
    pub alone: bool,
    rows: usize,
    panels: usize,
    /// Panels that are multiplied side by side.
    group: usize,
}

impl Split {
    /// The split of a product with `rows`, `inputs` and `outputs` among `threads`.
    pub fn of(rows: usize, inputs: usize, outputs: usize, threads: usize) -> Self {
        let (tiles, panels) = (rows.div_ceil(SIDE), outputs.div_ceil(PANEL));
        let [_, group] = if tiles == 1 { WIDE } else { SQUARE };
        let wanted = (threads * TASKS).min((rows * outputs * inputs).div_ceil(WORTH_A_THREAD));
        let (blocks, alone) = (tiles.div_ceil(MOST_TILES), wanted < 2);
        let (blocks, columns) = if alone {
            (blocks, 1)
        } else if tiles >= threads * OWN_TILES {
            (blocks.next_multiple_of(threads).min(tiles), 1)
        } else {
            let (columns, most) = (wanted.div_ceil(blocks), panels.div_ceil(group));
            // Whole turns of all threads, if that takes few more columns.
            let even = (columns..columns + threads).find(|columns| (blocks * columns).is_multiple_of(threads));
            (blocks, even.unwrap_or(columns).clamp(1, most))
        };
        Self { blocks, columns, alone, rows, panels, group }
    }

    /// The rows of a block: whole tiles, as many in each block as in any, or one fewer.
    pub fn rows(&self, block: usize) -> Range<usize> {
        let tiles = self.rows.div_ceil(SIDE);
        let row = |block: usize| (block * tiles / self.blocks * SIDE).min(self.rows);
        row(block)..row(block + 1)
    }

    /// The panels of a column: whole groups.
    pub fn panels(&self, column: usize) -> Range<usize> {
        let groups = self.panels.div_ceil(self.group);
        let panel = |column: usize| (column * groups / self.columns * self.group).min(self.panels);
        panel(column)..panel(column + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_output_belongs_to_one_task_however_many_threads_there_are() {
        for (rows, inputs, outputs) in
            [(1, 3072, 3072), (17, 40, 33), (186, 1536, 8192), (744, 8192, 3072), (30_000, 448, 64)]
        {
            for threads in [1, 2, 3, 8, 16, 61] {
                let split = Split::of(rows, inputs, outputs, threads);
                let whole = |ranges: Vec<Range<usize>>, end: usize| {
                    assert!(ranges.iter().all(|range| !range.is_empty()), "{rows} x {outputs}, {threads} threads");
                    assert!(ranges.windows(2).all(|two| two[0].end == two[1].start));
                    assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, end));
                };
                whole((0..split.blocks).map(|block| split.rows(block)).collect(), rows);
                whole((0..split.columns).map(|column| split.panels(column)).collect(), outputs.div_ceil(PANEL));
            }
        }
    }
}
