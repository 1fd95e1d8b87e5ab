//! Steady codes: a code stays where little is lost by it.
//!
//! The nearest rows of a held note flicker between neighbours that sound the same; no language model can tell such
//! noise, and no drafter can draft it. So a song's codes are the path through the rows that costs least, where a change
//! costs too: found exactly, codebook after codebook, by the Viterbi algorithm.

/// What a change of a code costs, as a share of the squared distance that its codebook leaves at best on average.
pub const CHANGE: f32 = 1.0;

/// A codebook's rows, one after the other.
pub struct Rows<'a> {
    /// All numbers.
    pub numbers: &'a [f32],
    /// Numbers of a row.
    pub width: usize,
}

/// The codes of one song and what they stand for.
pub struct CodePath {
    /// A code for each frame, codebook after codebook.
    pub codes: Vec<Vec<u16>>,
    /// The sum of the rows, frame after frame.
    pub sum: Vec<f32>,
}

impl CodePath {
    /// The codes, frame after frame.
    pub fn codes_by_frame(&self) -> Vec<u16> {
        let frames = self.codes.first().map_or(0, Vec::len);
        (0..frames).flat_map(|frame| self.codes.iter().map(move |codes| codes[frame])).collect()
    }
}

/// The codes of `frames`, rows of numbers one after the other.
pub fn steady(codebooks: &[Rows<'_>], frames: &[f32], change: f32) -> CodePath {
    let mut rest = frames.to_vec();
    let mut codes: Vec<Vec<u16>> = Vec::new();
    // Where a codebook before changed, what is left over is another thing, so a change costs nothing.
    let mut changed = vec![false; frames.len() / codebooks.first().map_or(1, |rows| rows.width)];
    for rows in codebooks {
        let path = least(rows, &rest, &changed, change);
        for (frame, (code, rest)) in path.iter().zip(rest.chunks_mut(rows.width)).enumerate() {
            let row = &rows.numbers[usize::from(*code) * rows.width..][..rows.width];
            rest.iter_mut().zip(row).for_each(|(rest, row)| *rest -= row);
            changed[frame] |= frame > 0 && path[frame - 1] != *code;
        }
        codes.push(path);
    }
    let sum = frames.iter().zip(&rest).map(|(frame, rest)| frame - rest).collect();
    CodePath { codes, sum }
}

/// The squared distance, summed in eight lanes, so that a processor can do them at once.
fn distance(frame: &[f32], row: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    for (a, b) in frame.chunks(8).zip(row.chunks(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += (a - b) * (a - b);
        }
    }
    lanes.iter().sum()
}

/// The path of least cost through the rows of one codebook.
fn least(rows: &Rows<'_>, asked: &[f32], free: &[bool], change: f32) -> Vec<u16> {
    let count = rows.numbers.len() / rows.width;
    let distances: Vec<Vec<f32>> = asked
        .chunks(rows.width)
        .map(|frame| rows.numbers.chunks(rows.width).map(|row| distance(frame, row)).collect())
        .collect();
    let nearest = |distances: &Vec<f32>| distances.iter().copied().fold(f32::INFINITY, f32::min);
    let change = change * distances.iter().map(nearest).sum::<f32>() / distances.len().max(1) as f32;
    // `cost` of the best path to each row; `from` is the row before.
    let mut cost = vec![0f32; count];
    let mut from: Vec<Vec<u16>> = Vec::with_capacity(distances.len());
    for (frame, distances) in distances.iter().enumerate() {
        let (best, least) =
            cost.iter().enumerate().fold(
                (0, f32::INFINITY),
                |(best, least), (row, cost)| {
                    if *cost < least { (row, *cost) } else { (best, least) }
                },
            );
        let price = if free[frame] { 0.0 } else { change };
        let mut before = Vec::with_capacity(count);
        for (row, (cost, distance)) in cost.iter_mut().zip(distances).enumerate() {
            let stays = *cost <= least + price;
            before.push(if stays { row as u16 } else { best as u16 });
            // Costs are kept relative, so that they stay exact over any number of frames.
            *cost = distance + (*cost - least).min(price);
        }
        from.push(before);
    }
    let last =
        cost.iter().enumerate().fold(
            (0, f32::INFINITY),
            |(best, least), (row, cost)| {
                if *cost < least { (row, *cost) } else { (best, least) }
            },
        );
    let mut row = last.0 as u16;
    let mut path = vec![0u16; distances.len()];
    for frame in (0..path.len()).rev() {
        path[frame] = row;
        row = from[frame][usize::from(row)];
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// What a path costs under the price of a change.
    fn cost(rows: &Rows<'_>, frames: &[f32], path: &[u16], price: f32) -> f32 {
        let distance = |frame: &[f32], code: u16| -> f32 {
            frame.iter().zip(&rows.numbers[usize::from(code) * rows.width..]).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let distances: f32 = frames.chunks(rows.width).zip(path).map(|(frame, code)| distance(frame, *code)).sum();
        distances + price * path.windows(2).filter(|pair| pair[0] != pair[1]).count() as f32
    }

    #[test]
    fn no_other_path_costs_less() {
        let mut rng = Rng::new(&[3]);
        for _ in 0..20 {
            let (rows, frames) = (rng.normal(3 * 2), rng.normal(5 * 2));
            let rows = Rows { numbers: &rows, width: 2 };
            let path = steady(&[Rows { ..rows }], &frames, 1.0);
            let nearest = steady(&[Rows { ..rows }], &frames, 0.0);
            let price = cost(&rows, &frames, &nearest.codes[0], 0.0) / 5.0;
            let found = cost(&rows, &frames, &path.codes[0], price);
            for other in 0..3u32.pow(5) {
                let other: Vec<u16> = (0..5).map(|place| (other / 3u32.pow(place) % 3) as u16).collect();
                assert!(found <= cost(&rows, &frames, &other, price) + 1e-4, "{other:?} costs less");
            }
        }
    }

    #[test]
    fn a_code_stays_where_frames_only_tremble() {
        let rows = [0.0, 1.0, 10.0];
        let frames = [0.4, 0.6, 0.4, 0.6, 9.0, 9.4];
        let codes = |change| steady(&[Rows { numbers: &rows, width: 1 }], &frames, change).codes[0].clone();
        assert_eq!(codes(0.0), [0, 1, 0, 1, 2, 2]);
        let held = codes(1.0);
        assert!(held[..4].windows(2).all(|pair| pair[0] == pair[1]) && held[4..] == [2, 2], "{held:?}");
    }
}
