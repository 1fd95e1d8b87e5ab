//! Tests of attention over a store: against the formula, in any pieces and on any threads.

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::kernels::cpu::test_weights::noise;

struct Setting {
    sizes: HeadDims,
    batch: usize,
    positions: usize,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Setting {
    fn new(kv_heads: usize, group: usize, head_dim: usize, batch: usize, positions: usize) -> Self {
        let sizes = HeadDims { heads: kv_heads * group, kv_heads, head_dim };
        let angles = noise(9, positions * head_dim / 2);
        Self {
            sizes,
            batch,
            positions,
            queries: noise(1, batch * positions * sizes.query_width()),
            keys: noise(2, batch * positions * sizes.key_width()),
            values: noise(3, batch * positions * sizes.key_width()),
            cos: angles.iter().map(|angle| angle.cos()).collect(),
            sin: angles.iter().map(|angle| angle.sin()).collect(),
        }
    }

    fn angles(&self) -> Angles<'_> {
        Angles { cos: &self.cos, sin: &self.sin }
    }

    fn part(&self, numbers: &[f32], start: usize, count: usize) -> Vec<f32> {
        let width = numbers.len() / (self.batch * self.positions);
        let entry = |batch: usize| &numbers[(batch * self.positions + start) * width..][..count * width];
        (0..self.batch).flat_map(|batch| entry(batch).iter().copied()).collect()
    }

    fn store<N: KvNumber>(&self) -> KvStore<N> {
        KvStore::new(self.sizes, self.batch, self.positions)
    }

    /// Feeds positions in pieces of these lengths; the results as if of one piece.
    fn fed<N: KvNumber>(&self, set: KernelSet, store: &mut KvStore<N>, pieces: &[usize]) -> Vec<f32> {
        let width = self.sizes.query_width();
        let mut all = vec![f32::NAN; self.queries.len()];
        let mut start = 0;
        for count in pieces.iter().copied() {
            let part = |numbers: &[f32]| self.part(numbers, start, count);
            store.write(set, start, &part(&self.keys), &part(&self.values), self.angles());
            let mut out = vec![f32::NAN; self.batch * count * width];
            store.attend(set, start, &part(&self.queries), self.angles(), &mut out);
            for (batch, out) in out.chunks(count * width).enumerate() {
                all[(batch * self.positions + start) * width..][..count * width].copy_from_slice(out);
            }
            start += count;
        }
        all
    }

    fn rotated(&self, numbers: &[f32], position: usize) -> Vec<f64> {
        let half = self.sizes.head_dim / 2;
        let pairs = numbers.chunks(2).enumerate().flat_map(|(pair, x)| {
            let (x, y) = (f64::from(x[0]), f64::from(x[1]));
            let place = position * half + pair;
            let (cos, sin) = (f64::from(self.cos[place]), f64::from(self.sin[place]));
            [x * cos - y * sin, x * sin + y * cos]
        });
        pairs.collect()
    }

    /// By the formula, for one query head of one position that attends to the first `seen` positions.
    fn expected(&self, batch: usize, position: usize, head: usize, seen: usize) -> Vec<f64> {
        let HeadDims { heads, head_dim, .. } = self.sizes;
        let kv = head / self.sizes.group();
        let row = |numbers: &[f32], position: usize, head: usize, heads: usize| {
            numbers[((batch * self.positions + position) * heads + head) * head_dim..][..head_dim].to_vec()
        };
        let query = self.rotated(&row(&self.queries, position, head, heads), position);
        let scores: Vec<f64> = (0..seen)
            .map(|place| {
                let key = self.rotated(&row(&self.keys, place, kv, self.sizes.kv_heads), place);
                query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (head_dim as f64).sqrt()
            })
            .collect();
        let most = scores.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
        let mut out = vec![0f64; head_dim];
        for (place, score) in scores.iter().enumerate() {
            let value = row(&self.values, place, kv, self.sizes.kv_heads);
            out.iter_mut().zip(value).for_each(|(out, v)| *out += (score - most).exp() / sum * f64::from(v));
        }
        out
    }
}

/// Sums of f32.
const ROUNDING: f64 = 1e-5;
/// Keys and values of f16: a value is wrong by a 2048th; a key makes a score of up to 60 products wrong by as much of
/// their absolute sum over √60, some 0.003, and that wrongs a mean of values from -4 to 4 by eight times as much.
const HALVES: f64 = 0.03;

fn assert_close(set: KernelSet, found: &[f32], expected: &[f64], tolerance: f64) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < tolerance, "{set}: {found} for {expected}");
    }
}

/// Whether positions that are fed in pieces, and singly on three threads, are the bits of positions that are fed at
/// once.
fn is_the_same_in_pieces<N: KvNumber>(setting: &Setting, set: KernelSet, pieces: &[usize]) -> bool {
    let whole = setting.fed(set, &mut setting.store::<N>(), &[setting.positions]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
    let singly = || setting.fed(set, &mut setting.store::<N>(), &vec![1; setting.positions]);
    setting.fed(set, &mut setting.store::<N>(), pieces) == whole && pool.install(singly) == whole
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.min(16), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn attention_over_a_store_is_what_the_formula_says(
        kv_heads in 1usize..3, group in 1usize..4, half in 1usize..30, batch in 1usize..3, positions in 1usize..40,
    ) {
        let setting = Setting::new(kv_heads, group, 2 * half, batch, positions);
        for set in KernelSet::here() {
            let wide = setting.fed(set, &mut setting.store::<f32>(), &[positions]);
            let half_wide = setting.fed(set, &mut setting.store::<f16>(), &[positions]);
            let heads = wide.chunks(2 * half).zip(half_wide.chunks(2 * half)).enumerate();
            for (place, (wide, half_wide)) in heads {
                let (row, head) = (place / setting.sizes.heads, place % setting.sizes.heads);
                let (batch, position) = (row / positions, row % positions);
                let expected = setting.expected(batch, position, head, position + 1);
                assert_close(set, wide, &expected, ROUNDING);
                assert_close(set, half_wide, &expected, HALVES);
            }
        }
    }

    #[test]
    fn a_position_is_the_same_bits_in_whatever_pieces_positions_are_fed_and_on_any_number_of_threads(
        kv_heads in 1usize..3, group in 1usize..4, half in 1usize..30, batch in 1usize..3,
        pieces in proptest::collection::vec(1usize..200, 1..7),
    ) {
        let positions = pieces.iter().sum();
        let setting = Setting::new(kv_heads, group, 2 * half, batch, positions);
        for set in KernelSet::vectors_here() {
            prop_assert!(is_the_same_in_pieces::<f32>(&setting, set, &pieces), "{} in {:?}", set, pieces);
            prop_assert!(is_the_same_in_pieces::<f16>(&setting, set, &pieces), "{} in {:?}, f16", set, pieces);
        }
    }

    #[test]
    fn kept_in_f16_is_bit_for_bit_kept_in_f32_where_all_numbers_are_halves(
        kv_heads in 1usize..3, group in 1usize..4, half in 1usize..30, batch in 1usize..3, positions in 1usize..300,
    ) {
        let mut setting = Setting::new(kv_heads, group, 2 * half, batch, positions);
        // Angles of zero leave the keys as they are.
        setting.cos.fill(1.0);
        setting.sin.fill(0.0);
        let halves = |number: &mut f32| *number = f16::from_f32(*number).to_f32();
        setting.keys.iter_mut().chain(&mut setting.values).for_each(halves);
        for set in KernelSet::vectors_here() {
            let wide = setting.fed(set, &mut setting.store::<f32>(), &[positions]);
            prop_assert!(setting.fed(set, &mut setting.store::<f16>(), &[positions]) == wide, "{}", set);
        }
    }

    #[test]
    fn attention_to_all_positions_is_what_the_formula_says_on_any_number_of_threads(
        heads in 1usize..4, half in 1usize..40, batch in 1usize..3, positions in 1usize..300,
    ) {
        let setting = Setting::new(heads, 1, 2 * half, batch, positions);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
        for set in KernelSet::vectors_here() {
            let run = || {
                let mut out = vec![f32::NAN; setting.queries.len()];
                let Setting { queries, keys, values, .. } = &setting;
                let sizes = HeadDims { heads, kv_heads: heads, head_dim: 2 * half };
                full_attention(set, [queries, keys, values], batch, sizes, setting.angles(), &mut out);
                out
            };
            let found = run();
            prop_assert!(pool.install(run) == found, "{} on three threads", set);
            for row in [0, batch * positions / 2, batch * positions - 1] {
                let found = &found[row * heads * 2 * half..][..2 * half];
                assert_close(set, found, &setting.expected(row / positions, row % positions, 0, positions), ROUNDING);
            }
        }
    }
}

fn what_is_hidden_stays_hidden<N: KvNumber>() {
    let mut setting = Setting::new(2, 3, 24, 1, 290);
    for set in KernelSet::vectors_here() {
        let clean = setting.fed(set, &mut setting.store::<N>(), &[290]);
        let (keys, values) = (setting.keys.clone(), setting.values.clone());
        let hidden = 270 * setting.sizes.key_width();
        setting.keys[hidden..].fill(f32::NAN);
        setting.values[hidden..].fill(f32::INFINITY);
        let found = setting.fed(set, &mut setting.store::<N>(), &[290]);
        let own = 270 * setting.sizes.query_width();
        assert!(found[..own] == clean[..own], "{set}");
        assert!(found[own..].iter().all(|x| !x.is_finite()), "{set}: the change would be seen");
        // Forgotten positions are written over, and nothing of them is left.
        let mut store = setting.store::<N>();
        setting.fed(set, &mut store, &[290]);
        (setting.keys, setting.values) = (keys, values);
        assert!(setting.fed(set, &mut store, &[1; 290]) == clean, "{set}");
    }
}

#[test]
fn what_a_query_may_not_see_cannot_reach_it_even_if_it_is_no_number() {
    what_is_hidden_stays_hidden::<f32>();
    what_is_hidden_stays_hidden::<f16>();
}

fn memory_follows_the_positions<N: KvNumber>() {
    let setting = Setting::new(1, 2, 8, 2, 600);
    let set = KernelSet::Portable;
    let mut store = setting.store::<N>();
    assert_eq!(store.bytes(), 0);
    store.reserve(1);
    let step = store.bytes();
    assert_eq!(step, 2 * STEP * (8 + PANEL) * size_of::<N>());
    store.reserve(256);
    assert_eq!(store.bytes(), step);
    store.reserve(257);
    assert_eq!(store.bytes(), 2 * step);
    let whole = setting.fed(set, &mut store, &[600]);
    assert_eq!(store.bytes() * STEP, step * 608, "the last step is as long as the song needs, in whole panels");
    let mut second = KvStore::<N>::new(setting.sizes, 1, 700);
    second.copy_rows(&store, 1, 600);
    let mut out = vec![0f32; setting.sizes.query_width()];
    let last = &setting.queries[setting.queries.len() - out.len()..];
    second.attend(set, 599, last, setting.angles(), &mut out);
    assert_eq!(out, whole[whole.len() - out.len()..]);
}

#[test]
fn a_store_takes_memory_as_positions_need_it_and_rows_can_be_taken_over() {
    memory_follows_the_positions::<f32>();
    memory_follows_the_positions::<f16>();
}

#[test]
fn what_is_there_stays_where_it_is_while_a_store_grows_so_nothing_is_ever_there_twice() {
    let setting = Setting::new(1, 1, 16, 1, 3 * STEP);
    let mut store = setting.store::<f16>();
    let places = |store: &KvStore<f16>| store.pieces.iter().map(|piece| piece.keys.as_ptr()).collect::<Vec<_>>();
    store.reserve(STEP);
    let before = places(&store);
    store.reserve(3 * STEP);
    assert_eq!(places(&store)[..1], before);
}

#[test]
fn a_number_beyond_the_range_of_f16_is_kept_as_the_largest_and_what_is_none_stays_none() {
    for (number, kept) in [(1e9, 65504.0), (-1e9, -65504.0), (65504.0, 65504.0), (0.1, 0.099_975_586), (1e-9, 0.0)] {
        assert_eq!(f16::nearest(number).to_f32(), kept, "{number}");
    }
    assert!(f16::nearest(f32::NAN).is_nan());
    assert_eq!(f16::nearest(f32::NEG_INFINITY), f16::NEG_INFINITY);
}
