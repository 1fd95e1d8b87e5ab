//! Matrix product with fixed weights: blocks, tiles, and their distribution among threads.

use std::{cell::Cell, mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    KernelSet,
    bf16_tiles::{self, Unit},
    lhs_packing::{MOST_INPUTS, QUAD, Rows, packed_numbers},
    packed::{PANEL, Packed, WeightDtype},
    results::{ProductEpilogue, Results},
    tile::{Compute, Run, Tile, Tiles, dtype_code, tiles},
};

/// Inputs of a block. Of 128 to 768 this was the best in f32 and f16 (1488 x 1536 x 4096, one core with AVX-512): a
/// larger block fetches the sums less often, a smaller one stays in a nearer cache.
const BLOCK: usize = MOST_INPUTS;
/// Rows of a block, at most: with [`BLOCK`] inputs each they are 192 KB, which the second cache holds beside weights
/// and results.
const ROWS: usize = 96;
/// Rows below which a block is not made smaller for the sake of more tasks: weights are read once for each block.
const LEAST_ROWS: usize = 48;
/// Tiles of a block from which on weights are widened beforehand, where its inputs are few enough.
const WORTH_WIDENING: usize = 4;
/// Panels whose sums stay in the second cache from block to block of inputs: 1024 outputs of [`ROWS`] rows are 384 KB.
const CHUNK: usize = 64;
/// Multiplications that are worth waking another thread for: some ten microseconds of work.
pub(super) const WORTH_A_THREAD: usize = 400_000;
/// Panels from which on a task packs its rows itself, in a cache of its own. To pack a number takes as long as to
/// multiply it with one panel's outputs, and with fewer panels the tasks have their rows packed once, for all of them:
/// on 16 cores (2026-11-30) 186 rows with f16 weights, 4096 x 1536, took 2.20 ms so and 3.05 otherwise; 744 rows with
/// 1536 x 8192, where a task has 43 panels, 15.4 and 13.5.
const WORTH_PACKING: usize = 16;
/// Panels up to which rows are not packed at all, but read from where they lie. The demo model's vocoder (12 to 384
/// channels) made 84 GFLOP/s so with 8 to 64 panels, and 59 with none (one core with AVX-512, 2026-12-01); other
/// products of many rows were as fast either way.
const FEW_PANELS: usize = 16;
/// Rows whose distance is a multiple of so many numbers (4 KB) would evict each other from the nearest cache.
const CACHE_WAY: usize = 1024;
/// Tasks for each thread, if there is enough work: a thread that is preempted then delays the others less.
const TASKS: usize = 6;
/// Tasks for each thread where rows are few: such a product is short, and long sequential reads are what counts.
const FEW_TASKS: usize = 2;

thread_local! {
    /// Packing buffers of a thread, reused from product to product: repeated allocation fragments the heap.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { x: Vec::new(), wide: Vec::new(), sums: Vec::new() }) };
}

thread_local! {
    /// Rows that a thread has packed for all tasks of its product.
    static SHARED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Room of one task.
#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    wide: Vec<f32>,
    sums: Vec<f32>,
}

/// The first `count` numbers of `room`, which grows to them; their contents are arbitrary.
fn first(room: &mut Vec<f32>, count: usize) -> &mut [f32] {
    if room.len() < count {
        room.resize(count, 0.0);
    }
    &mut room[..count]
}

/// `rows · weightsᵀ`, finished, with the kernels of `set`, on the threads of the pool that it is called in.
///
/// # Shapes
/// - `out` \[rows, outputs\]: overwritten
///
/// # Panics
/// When shapes do not fit each other or the set does not run here: mistakes of the caller, not of the input.
pub fn matmul(set: KernelSet, rows: Rows<'_>, weights: &Packed, finish: ProductEpilogue<'_>, out: &mut [f32]) {
    let outputs = weights.outputs();
    assert_eq!(rows.inputs(), weights.inputs(), "inputs of a product");
    assert!(rows.extent() <= rows.numbers.len(), "rows of a product reach beyond their numbers");
    assert_eq!(rows.count * outputs, out.len(), "outputs of a product");
    assert!(finish.bias.is_none_or(|bias| bias.len() == outputs), "bias of a product");
    assert!(finish.add.is_none_or(|add| add.len() == out.len()), "what is added to a product");
    assert!(set.runs_here(), "the kernels {set} do not run here");
    if rows.count == 0 || outputs == 0 {
        return;
    }
    let results = Results::new(set, outputs, finish, out);
    if let Some(unit) = Unit::of(set) {
        return bf16_tiles::Product { unit, set, rows, weights, results: &results }.compute();
    }
    let product = Product { tiles: tiles(set), rows, weights, results };
    let few = rows.count <= product.tiles.few_rows();
    let (tile_rows, group) = product.tiles.shape(rows.count);
    let groups = weights.panels().div_ceil(group);
    let work = rows.count * outputs * weights.inputs();
    let threads = rayon::current_num_threads();
    let wanted = (threads * if few { FEW_TASKS } else { TASKS }).min(work.div_ceil(WORTH_A_THREAD));
    let (blocks, columns) = if few { (1, wanted.clamp(1, groups)) } else { split(rows.count, groups, threads, wanted) };
    // Blocks differ by a tile at most, columns by a group.
    let tiles = rows.count.div_ceil(tile_rows);
    let row = |block: usize| rows.count * (block * tiles / blocks) / tiles;
    let panel = |column: usize| (column * groups / columns * group).min(weights.panels());
    let turn = |tasks: usize, run: &(dyn Fn(usize) + Sync)| match tasks {
        tasks if wanted < 2 => (0..tasks).for_each(run),
        tasks => (0..tasks).into_par_iter().with_max_len(1).for_each(run),
    };
    if !few {
        let place = |row: usize| packed_numbers(row, weights.inputs());
        let in_place = product.in_place();
        let shares = in_place.is_none() && columns > 1 && weights.panels() < columns * WORTH_PACKING;
        let mut room = SHARED.take();
        let packed = first(&mut room, if shares { place(rows.count) } else { 0 });
        if shares {
            product.pack_together((0..blocks).map(|block| row(block)..row(block + 1)), packed);
        }
        turn(blocks * columns, &|task| {
            let (block, column) = (task / columns, task % columns);
            let (rows, panels) = (row(block)..row(block + 1), panel(column)..panel(column + 1));
            let left = match &in_place {
                Some(runs) => Left::InPlace(runs),
                None if shares => Left::Packed(&packed[place(rows.start)..place(rows.end)]),
                None => Left::ToPack,
            };
            // SAFETY: the tasks' rows times panels are disjoint and inside the result, whose size was compared above.
            unsafe { product.many(rows, panels, left) }
        });
        return SHARED.set(room);
    }
    let mut scratch = SCRATCH.take();
    let packed = first(&mut scratch.x, packed_numbers(rows.count, weights.inputs()));
    for start in (0..weights.inputs()).step_by(BLOCK) {
        let end = (start + BLOCK).min(weights.inputs());
        rows.pack(0..rows.count, start..end, &mut packed[start * rows.count..]);
    }
    let packed = &*packed;
    // SAFETY: the tasks' panels are disjoint, and inside the result.
    turn(columns, &|column| unsafe { product.few(packed, panel(column)..panel(column + 1)) });
    SCRATCH.set(scratch);
}

/// Into how many blocks of rows, and of columns each, a product is cut: tasks of about the same size, about as many as
/// are wanted, so that no thread idles while the last are done. Each task packs its rows, so blocks of rows come before
/// columns.
fn split(rows: usize, groups: usize, threads: usize, wanted: usize) -> (usize, usize) {
    let blocks = rows.div_ceil(ROWS);
    if wanted < 2 {
        return (blocks, 1);
    }
    let turns = blocks.next_multiple_of(threads);
    let blocks = if rows / turns >= LEAST_ROWS { turns } else { blocks };
    let columns = wanted.div_ceil(blocks).clamp(1, groups);
    // Whole turns of all threads, if that takes few more columns.
    let even = (columns..=(columns + threads).min(groups)).find(|columns| (blocks * columns).is_multiple_of(threads));
    (blocks, even.unwrap_or(columns))
}

/// How a task gets its rows.
#[derive(Clone, Copy)]
enum Left<'a> {
    /// It packs them.
    ToPack,
    /// They were packed for all tasks; these are its own.
    Packed(&'a [f32]),
    /// From where they lie: the runs of each block of inputs.
    InPlace(&'a [Vec<Run>]),
}

struct Product<'a> {
    tiles: &'static Tiles,
    rows: Rows<'a>,
    weights: &'a Packed,
    results: Results<'a>,
}

impl Product<'_> {
    /// All rows, which are few and packed, with a range of panels.
    ///
    /// # Safety
    /// No other thread may touch the outputs of these panels meanwhile.
    unsafe fn few(&self, packed: &[f32], panels: Range<usize>) {
        let (inputs, count) = (self.weights.inputs(), self.rows.count);
        let group = self.tiles.shape(count).1;
        for first in panels.clone().step_by(group) {
            let group = group.min(panels.end - first);
            for start in (0..inputs).step_by(BLOCK) {
                let mut tile = Tile {
                    x: packed[start * count..].as_ptr(),
                    x_stride: 0,
                    runs: &[],
                    w: self.panel(first, start),
                    w_stride: self.weights.panel_bytes(),
                    inputs: BLOCK.min(inputs - start),
                    out: std::ptr::null_mut(),
                    out_stride: 0,
                    add: start > 0,
                };
                let kernel = (self.tiles.packed, dtype_code(self.weights.dtype()));
                // SAFETY: all rows were packed, block after block, and the outputs are ours.
                unsafe { self.put(kernel, 0, count, first, group, &mut tile) };
            }
            // SAFETY: as above.
            unsafe { self.results.finish(0..count, first, group) };
        }
    }

    /// The runs of each block of inputs, where it does not pay to pack rows. A convolution of few channels would pack
    /// for as long as it multiplies.
    fn in_place(&self) -> Option<Vec<Vec<Run>>> {
        if self.weights.panels() > FEW_PANELS || self.rows.stride.is_multiple_of(CACHE_WAY) {
            return None;
        }
        let inputs = self.weights.inputs();
        (0..inputs).step_by(BLOCK).map(|start| self.rows.runs(start..inputs.min(start + BLOCK))).collect()
    }

    /// The pieces of packed rows `rows`, in the order in which they lie: block after block of inputs, tile after tile.
    fn pieces(&self, rows: Range<usize>) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let (inputs, tiles) = (self.weights.inputs(), rows.len().div_ceil(self.tiles.many.0));
        // Tiles of about the same height: one of two rows would read as many weights as one of twelve.
        let row = move |tile: usize| rows.start + tile * rows.len() / tiles;
        (0..inputs).step_by(BLOCK).flat_map(move |start| {
            let (row, taken) = (row.clone(), start..inputs.min(start + BLOCK));
            (0..tiles).map(move |tile| (row(tile)..row(tile + 1), taken.clone()))
        })
    }

    /// Packs blocks of rows, which follow each other, on all threads, for all tasks.
    fn pack_together(&self, blocks: impl Iterator<Item = Range<usize>>, mut to: &mut [f32]) {
        let cut = |(rows, inputs): (Range<usize>, Range<usize>)| {
            let (piece, rest) = std::mem::take(&mut to).split_at_mut(packed_numbers(rows.len(), inputs.len()));
            to = rest;
            (rows, inputs, piece)
        };
        let pieces: Vec<_> = blocks.flat_map(|rows| self.pieces(rows)).map(cut).collect();
        pieces.into_par_iter().for_each(|(rows, inputs, to)| self.rows.pack(rows, inputs, to));
    }

    /// A range of rows with a range of panels. Weights are widened block by block where that pays, for each is used many
    /// times.
    ///
    /// # Safety
    /// No other thread may touch the outputs of these rows and panels meanwhile.
    unsafe fn many(&self, rows: Range<usize>, panels: Range<usize>, left: Left<'_>) {
        let (inputs, dtype) = (self.weights.inputs(), self.weights.dtype());
        let (most, group) = self.tiles.many;
        let tiles = rows.len().div_ceil(most);
        let (widen, widest) = self.tiles.widen;
        let pays = dtype != WeightDtype::F32 && tiles >= WORTH_WIDENING && BLOCK.min(inputs) <= widest;
        let widen = pays.then_some(widen);
        let mut scratch = SCRATCH.take();
        let packs = matches!(left, Left::ToPack);
        let own = first(&mut scratch.x, if packs { packed_numbers(rows.len(), inputs) } else { 0 });
        let wide = first(&mut scratch.wide, if widen.is_some() { group * PANEL * BLOCK.min(inputs) } else { 0 });
        // Rows of results can be so far apart that they evict each other from every cache. So partial sums are kept
        // elsewhere, with a stride that is no power of two.
        let whole = inputs <= BLOCK;
        let stride = (CHUNK + 1) * PANEL;
        let sums = first(&mut scratch.sums, if whole { 0 } else { rows.len() * stride });
        // As the pieces are.
        let row = |tile: usize| tile * rows.len() / tiles;
        let place = |row: usize, start: usize| {
            packed_numbers(rows.len(), start) + packed_numbers(row, BLOCK.min(inputs - start))
        };
        if packs {
            let mut rest = &mut *own;
            for (rows, inputs) in self.pieces(rows.clone()) {
                let (to, others) = rest.split_at_mut(packed_numbers(rows.len(), inputs.len()));
                self.rows.pack(rows, inputs, to);
                rest = others;
            }
        }
        let own = &*own;
        // The first of a tile's rows at a block of inputs, the runs of that block, and the kernel that reads them.
        let from = |top: usize, start: usize| -> (*const f32, &[Run], Compute) {
            match left {
                Left::ToPack => (own[place(top, start)..].as_ptr(), &[], self.tiles.packed),
                Left::Packed(packed) => (packed[place(top, start)..].as_ptr(), &[], self.tiles.packed),
                Left::InPlace(runs) => {
                    let first = (rows.start + top) * self.rows.stride;
                    (self.rows.numbers[first..].as_ptr(), &runs[start / BLOCK], self.tiles.compute)
                }
            }
        };
        for chunk in panels.clone().step_by(CHUNK) {
            let end = panels.end.min(chunk + CHUNK);
            for start in (0..inputs).step_by(BLOCK) {
                let block = BLOCK.min(inputs - start);
                for first in (chunk..end).step_by(group) {
                    let group = group.min(end - first);
                    let (dtype, w, w_stride) = match widen {
                        None => (dtype, self.panel(first, start), self.weights.panel_bytes()),
                        Some(widen) => {
                            for panel in 0..group {
                                let to = wide[panel * PANEL * block..].as_mut_ptr();
                                // SAFETY: `block` inputs of the panel are there, and room for them in `wide`.
                                unsafe { widen(dtype_code(dtype), self.panel(first + panel, start).cast(), to, block) };
                            }
                            (WeightDtype::F32, wide.as_ptr().cast(), PANEL * block * size_of::<f32>())
                        }
                    };
                    for tile in 0..tiles {
                        let (top, end) = (row(tile), row(tile + 1));
                        let (x, runs, compute) = from(top, start);
                        let mut tile = Tile {
                            x,
                            x_stride: self.rows.stride,
                            runs,
                            w,
                            w_stride,
                            inputs: block,
                            out: std::ptr::null_mut(),
                            out_stride: 0,
                            add: start > 0,
                        };
                        if whole {
                            let (row, count) = (rows.start + top, end - top);
                            // SAFETY: the rows and `w` hold the block, and the outputs are ours.
                            unsafe { self.put((compute, dtype_code(dtype)), row, count, first, group, &mut tile) };
                            continue;
                        }
                        tile.out = sums[top * stride + (first - chunk) * PANEL..end * stride].as_mut_ptr();
                        tile.out_stride = stride;
                        // SAFETY: the rows and `w` hold the block, and `sums` has the outputs of the chunk for every row.
                        unsafe { compute(dtype_code(dtype), end - top, group, &tile) };
                    }
                }
            }
            for (row, sums) in rows.clone().zip(sums.chunks_exact(stride)) {
                // SAFETY: these are outputs of this task.
                unsafe { self.results.row(row, chunk..end) }.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum);
            }
            // SAFETY: as above.
            unsafe { self.results.finish(rows.clone(), chunk, end - chunk) };
        }
        SCRATCH.set(scratch);
    }

    /// Where panel `panel` begins at input `input`.
    fn panel(&self, panel: usize, input: usize) -> *const u8 {
        let place = panel * self.weights.panel_bytes() + input * PANEL * self.weights.dtype().bytes();
        assert!(place <= self.weights.bytes(), "a panel of a product");
        // SAFETY: the place is inside the panels, or just behind them.
        unsafe { self.weights.as_ptr().add(place) }
    }

    /// Computes a tile whose outputs begin at row `row` and panel `first`, with this kernel for this dtype. The last panel
    /// may be cut: its outputs then go by way of a buffer.
    ///
    /// # Safety
    /// As [`Tiles::compute`], but for the outputs, which must be this task's own.
    unsafe fn put(
        &self,
        (compute, dtype): (Compute, u8),
        row: usize,
        rows: usize,
        first: usize,
        panels: usize,
        tile: &mut Tile<'_>,
    ) {
        let outputs = self.weights.outputs();
        let columns = panels * PANEL;
        let there = columns.min(outputs - first * PANEL);
        // SAFETY: row and column are in the result.
        let out = unsafe { self.results.place(row, first) };
        if there == columns {
            (tile.out, tile.out_stride) = (out, outputs);
            // SAFETY: as the caller guarantees.
            return unsafe { compute(dtype, rows, panels, tile) };
        }
        // As large as the largest tile; not set to zeros, which would take as long as a small tile.
        let mut buffer = [const { MaybeUninit::<f32>::uninit() }; 16 * 4 * PANEL];
        assert!(rows * columns <= buffer.len(), "a tile of a product");
        let buffer = buffer.as_mut_ptr().cast::<f32>();
        if tile.add {
            for row in 0..rows {
                // SAFETY: these are outputs of this task, and the buffer has room for the tile. What lies beyond them
                // is read as well, and never used.
                unsafe {
                    buffer.add(row * columns).write_bytes(0, columns);
                    out.add(row * outputs).copy_to_nonoverlapping(buffer.add(row * columns), there);
                }
            }
        }
        (tile.out, tile.out_stride) = (buffer, columns);
        // SAFETY: the buffer has room for the tile, and numbers where the tile adds to them.
        unsafe { compute(dtype, rows, panels, tile) };
        for row in 0..rows {
            // SAFETY: these are outputs of this task, and the tile has written `columns` to each row of the buffer.
            unsafe { copy_some(buffer.add(row * columns), out.add(row * outputs), there) };
        }
    }
}

/// Copies a few numbers, a quad at once: a call of `memcpy` for each row of a narrow convolution takes longer.
///
/// # Safety
/// They must be there at both places, which may not overlap.
unsafe fn copy_some(from: *const f32, to: *mut f32, count: usize) {
    let quads = count / QUAD * QUAD;
    // SAFETY: as the caller guarantees; a quad need not be aligned.
    unsafe {
        for place in (0..quads).step_by(QUAD) {
            to.add(place).cast::<[f32; QUAD]>().write_unaligned(from.add(place).cast::<[f32; QUAD]>().read_unaligned());
        }
        for place in quads..count {
            *to.add(place) = *from.add(place);
        }
    }
}

#[cfg(test)]
mod tests;
