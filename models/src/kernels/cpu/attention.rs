//! Attention of one head as two products with a softmax between them: queries against keys and values in panels.
//!
//! Keys lie like packed weights whose outputs are positions, values like packed weights whose inputs are positions. So
//! both products use the tiles of linear layers, with the same guarantee: the result of a query is bit-identical
//! whatever queries are beside it. Masked positions never enter its sums.

use std::fmt;

use half::f16;

use super::{
    KernelSet,
    elementwise::exp_row,
    packed::{PANEL, WeightDtype},
    tile::{Run, Tile, Tiles, dtype_code, tiles},
};

/// Positions of a segment of keys and values, at most: the inputs that a tile adds up in one go.
pub(super) const SEGMENT: usize = 256;

/// A number that keys and values are kept as.
pub trait KvNumber: Copy + Default + fmt::Debug + Send + Sync + 'static {
    /// Its dtype.
    const TYPE: WeightDtype;

    /// The nearest that there is to `number`.
    fn nearest(number: f32) -> Self;
}

impl KvNumber for f32 {
    const TYPE: WeightDtype = WeightDtype::F32;

    fn nearest(number: f32) -> Self {
        number
    }
}

impl KvNumber for f16 {
    const TYPE: WeightDtype = WeightDtype::F16;

    /// Saturates: one number beyond the range must not cost a song.
    fn nearest(number: f32) -> Self {
        let most = Self::MAX.to_f32();
        Self::from_f32(if number.is_finite() { number.clamp(-most, most) } else { number })
    }
}

/// Keys and values of neighbouring positions, of one head.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a, N> {
    /// \[room / 16, head width, 16\]: panels of 16 positions.
    pub keys: &'a [N],
    /// \[head width / 16 rounded up, room, 16\]: panels of 16 channels, zeros beyond the width.
    pub values: &'a [N],
    /// Positions that there is room for: a multiple of 16, at most [`SEGMENT`].
    pub room: usize,
}

/// Numbers that the keys of a segment of one head take.
pub(super) fn key_numbers(room: usize, head_dim: usize) -> usize {
    room * head_dim
}

/// Numbers that the values of a segment of one head take.
pub(super) fn value_numbers(room: usize, head_dim: usize) -> usize {
    room * head_dim.next_multiple_of(PANEL)
}

/// Writes the key and the value of position `place` of a segment.
pub(super) fn write_position<N: KvNumber>(
    keys: &mut [N],
    values: &mut [N],
    room: usize,
    place: usize,
    key: &[f32],
    value: &[f32],
) {
    let head_dim = key.len();
    let keys = &mut keys[place / PANEL * PANEL * head_dim..][..PANEL * head_dim];
    keys.chunks_exact_mut(PANEL).zip(key).for_each(|(to, number)| to[place % PANEL] = N::nearest(*number));
    for (panel, value) in values.chunks_exact_mut(room * PANEL).zip(value.chunks(PANEL)) {
        panel[place * PANEL..].iter_mut().zip(value).for_each(|(to, number)| *to = N::nearest(*number));
    }
}

/// Scratch buffers, reused from call to call.
#[derive(Default)]
pub(super) struct Scratch {
    scores: Vec<f32>,
    sums: Vec<f32>,
}

/// Causal attention of rows of queries to one head.
///
/// # Shapes
/// - `queries` \[rows, head width\], already scaled
/// - `seen`: for each row, how many of the first positions it attends to, at least one, never less than the row before
///   it
/// - result \[rows, head width rounded up to 16\]
pub(super) fn attend<'a, N: KvNumber>(
    set: KernelSet,
    queries: &[f32],
    seen: &[usize],
    segments: &[Segment<'_, N>],
    scratch: &'a mut Scratch,
) -> &'a [f32] {
    let rows = seen.len();
    let head_dim = queries.len() / rows.max(1);
    let wide = head_dim.next_multiple_of(PANEL);
    let most = seen.iter().copied().max().unwrap_or(0);
    assert!(set.runs_here() && queries.len() == rows * head_dim, "queries of an attention");
    assert!(segments.iter().rev().skip(1).all(|segment| segment.room == SEGMENT), "segments of an attention");
    assert!(most <= segments.iter().map(|segment| segment.room).sum(), "positions of an attention");
    for Segment { keys, values, room } in segments {
        let right = keys.len() == key_numbers(*room, head_dim) && values.len() == value_numbers(*room, head_dim);
        assert!(right && room.is_multiple_of(PANEL) && *room <= SEGMENT, "a segment of an attention");
    }
    let tiles = tiles(set);
    let width = most.next_multiple_of(PANEL);
    // Parts that are not overwritten are never read, but must be initialised.
    let fit = |numbers: &mut Vec<f32>, count: usize| {
        if numbers.len() < count {
            numbers.resize(count, 0.0);
        }
    };
    fit(&mut scratch.scores, rows * width);
    fit(&mut scratch.sums, rows * wide);
    let (scores, sums) = (&mut scratch.scores[..rows * width], &mut scratch.sums[..rows * wide]);
    for (index, segment) in segments.iter().enumerate() {
        score(tiles, queries, head_dim, seen, (index * SEGMENT, *segment), scores, width);
    }
    let mut factors = vec![0f32; rows];
    for ((row, seen), factor) in scores.chunks_exact_mut(width.max(1)).zip(seen).zip(&mut factors) {
        *factor = 1.0 / exp_row(set, &mut row[..*seen]);
    }
    for (index, segment) in segments.iter().enumerate() {
        weigh(tiles, scores, width, seen, (index * SEGMENT, *segment), sums, wide);
    }
    for (row, factor) in sums.chunks_exact_mut(wide.max(1)).zip(factors) {
        row.iter_mut().for_each(|number| *number *= factor);
    }
    sums
}

/// The scores of a segment whose first position is `start`, for all rows that attend to it.
fn score<N: KvNumber>(
    tiles: &Tiles,
    queries: &[f32],
    head_dim: usize,
    seen: &[usize],
    (start, segment): (usize, Segment<'_, N>),
    scores: &mut [f32],
    width: usize,
) {
    let mut row = seen.partition_point(|seen| *seen <= start);
    while row < seen.len() {
        let (rows, panels_at_once) = tiles.shape(seen.len() - row);
        let rows = rows.min(seen.len() - row);
        // The last row attends to most positions.
        let panels = (seen[row + rows - 1] - start).min(segment.room).div_ceil(PANEL);
        for first in (0..panels).step_by(panels_at_once) {
            let count = panels_at_once.min(panels - first);
            let tile = Tile {
                x: queries[row * head_dim..(row + rows) * head_dim].as_ptr(),
                x_stride: head_dim,
                runs: &[Run { place: 0, inputs: head_dim }],
                w: segment.keys[first * head_dim * PANEL..(first + count) * head_dim * PANEL].as_ptr().cast(),
                w_stride: head_dim * PANEL * size_of::<N>(),
                inputs: head_dim,
                out: scores[row * width + start + first * PANEL..(row + rows) * width].as_mut_ptr(),
                out_stride: width,
                add: false,
            };
            // SAFETY: the set runs here, as `attend` has asked. `rows` rows of queries and `count` panels of keys are
            // there, as the slices show; the panels' scores end within each row, for `width` is what the last row
            // needs, rounded up to whole panels.
            unsafe { (tiles.compute)(dtype_code(N::TYPE), rows, count, &tile) };
        }
        row += rows;
    }
}

/// Adds the values of a segment whose first position is `start` to the sums of all rows that attend to it.
fn weigh<N: KvNumber>(
    tiles: &Tiles,
    weights: &[f32],
    width: usize,
    seen: &[usize],
    (start, segment): (usize, Segment<'_, N>),
    sums: &mut [f32],
    wide: usize,
) {
    let panels = wide / PANEL;
    let cut = |row: usize| (seen[row] - start).min(segment.room);
    let mut row = seen.partition_point(|seen| *seen <= start);
    while row < seen.len() {
        // Rows with the same mask go together: none may read a masked value.
        let inputs = cut(row);
        let alike = (row..seen.len()).take_while(|row| cut(*row) == inputs).count();
        let (rows, panels_at_once) = tiles.shape(alike);
        let rows = rows.min(alike);
        for first in (0..panels).step_by(panels_at_once) {
            let count = panels_at_once.min(panels - first);
            let tile = Tile {
                x: weights[row * width + start..(row + rows) * width].as_ptr(),
                x_stride: width,
                runs: &[Run { place: 0, inputs }],
                w: segment.values[first * segment.room * PANEL..(first + count) * segment.room * PANEL].as_ptr().cast(),
                w_stride: segment.room * PANEL * size_of::<N>(),
                inputs,
                out: sums[row * wide + first * PANEL..(row + rows) * wide].as_mut_ptr(),
                out_stride: wide,
                add: start > 0,
            };
            // SAFETY: the set runs here, as `attend` has asked. `inputs` weights of each row lie within its `width`,
            // `inputs` positions within the room of each panel, and the panels' sums within each row's `wide` numbers.
            unsafe { (tiles.compute)(dtype_code(N::TYPE), rows, count, &tile) };
        }
        row += rows;
    }
}
