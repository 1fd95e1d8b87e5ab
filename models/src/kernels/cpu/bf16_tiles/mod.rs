//! Matrix products in tiles of bf16: with AMX, with the same sums in software, or with `bfmmla` of ARM64.
//!
//! A row is the sum of two bf16, a weight of one or two ([`parts`], [`mod@arrange`]), and a tile adds their products up in
//! f32. A result is one sum in one order, step after step of 32 inputs, whatever the shape of a strip, the number of
//! rows or the threads; and every product of the set is made so, of one row, too. So its rows are stable as those of
//! the other sets are. (`docs/decisions/021-products-in-tiles.md`)

use std::{cell::Cell, ops::Range};

use rayon::prelude::*;

use super::{
    KernelSet,
    lhs_packing::Rows,
    packed::{PANEL, Packed},
    results::Results,
};

#[cfg(target_arch = "x86_64")]
mod amx;
mod arrange;
#[cfg(target_arch = "x86_64")]
mod arrange_avx512;
#[cfg(target_arch = "aarch64")]
mod bfmmla;
mod parts;
mod software;
mod split;
#[cfg(test)]
mod tests;
mod unit;

#[cfg(target_arch = "x86_64")]
pub(super) use amx::{ROUND, is_permitted, multiply_zeros};
use arrange::{PanelPlace, arrange, parts_of};
use parts::{PartTile, RowParts, SIDE, STEP, STEPS_AT_ONCE, SumTile, split_rows};
use split::Split;
pub(super) use unit::Unit;
use unit::{SQUARE, Strip, WIDE, shape};

/// Tiles of weights that are arranged at once: 32 KB, which the nearest cache holds beside the rows that pass by.
const BLOCK: usize = 32;
/// Panels whose sums are kept while the rows of a block of inputs are at hand: for the most rows of a task, 384 KB.
const CHUNK: usize = 16;

thread_local! {
    /// Room of the tasks of a thread, reused from product to product.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { rows: Vec::new(), weights: Vec::new(), sums: Vec::new() }) };
    /// Rows that a thread has split for all tasks of its product.
    static SHARED: Cell<Vec<RowParts>> = const { Cell::new(Vec::new()) };
}

/// Room of one task.
#[derive(Default)]
struct Scratch {
    rows: Vec<RowParts>,
    weights: Vec<PartTile>,
    sums: Vec<SumTile>,
}

/// The first `count` tiles of `room`, which grows to them; their contents are arbitrary.
fn first<T: Clone>(room: &mut Vec<T>, count: usize, empty: T) -> &mut [T] {
    if room.len() < count {
        room.resize(count, empty);
    }
    &mut room[..count]
}

const NO_ROWS: RowParts = [PartTile::ZERO; 2];

/// A product in tiles.
pub(super) struct Product<'a> {
    pub unit: Unit,
    pub set: KernelSet,
    pub rows: Rows<'a>,
    pub weights: &'a Packed,
    pub results: &'a Results<'a>,
}

impl Product<'_> {
    /// Computes it on the threads of the pool that it is called in.
    pub fn compute(&self) {
        let inputs = self.weights.inputs();
        let split = Split::of(self.rows.count, inputs, self.weights.outputs(), rayon::current_num_threads());
        let turn = |run: &(dyn Fn(usize) + Sync)| match split.blocks * split.columns {
            tasks if split.alone => (0..tasks).for_each(run),
            tasks => (0..tasks).into_par_iter().with_max_len(1).for_each(run),
        };
        let steps = inputs.div_ceil(STEP);
        if split.columns == 1 {
            return turn(&|block| {
                let (rows, mut scratch) = (split.rows(block), SCRATCH.take());
                let mut room = std::mem::take(&mut scratch.rows);
                let tiles = first(&mut room, rows.len().div_ceil(SIDE) * steps, NO_ROWS);
                self.split_rows(rows.clone(), tiles, false);
                // SAFETY: the blocks of rows are disjoint, and inside the result.
                unsafe { self.block(tiles, rows, 0..self.weights.panels(), &mut scratch) };
                scratch.rows = room;
                SCRATCH.set(scratch);
            });
        }
        let mut room = SHARED.take();
        let tiles = first(&mut room, self.rows.count.div_ceil(SIDE) * steps, NO_ROWS);
        self.split_rows(0..self.rows.count, tiles, true);
        let tiles = &*tiles;
        turn(&|task| {
            let (block, column) = (task / split.columns, task % split.columns);
            let (rows, panels, mut scratch) = (split.rows(block), split.panels(column), SCRATCH.take());
            let tiles = &tiles[rows.start / SIDE * steps..][..rows.len().div_ceil(SIDE) * steps];
            // SAFETY: the tasks' rows times panels are disjoint, and inside the result.
            unsafe { self.block(tiles, rows, panels, &mut scratch) };
            SCRATCH.set(scratch);
        });
        SHARED.set(room);
    }

    /// Splits rows, which begin at a tile, into parts: \[row tile, step\].
    fn split_rows(&self, rows: Range<usize>, to: &mut [RowParts], with_others: bool) {
        let steps = self.weights.inputs().div_ceil(STEP);
        let tile = |(tile, to): (usize, &mut [RowParts])| {
            let top = rows.start + tile * SIDE;
            let rows = top..rows.end.min(top + SIDE);
            let piece = |(place, to): (usize, &mut [RowParts])| {
                split_rows(self.set, self.rows, rows.clone(), place * STEPS_AT_ONCE, to);
            };
            if with_others {
                to.par_chunks_mut(STEPS_AT_ONCE).enumerate().for_each(piece);
            } else {
                to.chunks_mut(STEPS_AT_ONCE).enumerate().for_each(piece);
            }
        };
        if with_others {
            to.par_chunks_mut(steps).enumerate().for_each(tile);
        } else {
            to.chunks_mut(steps).enumerate().for_each(tile);
        }
    }

    /// Rows `rows`, of which `split` are the parts, with a range of panels.
    ///
    /// # Safety
    /// No other thread may touch the outputs of these rows and panels meanwhile.
    unsafe fn block(&self, split: &[RowParts], rows: Range<usize>, panels: Range<usize>, scratch: &mut Scratch) {
        let inputs = self.weights.inputs();
        let (all_steps, tiles) = (inputs.div_ceil(STEP), rows.len().div_ceil(SIDE));
        let [_, group] = if tiles == 1 { WIDE } else { SQUARE };
        let parts = parts_of(self.weights.dtype());
        let at_once = BLOCK / (parts * group);
        let order = self.unit.order();
        let room = first(&mut scratch.weights, BLOCK, PartTile::ZERO);
        let sums = first(&mut scratch.sums, CHUNK * tiles, SumTile::ZERO);
        for chunk in panels.clone().step_by(CHUNK) {
            let chunk = chunk..panels.end.min(chunk + CHUNK);
            sums.fill(SumTile::ZERO);
            // No task of another product may begin on this thread before it is dropped.
            let unit = self.unit.ready();
            for start in (0..all_steps).step_by(at_once) {
                let steps = start..all_steps.min(start + at_once);
                let taken = steps.start * STEP..inputs.min(steps.end * STEP);
                let weights = &mut room[..steps.len() * parts * group];
                for (sums, first) in sums.chunks_exact_mut(group * tiles).zip(chunk.clone().step_by(group)) {
                    for panel in 0..group {
                        let place = PanelPlace { panels: group, panel };
                        // Beside the last panel, sums of stale weights are computed and not used.
                        if first + panel < chunk.end {
                            arrange(order, self.weights, first + panel, taken.clone(), place, weights);
                        }
                    }
                    let row_tile = |tile: usize| &split[tile * all_steps..][steps.clone()];
                    for (pair, sums) in sums.chunks_mut(2 * group).enumerate() {
                        let shape = shape(group, sums.len() / group);
                        let (count, last) = (rows.len() - 2 * pair * SIDE, 2 * pair + shape[0] - 1);
                        let rows = [row_tile(2 * pair), row_tile(last)];
                        let strip = Strip { shape, rows, count, weights, parts };
                        unit.multiply(&strip, sums);
                    }
                }
            }
            drop(unit);
            // SAFETY: these are outputs of this task.
            unsafe {
                self.take(sums, rows.clone(), chunk.clone(), group);
                self.results.finish(rows.clone(), chunk.start, chunk.len());
            }
        }
    }

    /// Brings the sums, \[group, row tile, panel\], where the results belong.
    ///
    /// # Safety
    /// As [`Results::row`].
    unsafe fn take(&self, sums: &[SumTile], rows: Range<usize>, panels: Range<usize>, group: usize) {
        let tiles = rows.len().div_ceil(SIDE);
        for (place, row) in rows.enumerate() {
            // SAFETY: as the caller guarantees.
            let out = unsafe { self.results.row(row, panels.clone()) };
            for (panel, out) in out.chunks_mut(PANEL).enumerate() {
                let tile = (panel / group * tiles + place / SIDE) * group + panel % group;
                out.copy_from_slice(&sums[tile].0[place % SIDE][..out.len()]);
            }
        }
    }
}
