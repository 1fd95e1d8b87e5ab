//! Drafted songs follow the model's distribution, and the test that says so would notice if they did not.
//!
//! A toy model of two codebooks and four codes is small enough that the distribution of its first two frames can be
//! written down: 81 outcomes at top-3. Frames are drafted by another distribution, and counts are compared with the
//! distribution by a chi-square test. Two faults that have been seen in other engines are planted, and the test must
//! find them.

use heartstream_models::{
    Result,
    heartmula::{CodeSampler, KeyedSampler, Sampling},
    signal::KeyedNoise,
    speculation::{Completion, DepthWork, Drafts, Frame, FrameTarget, Logits, run_round},
};

const CODES: usize = 4;
const TOP: usize = 3;
const SONGS: u64 = 120_000;
/// Degrees of freedom: 9 outcomes of each of two frames, less one.
const FREEDOM: f64 = 80.0;

/// Logits of a code under the codes before it: a fixed function, of which `skew` makes another one.
fn logits(before: &[u32], skew: f32) -> Vec<f32> {
    let place = before.iter().fold(7u32, |hash, code| hash.wrapping_mul(31).wrapping_add(code + 1));
    (0..CODES as u32)
        .map(|code| {
            let mixed = (place ^ (code + 1).wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B) >> 16;
            let wobble = (mixed.wrapping_mul(0xC2B2_AE35) >> 20) as f32 / 4096.0;
            1.6 * (mixed as f32 / 65_536.0 - 0.5) * (1.0 - 0.4 * skew) + skew * (wobble - 0.5)
        })
        .collect()
}

/// The model: what was written, and what is being looked at.
#[derive(Default)]
struct Toy {
    written: Vec<Frame>,
    drafts: Vec<Frame>,
}

impl Toy {
    /// The codes before number `frame` of the drafts.
    fn before(&self, frame: usize) -> Vec<u32> {
        self.written.iter().chain(&self.drafts[..frame]).flatten().copied().collect()
    }
}

impl FrameTarget for Toy {
    fn codebooks(&self) -> usize {
        2
    }

    fn vocabulary(&self) -> usize {
        CODES
    }

    fn room(&self) -> usize {
        100
    }

    fn open(&mut self, drafts: &[Frame]) -> Result<Logits> {
        self.drafts = drafts.to_vec();
        Ok((0..=drafts.len()).map(|frame| logits(&self.before(frame), 0.0)).collect())
    }

    fn depth_logits(&mut self, first: usize, frames: &[Frame]) -> Result<Vec<Logits>> {
        let after = |(frame, codes): (usize, &Frame)| vec![logits(&[self.before(frame), vec![codes[0]]].concat(), 0.0)];
        Ok((first..).zip(frames).map(after).collect())
    }

    fn finish_logits(&mut self, frame: usize, codes: &[u32], _: usize) -> Result<Logits> {
        Ok(vec![logits(&[self.before(frame), vec![codes[0]]].concat(), 0.0)])
    }

    fn commit(&mut self, frames: &[Frame]) -> Result<()> {
        self.written.extend_from_slice(frames);
        Ok(())
    }

    fn roll_back(&mut self) {}
}

fn sampler(seed: u64) -> KeyedSampler {
    KeyedSampler::new(Sampling { top_k: TOP, ..Sampling::default() }, KeyedNoise::new(seed)).expect("in range")
}

/// Probabilities of the codes that the filter lets through.
fn distribution(logits: &[f32]) -> Vec<f64> {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let weight = |logit: &f32| if *logit < sorted[TOP - 1] { 0.0 } else { f64::from(*logit).exp() };
    let weights: Vec<f64> = logits.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// The probability of four codes in a row, under the model or under the drafter.
fn probability(codes: [u32; 4], skew: f32) -> f64 {
    (0..4).map(|place| distribution(&logits(&codes[..place], skew))[codes[place] as usize]).product()
}

/// How far counts are from the distribution, in deviations of the chi-square of that many degrees of freedom.
fn deviation(count: impl Fn([u32; 4]) -> u64) -> f64 {
    let code = |outcome: usize, place: u32| (outcome / CODES.pow(place) % CODES) as u32;
    let chi_square: f64 = (0..CODES.pow(4))
        .map(|outcome| [0, 1, 2, 3].map(|place| code(outcome, place)))
        .map(|codes| {
            let expected = probability(codes, 0.0) * SONGS as f64;
            let counted = count(codes) as f64;
            assert!(expected > 0.0 || counted == 0.0, "{codes:?} cannot be");
            if expected > 0.0 { (counted - expected).powi(2) / expected } else { 0.0 }
        })
        .sum();
    (chi_square - FREEDOM) / (2.0 * FREEDOM).sqrt()
}

fn counted(mut song: impl FnMut(u64) -> [u32; 4]) -> f64 {
    let mut counts = vec![0u64; CODES.pow(4)];
    let place = |codes: [u32; 4]| codes.iter().rev().fold(0, |place, code| place * CODES + *code as usize);
    (0..SONGS).for_each(|number| counts[place(song(number))] += 1);
    deviation(|codes| counts[place(codes)])
}

/// What a drafter with another distribution drafts for the first two frames.
fn drafts(sampler: &mut KeyedSampler) -> Vec<Frame> {
    let mut codes: Vec<u32> = Vec::new();
    for place in 0..4 {
        let drafted = sampler.sample(place / 2, place as usize % 2, &logits(&codes, 1.0)).expect("numbers");
        codes.push(drafted);
    }
    codes.chunks(2).map(<[u32]>::to_vec).collect()
}

/// The first two frames, drafted and verified.
fn verified(target_seed: u64, draft_seed: u64, work: DepthWork) -> [u32; 4] {
    let (mut toy, mut target_sampler) = (Toy::default(), sampler(target_seed));
    let drafted = drafts(&mut sampler(draft_seed));
    while toy.written.len() < 2 {
        let first = toy.written.len();
        let given = Drafts { first: first as u64, frames: &drafted[first..], guess: &drafted[1] };
        run_round(&mut toy, &mut target_sampler, given, work).expect("a round");
    }
    let codes: Vec<u32> = toy.written[..2].concat();
    [codes[0], codes[1], codes[2], codes[3]]
}

const WORKS: [DepthWork; 3] = [
    DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail: false },
    DepthWork { pass: 1, completion: Completion::Steps, refresh_tail: true },
    DepthWork::PLAIN,
];

#[test]
fn drafted_songs_follow_the_models_distribution() {
    for (work, seed) in WORKS.into_iter().zip([1, 2, 3]) {
        // A seed for every song, shared by drafter and model.
        let z = counted(|song| verified(seed << 40 | song, seed << 40 | song, work));
        assert!(z.abs() < 4.0, "z {z}, seed {seed}");
    }
}

#[test]
fn every_code_follows_its_distribution_and_so_do_pairs_across_frames() {
    for place in 0..4usize {
        let mut counts = [[0f64; CODES]; CODES];
        let before = place.saturating_sub(1);
        for song in 0..SONGS {
            let codes = verified(9 << 40 | song, 9 << 40 | song, WORKS[0]);
            counts[codes[before] as usize][codes[place] as usize] += 1.0;
        }
        let mut expected = [[0f64; CODES]; CODES];
        for outcome in 0..CODES.pow(4) {
            let codes = [0, 1, 2, 3].map(|place| (outcome / CODES.pow(place) % CODES) as u32);
            expected[codes[before] as usize][codes[place] as usize] += probability(codes, 0.0) * SONGS as f64;
        }
        for (counts, expected) in counts.as_flattened().iter().zip(expected.as_flattened()) {
            let z = (counts - expected) / (expected * (1.0 - expected / SONGS as f64)).sqrt().max(1e-9);
            assert!(z.abs() < 4.5, "code {place}: {counts}, expected {expected}");
        }
    }
}

#[test]
fn a_model_and_a_drafter_that_share_their_noise_agree_more_often() {
    let rounds = |draft_seed: &dyn Fn(u64) -> u64| -> u64 {
        let one = |song: u64| {
            let drafted = drafts(&mut sampler(draft_seed(song)));
            let given = Drafts { first: 0, frames: &drafted, guess: &drafted[1] };
            run_round(&mut Toy::default(), &mut sampler(song), given, WORKS[0]).expect("a round").accepted as u64
        };
        (0..20_000).map(one).sum()
    };
    let (shared, independent) = (rounds(&|song| song), rounds(&|song| song + (1 << 50)));
    assert!(2 * shared > 3 * independent, "{shared} frames with shared noise, {independent} without");
}

/// Leviathan's rule, which accepts a draft with probability p / q and draws from the residual otherwise: `coin` says
/// whether, and `draw` draws.
fn ratio_rule(draft: u32, p: &[f64], q: &[f64], coin: f64, draw: impl Fn(&[f64]) -> u32) -> u32 {
    let (likely, drafted) = (p[draft as usize], q[draft as usize]);
    if coin < likely / drafted {
        return draft;
    }
    let residual: Vec<f64> = p.iter().zip(q).map(|(p, q)| (p - q).max(0.0)).collect();
    draw(&residual)
}

/// Draws a code by weights with the noise of a place.
fn draw(noise: KeyedNoise, place: usize, weights: &[f64]) -> u32 {
    let scores = (0u32..).zip(weights).filter(|(_, weight)| **weight > 0.0);
    let scored =
        scores.map(|(code, weight)| (code, weight.ln() + noise.gumbel(place as u64 / 2, place as u32 % 2, code)));
    scored.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |best| best.0)
}

fn by_ratio(song: u64, residual_noise: KeyedNoise) -> [u32; 4] {
    let (noise, coins) = (KeyedNoise::new(song), KeyedNoise::new(song | 1 << 60));
    let mut codes: Vec<u32> = Vec::new();
    for place in 0..4 {
        let (p, q) = (distribution(&logits(&codes, 0.0)), distribution(&logits(&codes, 1.0)));
        let draft = draw(noise, place, &q);
        // 1 - u = exp(-exp(-G))
        let coin = (-(-coins.gumbel(place as u64, 0, 0)).exp()).exp();
        let code = ratio_rule(draft, &p, &q, coin, |residual| draw(residual_noise, place, residual));
        codes.push(code);
    }
    [codes[0], codes[1], codes[2], codes[3]]
}

#[test]
fn the_test_finds_a_residual_that_shares_the_noise_of_the_draft() {
    let right = counted(|song| by_ratio(song, KeyedNoise::new(song | 1 << 61)));
    assert!(right.abs() < 4.0, "with noise of its own the rule is right: z {right}");
    let wrong = counted(|song| by_ratio(song, KeyedNoise::new(song)));
    assert!(wrong > 20.0, "z {wrong}");
}

#[test]
fn the_test_finds_drafts_that_are_accepted_because_they_are_the_likeliest() {
    let z = counted(|song| {
        let noise = KeyedNoise::new(song);
        let mut codes: Vec<u32> = Vec::new();
        for place in 0..4 {
            let (p, q) = (distribution(&logits(&codes, 0.0)), distribution(&logits(&codes, 1.0)));
            let draft = draw(noise, place, &q);
            let likeliest = (0u32..).zip(&p).max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |best| best.0);
            let fresh = KeyedNoise::new(song | 1 << 61);
            codes.push(if draft == likeliest { draft } else { draw(fresh, place, &p) });
        }
        [codes[0], codes[1], codes[2], codes[3]]
    });
    assert!(z > 100.0, "z {z}");
}
