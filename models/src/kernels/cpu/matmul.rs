//! Matrix product with fixed weights: blocks, tiles, and their distribution among threads.

use std::{cell::Cell, ops::Range};

use rayon::prelude::*;

use super::{
    KernelSet,
    lhs_packing::{MOST_INPUTS, Rows, packed_numbers},
    packed::{PANEL, Packed, WeightDtype},
    tile::{Tile, Tiles, dtype_code, tiles},
    vector::for_each_set,
};

/// Inputs of a block. Of 128 to 768 this was the best in f32 and f16 (1488 x 1536 x 4096, one core with AVX-512): a
/// larger block fetches the sums less often, a smaller one stays in a nearer cache.
const BLOCK: usize = MOST_INPUTS;
/// Rows of a block, at most: with [`BLOCK`] inputs each they are 192 KB, which the second cache holds beside weights
/// and results.
const ROWS: usize = 96;
/// Rows below which a block is not made smaller for the sake of more tasks: weights are read once for each block.
const LEAST_ROWS: usize = 48;
/// Tiles of a block from which on weights are widened beforehand, where widening pays at all.
const WORTH_WIDENING: usize = 4;
/// Panels whose sums stay in the second cache from block to block of inputs: 1024 outputs of [`ROWS`] rows are 384 KB.
const CHUNK: usize = 64;
/// Multiplications that are worth waking another thread for: some ten microseconds of work.
const WORTH_A_THREAD: usize = 400_000;
/// Tasks for each thread, where there is work for so many: a thread that is preempted then delays the others less.
const TASKS: usize = 6;
/// Tasks for each thread where rows are few: such a product is short, and long sequential reads are what counts.
const FEW_TASKS: usize = 2;

thread_local! {
    /// Packing buffers of a thread, reused from product to product: repeated allocation fragments the heap.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { x: Vec::new(), wide: Vec::new(), sums: Vec::new() }) };
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

/// Output pointer shared by the tasks of a product, which write disjoint ranges.
#[derive(Clone, Copy)]
struct Out(*mut f32);

// SAFETY: only tasks of one product hold it, and their rows and columns are disjoint.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

/// Operations fused behind a product, in this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// A bias for each output is added.
    pub bias: Option<&'a [f32]>,
    /// Where they are not positive, they are multiplied by this: a parametric ReLU.
    pub slope: Option<f32>,
    /// So many numbers as there are results are added.
    pub add: Option<&'a [f32]>,
}

/// `rows · weightsᵀ`, finished, with the kernels of `set`, on the threads of the pool that it is called in.
///
/// # Shapes
/// - `out` \[rows, outputs\]: overwritten
///
/// # Panics
/// When shapes do not fit each other or the set does not run here: mistakes of the caller, not of the input.
pub fn matmul(set: KernelSet, rows: Rows<'_>, weights: &Packed, finish: Epilogue<'_>, out: &mut [f32]) {
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
    let product = Product { set, tiles: tiles(set), rows, weights, finish, out: Out(out.as_mut_ptr()) };
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
        return turn(blocks * columns, &|task| {
            let (block, column) = (task / columns, task % columns);
            // SAFETY: the tasks' rows times panels are disjoint and inside the result, whose size was compared above.
            unsafe { product.many(row(block)..row(block + 1), panel(column)..panel(column + 1)) }
        });
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

struct Product<'a> {
    set: KernelSet,
    tiles: &'static Tiles,
    rows: Rows<'a>,
    weights: &'a Packed,
    finish: Epilogue<'a>,
    out: Out,
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
                let tile = Tile {
                    x: packed[start * count..].as_ptr(),
                    x_stride: 0,
                    w: self.panel(first, start),
                    w_stride: self.weights.panel_bytes(),
                    inputs: BLOCK.min(inputs - start),
                    out: std::ptr::null_mut(),
                    out_stride: 0,
                    add: start > 0,
                };
                // SAFETY: all rows were packed, block after block, and the outputs are ours.
                unsafe { self.put(dtype_code(self.weights.dtype()), 0, count, first, group, tile) };
            }
            // SAFETY: as above.
            unsafe { self.finish(0..count, first, group) };
        }
    }

    /// A range of rows with a range of panels. Rows are packed once, and weights widened block by block where that
    /// pays, for each is used many times.
    ///
    /// # Safety
    /// No other thread may touch the outputs of these rows and panels meanwhile.
    unsafe fn many(&self, rows: Range<usize>, panels: Range<usize>) {
        let (inputs, dtype) = (self.weights.inputs(), self.weights.dtype());
        let (most, group) = self.tiles.many;
        let tiles = rows.len().div_ceil(most);
        let widen = self.tiles.widen.filter(|_| dtype != WeightDtype::F32 && tiles >= WORTH_WIDENING);
        let mut scratch = SCRATCH.take();
        let x = first(&mut scratch.x, packed_numbers(rows.len(), inputs));
        let wide = first(&mut scratch.wide, if widen.is_some() { group * PANEL * BLOCK.min(inputs) } else { 0 });
        // Rows of results can be so far apart that they evict each other from every cache. So partial sums are kept
        // elsewhere, with a stride that is no power of two.
        let whole = inputs <= BLOCK;
        let stride = (CHUNK + 1) * PANEL;
        let sums = first(&mut scratch.sums, if whole { 0 } else { rows.len() * stride });
        // Tiles of about the same height: one of two rows would read as many weights as one of twelve.
        let row = |tile: usize| tile * rows.len() / tiles;
        let place = |row: usize, start: usize| {
            packed_numbers(rows.len(), start) + packed_numbers(row, BLOCK.min(inputs - start))
        };
        for start in (0..inputs).step_by(BLOCK) {
            for tile in 0..tiles {
                let (top, end) = (row(tile), row(tile + 1));
                let to = &mut x[place(top, start)..place(end, start)];
                self.rows.pack(rows.start + top..rows.start + end, start..inputs.min(start + BLOCK), to);
            }
        }
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
                        let mut tile = Tile {
                            x: x[place(top, start)..].as_ptr(),
                            x_stride: 0,
                            w,
                            w_stride,
                            inputs: block,
                            out: std::ptr::null_mut(),
                            out_stride: 0,
                            add: start > 0,
                        };
                        if whole {
                            // SAFETY: `x` and `w` hold the block, and the outputs are ours.
                            unsafe { self.put(dtype_code(dtype), rows.start + top, end - top, first, group, tile) };
                            continue;
                        }
                        tile.out = sums[top * stride + (first - chunk) * PANEL..end * stride].as_mut_ptr();
                        tile.out_stride = stride;
                        // SAFETY: `x` and `w` hold the block, and `sums` has the outputs of the chunk for every row.
                        unsafe { (self.tiles.packed)(dtype_code(dtype), end - top, group, &tile) };
                    }
                }
            }
            for (row, sums) in rows.clone().zip(sums.chunks_exact(stride)) {
                // SAFETY: these are outputs of this task.
                unsafe { self.outputs(row, chunk..end) }.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum);
            }
            // SAFETY: as above.
            unsafe { self.finish(rows.clone(), chunk, end - chunk) };
        }
        SCRATCH.set(scratch);
    }

    /// The outputs of a row in a range of panels.
    ///
    /// # Safety
    /// They must be this task's own, and no other reference to them may be there.
    #[allow(clippy::mut_from_ref)]
    unsafe fn outputs(&self, row: usize, panels: Range<usize>) -> &mut [f32] {
        let outputs = self.weights.outputs();
        let columns = panels.start * PANEL..outputs.min(panels.end * PANEL);
        // SAFETY: row and columns are in the result, and belong to this task alone.
        unsafe { std::slice::from_raw_parts_mut(self.out.0.add(row * outputs + columns.start), columns.len()) }
    }

    /// Where panel `panel` begins at input `input`.
    fn panel(&self, panel: usize, input: usize) -> *const u8 {
        let place = panel * self.weights.panel_bytes() + input * PANEL * self.weights.dtype().bytes();
        assert!(place <= self.weights.bytes(), "a panel of a product");
        // SAFETY: the place is inside the panels, or just behind them.
        unsafe { self.weights.as_ptr().add(place) }
    }

    /// Computes a tile whose outputs begin at row `row` and panel `first`. The last panel may be cut: its outputs then
    /// go by way of a buffer.
    ///
    /// # Safety
    /// As [`Tiles::compute`], but for the outputs, which must be this task's own.
    unsafe fn put(&self, dtype: u8, row: usize, rows: usize, first: usize, panels: usize, mut tile: Tile) {
        let outputs = self.weights.outputs();
        let columns = panels * PANEL;
        let there = columns.min(outputs - first * PANEL);
        // SAFETY: row and column are in the result.
        let out = unsafe { self.out.0.add(row * outputs + first * PANEL) };
        if there == columns {
            (tile.out, tile.out_stride) = (out, outputs);
            // SAFETY: as the caller guarantees.
            return unsafe { (self.tiles.packed)(dtype, rows, panels, &tile) };
        }
        let mut buffer = [0f32; 16 * 4 * PANEL]; // as large as the largest tile
        for row in 0..if tile.add { rows } else { 0 } {
            for column in 0..there {
                // SAFETY: these are outputs of this task.
                buffer[row * columns + column] = unsafe { *out.add(row * outputs + column) };
            }
        }
        (tile.out, tile.out_stride) = (buffer.as_mut_ptr(), columns);
        // SAFETY: the buffer has room for the tile.
        unsafe { (self.tiles.packed)(dtype, rows, panels, &tile) };
        for row in 0..rows {
            for column in 0..there {
                // SAFETY: these are outputs of this task.
                unsafe { *out.add(row * outputs + column) = buffer[row * columns + column] };
            }
        }
    }

    /// # Safety
    /// The outputs of these rows and panels must be this task's own.
    unsafe fn finish(&self, rows: Range<usize>, first: usize, panels: usize) {
        let Epilogue { bias, slope, add } = self.finish;
        if bias.is_none() && slope.is_none() && add.is_none() {
            return;
        }
        let outputs = self.weights.outputs();
        let columns = first * PANEL..outputs.min((first + panels) * PANEL);
        for row in rows {
            let places = row * outputs + columns.start..row * outputs + columns.end;
            // SAFETY: as the caller guarantees, and the references to the last row's are gone.
            let out = unsafe { self.outputs(row, first..first + panels) };
            let bias = bias.map(|bias| &bias[columns.clone()]);
            finish_row(self.set, out, bias, slope, add.map(|add| &add[places]));
        }
    }
}

for_each_set! {
    fn finish_row<FMA>(out: &mut [f32], bias: Option<&[f32]>, slope: Option<f32>, add: Option<&[f32]>) {
        if let Some(bias) = bias {
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
        if let Some(slope) = slope {
            out.iter_mut().for_each(|out| *out = if *out > 0.0 { *out } else { slope * *out });
        }
        if let Some(add) = add {
            out.iter_mut().zip(add).for_each(|(out, add)| *out += add);
        }
    }
}

#[cfg(test)]
mod tests;
