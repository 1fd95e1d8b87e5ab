//! Left-hand side of a product: where its rows lie, and their packing for tiles.

use std::ops::Range;

use super::tile::Run;

/// Inputs of a tile, at most.
pub(super) const MOST_INPUTS: usize = 512;

/// Contiguous inputs of a packed row: what is copied at once.
pub(super) const QUAD: usize = 4;

/// Numbers that `rows` packed rows of `inputs` inputs take.
pub(super) fn packed_numbers(rows: usize, inputs: usize) -> usize {
    rows * inputs.next_multiple_of(QUAD)
}

/// Lays out row `row` of the `rows` rows of a tile: \[inputs / 4, rows, 4\], so that a tile walks through one piece of
/// memory. With a row for each, the rows' addresses would take more registers than there are, and rows whose distance
/// is a power of two would push each other out of the cache.
fn pack(line: &[f32], row: usize, rows: usize, to: &mut [f32]) {
    let quads = line.chunks_exact(QUAD);
    let rest = quads.remainder();
    let mut places = to.chunks_exact_mut(rows * QUAD);
    for (quad, to) in quads.zip(places.by_ref()) {
        to[row * QUAD..][..QUAD].copy_from_slice(quad);
    }
    if let (false, Some(to)) = (rest.is_empty(), places.next()) {
        to[row * QUAD..][..rest.len()].copy_from_slice(rest);
    }
}

/// The left side of a product: rows of inputs in one piece of memory, which may overlap (a convolution's do).
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Everything that the rows are part of.
    pub numbers: &'a [f32],
    /// How many rows there are.
    pub count: usize,
    /// Numbers from a row's beginning to the next one's.
    pub stride: usize,
    /// A row is a run of `width` numbers at each of these places, counted from its beginning: one for a linear layer,
    /// one for each tap of a convolution.
    pub runs: &'a [usize],
    /// Numbers of a run.
    pub width: usize,
}

impl<'a> Rows<'a> {
    /// Rows that follow each other, `width` numbers each.
    pub fn new(numbers: &'a [f32], width: usize) -> Self {
        Self { numbers, count: numbers.len() / width.max(1), stride: width, runs: &[0], width }
    }

    pub(super) fn inputs(&self) -> usize {
        self.runs.len() * self.width
    }

    /// Numbers that must be there.
    pub(super) fn extent(&self) -> usize {
        let last = self.runs.iter().max().map_or(0, |run| run + self.width);
        if self.count == 0 { 0 } else { (self.count - 1) * self.stride + last }
    }

    /// Numbers `inputs` of row `row`, copied to `room` if they are not contiguous.
    pub(super) fn line<'b>(&'b self, row: usize, inputs: Range<usize>, room: &'b mut [f32]) -> &'b [f32] {
        let place = |input: usize| row * self.stride + self.runs[input / self.width] + input % self.width;
        if inputs.start / self.width == (inputs.end - 1) / self.width {
            return &self.numbers[place(inputs.start)..][..inputs.len()];
        }
        let room = &mut room[..inputs.len()];
        let (mut input, mut to) = (inputs.start, &mut *room);
        while input < inputs.end {
            let count = (self.width - input % self.width).min(inputs.end - input);
            let (head, rest) = to.split_at_mut(count);
            head.copy_from_slice(&self.numbers[place(input)..][..count]);
            (input, to) = (input + count, rest);
        }
        room
    }

    /// Where numbers `inputs` of a row lie; `None` where a quad of them would reach beyond a run.
    pub(super) fn runs(&self, inputs: Range<usize>) -> Option<Vec<Run>> {
        let whole = [self.width, inputs.start].iter().all(|place| place.is_multiple_of(QUAD));
        whole.then(|| {
            let cut = |start: usize| (start / self.width + 1) * self.width;
            let starts = std::iter::successors(Some(inputs.start), |start| Some(cut(*start)));
            let starts = starts.take_while(|start| *start < inputs.end);
            let run = |start: usize| Run {
                place: self.runs[start / self.width] + start % self.width,
                inputs: cut(start).min(inputs.end) - start,
            };
            starts.map(run).collect()
        })
    }

    /// Lays out numbers `inputs` of rows `rows`, at most [`MOST_INPUTS`] inputs, as a tile takes them.
    pub(super) fn pack(&self, rows: Range<usize>, inputs: Range<usize>, to: &mut [f32]) {
        let whole = [self.width, inputs.start, inputs.end].iter().all(|place| place.is_multiple_of(QUAD));
        if whole && self.stride >= QUAD && !rows.is_empty() {
            return self.pack_quads(rows, inputs, to);
        }
        let mut room = [0f32; MOST_INPUTS];
        for (place, row) in rows.clone().enumerate() {
            pack(self.line(row, inputs.clone(), &mut room), place, rows.len(), to);
        }
    }

    /// The same where no quad reaches beyond a run: each is copied from where it lies, the quads of all rows side by
    /// side. The runs of a convolution are short, and a copy of a run would cost more than its products.
    fn pack_quads(&self, rows: Range<usize>, inputs: Range<usize>, to: &mut [f32]) {
        let quads = inputs.step_by(QUAD).zip(to.chunks_exact_mut(rows.len() * QUAD));
        for (input, to) in quads {
            let first = rows.start * self.stride + self.runs[input / self.width] + input % self.width;
            let from = self.numbers[first..].chunks(self.stride);
            to.chunks_exact_mut(QUAD).zip(from).for_each(|(to, from)| to.copy_from_slice(&from[..QUAD]));
        }
    }
}
