//! Storage of keys and values: a position is written once and read in order.

use rayon::prelude::*;

use super::{
    KernelSet,
    attention::{KvNumber, SEGMENT, Scratch, Segment, attend, key_numbers, value_numbers, write_position},
    elementwise::rotate,
    packed::PANEL,
};

/// Multiplications that are worth another thread.
const WORTH_A_THREAD: usize = 400_000;
/// Positions by which the memory of a store grows.
pub const STEP: usize = SEGMENT;
/// Rows of queries that are computed together, at most about: they share the keys that they read.
const ROWS: usize = 48;

/// The sizes of an attention with grouped heads: query heads `kv · heads / kv_heads` and following share key head `kv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadDims {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
}

impl HeadDims {
    /// Query heads of a group.
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    fn query_width(self) -> usize {
        self.heads * self.head_dim
    }

    fn key_width(self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// Cosines and sines of positions, \[positions, head width / 2\] each.
#[derive(Debug, Clone, Copy)]
pub struct Angles<'a> {
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
}

impl<'a> Angles<'a> {
    fn of(self, position: usize, head_dim: usize) -> (&'a [f32], &'a [f32]) {
        let range = position * head_dim / 2..(position + 1) * head_dim / 2;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// Keys and values of one layer, for the rows of a batch, kept as `N`. Memory grows by [`STEP`] positions at a time and
/// is never moved, so nothing exists twice.
#[derive(Debug)]
pub struct KvStore<N> {
    sizes: HeadDims,
    batch: usize,
    capacity: usize,
    pieces: Vec<Piece<N>>,
}

/// Keys and values of neighbouring positions: batch row after batch row, head after head.
#[derive(Debug)]
struct Piece<N> {
    room: usize,
    keys: Vec<N>,
    values: Vec<N>,
}

impl<N: KvNumber> KvStore<N> {
    /// A store for at most `capacity` positions of `batch` rows. It allocates nothing yet.
    pub fn new(sizes: HeadDims, batch: usize, capacity: usize) -> Self {
        Self { sizes, batch, capacity, pieces: Vec::new() }
    }

    /// Bytes of keys and values at present.
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| (piece.keys.len() + piece.values.len()) * size_of::<N>()).sum()
    }

    /// Allocates memory for the first `positions` positions.
    pub fn reserve(&mut self, positions: usize) {
        assert!(positions <= self.capacity, "positions of a store");
        while self.pieces.len() * SEGMENT < positions {
            let room = (self.capacity - self.pieces.len() * SEGMENT).min(SEGMENT).next_multiple_of(PANEL);
            let heads = self.batch * self.sizes.kv_heads;
            self.pieces.push(Piece {
                room,
                keys: vec![N::default(); heads * key_numbers(room, self.sizes.head_dim)],
                values: vec![N::default(); heads * value_numbers(room, self.sizes.head_dim)],
            });
        }
    }

    /// Writes positions from `start` on; RoPE is applied to the keys.
    ///
    /// # Shapes
    /// - `keys`, `values` \[batch, count, kv heads · head width\]
    ///
    /// # Panics
    /// When they do not fit, or reach beyond the capacity: a mistake of the caller.
    pub fn write(&mut self, set: KernelSet, start: usize, keys: &[f32], values: &[f32], angles: Angles<'_>) {
        let HeadDims { kv_heads, head_dim, .. } = self.sizes;
        let width = self.sizes.key_width();
        let count = keys.len() / (self.batch * width).max(1);
        assert!(keys.len() == self.batch * count * width && values.len() == keys.len(), "keys and values of a store");
        self.reserve(start + count);
        let mut rotated = vec![0f32; head_dim];
        for batch in 0..self.batch {
            for place in 0..count {
                let position = start + place;
                let (cos, sin) = angles.of(position, head_dim);
                let piece = &mut self.pieces[position / SEGMENT];
                let (key_part, value_part) = (key_numbers(piece.room, head_dim), value_numbers(piece.room, head_dim));
                for head in 0..kv_heads {
                    let from = (batch * count + place) * width + head * head_dim;
                    let to = batch * kv_heads + head;
                    rotate(set, &keys[from..from + head_dim], cos, sin, 1.0, &mut rotated);
                    write_position(
                        &mut piece.keys[to * key_part..(to + 1) * key_part],
                        &mut piece.values[to * value_part..(to + 1) * value_part],
                        piece.room,
                        position % SEGMENT,
                        &rotated,
                        &values[from..from + head_dim],
                    );
                }
            }
        }
    }

    /// Copies the first `positions` positions of the batch rows of `other` from `first` on, as many rows as this store
    /// has.
    ///
    /// # Panics
    /// When `other` has too few rows or positions, or other sizes: a mistake of the caller.
    pub fn copy_rows(&mut self, other: &Self, first: usize, positions: usize) {
        assert!(self.sizes == other.sizes && first + self.batch <= other.batch, "rows of a store");
        assert!(positions <= other.pieces.len() * SEGMENT, "positions of a store");
        self.reserve(positions);
        let HeadDims { kv_heads, head_dim, .. } = self.sizes;
        for (to, from) in self.pieces.iter_mut().zip(&other.pieces) {
            let panels = to.room.min(from.room) * PANEL;
            for head in 0..self.batch * kv_heads {
                let theirs = first * kv_heads + head;
                let keys = to.room.min(from.room) * head_dim;
                to.keys[head * to.room * head_dim..][..keys]
                    .copy_from_slice(&from.keys[theirs * from.room * head_dim..][..keys]);
                let (to_part, from_part) = (value_numbers(to.room, head_dim), value_numbers(from.room, head_dim));
                let to = to.values[head * to_part..(head + 1) * to_part].chunks_exact_mut(to.room * PANEL);
                let from = from.values[theirs * from_part..(theirs + 1) * from_part].chunks_exact(from.room * PANEL);
                to.zip(from).for_each(|(to, from)| to[..panels].copy_from_slice(&from[..panels]));
            }
        }
    }

    /// Attends with the queries of positions from `start` on, whose keys and values must have been written; each
    /// attends to the positions up to its own. RoPE is applied to the queries.
    ///
    /// # Shapes
    /// - `queries` and `out` \[batch, count, heads · head width\]
    ///
    /// # Panics
    /// When they do not fit: a mistake of the caller.
    pub fn attend(&self, set: KernelSet, start: usize, queries: &[f32], angles: Angles<'_>, out: &mut [f32]) {
        let HeadDims { kv_heads, head_dim, .. } = self.sizes;
        let (width, group) = (self.sizes.query_width(), self.sizes.group());
        let count = queries.len() / (self.batch * width).max(1);
        assert!(queries.len() == self.batch * count * width && out.len() == queries.len(), "queries of a store");
        if out.is_empty() {
            return;
        }
        let scale = 1.0 / (head_dim as f32).sqrt();
        let run = ROWS.div_ceil(group).min(count);
        let runs = count.div_ceil(run);
        let work = |task: usize, scratch: &mut Scratch| {
            let (place, run) = (task / runs, task % runs * run..((task % runs + 1) * run).min(count));
            let (batch, head) = (place / kv_heads, place % kv_heads);
            // A group's heads lie side by side, so its rows are position after position, head after head.
            let mut rows = vec![0f32; run.len() * group * head_dim];
            let mut seen = Vec::with_capacity(run.len() * group);
            for (position, rows) in run.clone().zip(rows.chunks_exact_mut(group * head_dim)) {
                let (cos, sin) = angles.of(start + position, head_dim);
                let from = (batch * count + position) * width + head * group * head_dim;
                let from = queries[from..from + group * head_dim].chunks_exact(head_dim);
                for (to, from) in rows.chunks_exact_mut(head_dim).zip(from) {
                    rotate(set, from, cos, sin, scale, to);
                    seen.push(start + position + 1);
                }
            }
            let found = attend(set, &rows, &seen, &self.segments(place, start + run.end), scratch);
            let wide = head_dim.next_multiple_of(PANEL);
            for (to, from) in rows.chunks_exact_mut(head_dim).zip(found.chunks_exact(wide)) {
                to.copy_from_slice(&from[..head_dim]);
            }
            (batch * count + run.start, head, rows)
        };
        let tasks = self.batch * kv_heads * runs;
        let worth = out.len() * (start + count / 2 + 1) * 2 / WORTH_A_THREAD;
        let found: Vec<_> = if worth.min(rayon::current_num_threads()) < 2 {
            let mut scratch = Scratch::default();
            (0..tasks).map(|task| work(task, &mut scratch)).collect()
        } else {
            (0..tasks)
                .into_par_iter()
                .with_max_len(1)
                .map_init(Scratch::default, |scratch, task| work(task, scratch))
                .collect()
        };
        for (row, head, rows) in found {
            for (place, rows) in rows.chunks_exact(group * head_dim).enumerate() {
                out[(row + place) * width + head * group * head_dim..][..group * head_dim].copy_from_slice(rows);
            }
        }
    }

    /// The segments of head `place` (batch row · kv heads + head) with the first `positions` positions.
    fn segments(&self, place: usize, positions: usize) -> Vec<Segment<'_, N>> {
        let part = |piece: &Piece<N>| {
            (key_numbers(piece.room, self.sizes.head_dim), value_numbers(piece.room, self.sizes.head_dim))
        };
        let segment = |piece| {
            let (keys, values) = part(piece);
            Segment {
                keys: &piece.keys[place * keys..(place + 1) * keys],
                values: &piece.values[place * values..(place + 1) * values],
                room: piece.room,
            }
        };
        self.pieces[..positions.div_ceil(SEGMENT)].iter().map(segment).collect()
    }
}

/// Attention of every position to every other, head by head.
///
/// # Shapes
/// - queries, keys, values and `out` \[batch, positions, heads · head width\]; as many key heads as query heads. RoPE is
///   applied to queries and keys.
///
/// # Panics
/// When they do not fit: a mistake of the caller.
pub fn full_attention(
    set: KernelSet,
    [queries, keys, values]: [&[f32]; 3],
    batch: usize,
    HeadDims { heads, head_dim, .. }: HeadDims,
    angles: Angles<'_>,
    out: &mut [f32],
) {
    let width = heads * head_dim;
    let count = queries.len() / (batch * width).max(1);
    let right = queries.len() == batch * count * width && keys.len() == queries.len() && values.len() == keys.len();
    assert!(right && out.len() == queries.len(), "numbers of an attention");
    if out.is_empty() {
        return;
    }
    let scale = 1.0 / (head_dim as f32).sqrt();
    let sizes = HeadDims { heads: 1, kv_heads: 1, head_dim };
    let work = |task: usize, scratch: &mut Scratch| {
        let (entry, head) = (task / heads, task % heads);
        let gather = |from: &[f32]| {
            let mut rows = Vec::with_capacity(count * head_dim);
            let row = |row: usize| &from[(entry * count + row) * width + head * head_dim..][..head_dim];
            (0..count).for_each(|place| rows.extend_from_slice(row(place)));
            rows
        };
        let mut store = KvStore::<f32>::new(sizes, 1, count);
        store.write(set, 0, &gather(keys), &gather(values), angles);
        let segments = store.segments(0, count);
        let mut rows = vec![0f32; count * head_dim];
        for (position, to) in rows.chunks_exact_mut(head_dim).enumerate() {
            let (cos, sin) = angles.of(position, head_dim);
            rotate(
                set,
                &queries[(entry * count + position) * width + head * head_dim..][..head_dim],
                cos,
                sin,
                scale,
                to,
            );
        }
        for rows in rows.chunks_mut(ROWS * head_dim) {
            let seen = vec![count; rows.len() / head_dim];
            let found = attend(set, rows, &seen, &segments, scratch);
            let wide = head_dim.next_multiple_of(PANEL);
            for (to, from) in rows.chunks_exact_mut(head_dim).zip(found.chunks_exact(wide)) {
                to.copy_from_slice(&from[..head_dim]);
            }
        }
        rows
    };
    let tasks = batch * heads;
    let worth = out.len() * count * 2 / WORTH_A_THREAD;
    let found: Vec<Vec<f32>> = if worth.min(rayon::current_num_threads()) < 2 {
        let mut scratch = Scratch::default();
        (0..tasks).map(|task| work(task, &mut scratch)).collect()
    } else {
        (0..tasks)
            .into_par_iter()
            .with_max_len(1)
            .map_init(Scratch::default, |scratch, task| work(task, scratch))
            .collect()
    };
    for (task, rows) in found.into_iter().enumerate() {
        let (entry, head) = (task / heads, task % heads);
        for (row, from) in rows.chunks_exact(head_dim).enumerate() {
            out[(entry * count + row) * width + head * head_dim..][..head_dim].copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests;
