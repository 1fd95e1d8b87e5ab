//! Entropy of the model's codes, sources of disturbance, and the cost of wider passes.
//!
//! The song is fed to the model as it was written, and the model is asked what it would draw: under the song's own
//! codes, and under codes of which one was changed. What still comes out the same is what guesses can live on. The same
//! model with coarser weights is asked, too: how often it draws the song's codes is how often it would draft them
//! right.

use std::time::{Duration, Instant};

use heartstream_models::{
    ModelError,
    heartmula::{CodeSampler, HeartMula, KeyedSampler, PromptTokens, SongTarget, VerifyBuffers},
    speculation::{Frame, MOST_FRAMES},
};

use super::runs::Subject;

/// Frames that are changed, spread over the song …
const CHANGED: usize = 24;
/// … but no more than one of this number: each costs as much as two dozen others.
const APART: usize = 4;
/// Frames in one pass whose time is measured.
const WIDTHS: [usize; 7] = [1, 2, 3, 5, 9, 17, 32];
/// Passes of which the fastest counts.
const PASSES: usize = 3;

/// What was measured of one codebook.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Codebook {
    /// Mean entropy of the distribution that codes are drawn from, in bits, and mean probability of the likeliest code.
    pub entropy: f64,
    pub likeliest: f64,
    /// How often the same code is drawn when the code before it in the frame is another one; none for the first.
    pub after_wrong_code: Option<f64>,
    /// How often code 0 of the next frame is the same when this code is another one.
    pub next_frame: f64,
    /// How often this code is the same when the frame before is what Jacobi iteration has of it after one pass: drawn
    /// behind a frame that was repeated in the place of the next. None where the song is too short to tell.
    pub after_window: Option<f64>,
}

/// How a model with coarser weights draws.
#[derive(Debug, Clone)]
pub(super) struct CoarseMatches {
    /// Bits of a weight.
    pub bits: u32,
    /// For each codebook: how often it draws the song's code.
    pub matches: Vec<f64>,
}

/// The fastest pass over a number of frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Width {
    pub frames: usize,
    pub backbone: Duration,
    pub depth: Duration,
}

/// All that was measured.
pub(super) struct Measured {
    pub codebooks: Vec<Codebook>,
    pub widths: Vec<Width>,
}

pub(super) fn measure(subject: &Subject, song: &[Frame]) -> Result<Measured, ModelError> {
    let codebooks = song[0].len();
    let mut measured = vec![Codebook::default(); codebooks];
    let mut state = subject.model.start(&subject.prompt, subject.guidance, subject.frames)?;
    let mut buffers = VerifyBuffers::default();
    let mut target = SongTarget::new(&subject.model, &mut state, &mut buffers);
    let mut sampler = subject.sampler.clone();
    let every = (song.len() / CHANGED).max(APART);
    let mut changed = 0f64;
    let mut same_after = vec![0f64; codebooks];
    let (mut windows, mut same_in_window) = (0f64, vec![0f64; codebooks]);
    for (place, frame) in song[..song.len() - 1].iter().enumerate() {
        let first = target.open(std::slice::from_ref(frame))?;
        let rest = target.depth_logits(0, std::slice::from_ref(frame))?;
        let logits: Vec<&Vec<f32>> = std::iter::once(&first[0]).chain(&rest[0]).collect();
        for (codebook, logits) in measured.iter_mut().zip(&logits) {
            let (entropy, likeliest) = certainty(logits);
            codebook.entropy += entropy;
            codebook.likeliest += likeliest;
        }
        if place % every == 0 {
            changed += 1.0;
            let next = sampler.sample(place as u64 + 1, 0, &first[1])?;
            for codebook in 0..codebooks {
                let mut other = frame.clone();
                other[codebook] ^= 1;
                if codebook + 1 < codebooks {
                    let after = target.depth_logits(0, std::slice::from_ref(&other))?;
                    let drawn = sampler.sample(place as u64, codebook + 1, &after[0][codebook])?;
                    same_after[codebook + 1] += f64::from(u8::from(drawn == frame[codebook + 1]));
                }
                let opened = target.open(std::slice::from_ref(&other))?;
                let drawn = sampler.sample(place as u64 + 1, 0, &opened[1])?;
                measured[codebook].next_frame += f64::from(u8::from(drawn == next));
            }
            if let (Some(before), Some(after)) = (place.checked_sub(1).map(|before| &song[before]), song.get(place + 2))
            {
                let window = window_frame(&mut target, &mut sampler, place as u64, before)?;
                let opened = target.open(&[frame.clone(), window])?;
                let rest = target.depth_logits(2, std::slice::from_ref(after))?;
                windows += 1.0;
                for (codebook, logits) in std::iter::once(&opened[2]).chain(&rest[0]).enumerate() {
                    let drawn = sampler.sample(place as u64 + 2, codebook, logits)?;
                    same_in_window[codebook] += f64::from(u8::from(drawn == after[codebook]));
                }
            }
            target.open(std::slice::from_ref(frame))?;
        }
        target.commit(std::slice::from_ref(frame))?;
    }
    let frames = (song.len() - 1) as f64;
    for (place, codebook) in measured.iter_mut().enumerate() {
        codebook.entropy /= frames;
        codebook.likeliest /= frames;
        codebook.next_frame /= changed;
        codebook.after_wrong_code = (place > 0).then_some(same_after[place] / changed);
        codebook.after_window = (windows > 0.0).then(|| same_in_window[place] / windows);
    }
    Ok(Measured { codebooks: measured, widths: widths(subject, song)? })
}

/// What the model draws for the frame behind number `place`, in the place of which it is shown `before` again: code 0,
/// and then the others under the codes of `before`.
fn window_frame(
    target: &mut SongTarget<'_>,
    sampler: &mut KeyedSampler,
    place: u64,
    before: &Frame,
) -> Result<Frame, ModelError> {
    let opened = target.open(std::slice::from_ref(before))?;
    let mut window = before.clone();
    window[0] = sampler.sample(place + 1, 0, &opened[1])?;
    let rest = target.depth_logits(1, std::slice::from_ref(&window))?;
    for (codebook, logits) in (1..).zip(&rest[0]) {
        window[codebook] = sampler.sample(place + 1, codebook, logits)?;
    }
    Ok(window)
}

/// How often `model` draws the codes of `song`, codebook by codebook, under the codes before each.
pub(super) fn matches(
    model: &HeartMula,
    prompt: &PromptTokens,
    guidance: f64,
    mut sampler: KeyedSampler,
    song: &[Frame],
) -> Result<Vec<f64>, ModelError> {
    let mut state = model.start(prompt, guidance, song.len())?;
    let mut buffers = VerifyBuffers::default();
    let mut target = SongTarget::new(model, &mut state, &mut buffers);
    let mut same = vec![0f64; song[0].len()];
    for (place, frame) in (0..).zip(song) {
        let first = target.open(&[])?;
        let rest = target.depth_logits(0, std::slice::from_ref(frame))?;
        for (codebook, logits) in std::iter::once(&first[0]).chain(&rest[0]).enumerate() {
            let drawn = sampler.sample(place, codebook, logits)?;
            same[codebook] += f64::from(u8::from(drawn == frame[codebook]));
        }
        target.commit(std::slice::from_ref(frame))?;
    }
    Ok(same.into_iter().map(|same| same / song.len() as f64).collect())
}

/// Entropy in bits and largest probability of the distribution behind logits: the 50 likeliest, at temperature 1.
fn certainty(logits: &[f32]) -> (f64, f64) {
    let mut sorted: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted.truncate(50);
    let largest = sorted.first().copied().unwrap_or_default();
    let weights: Vec<f64> = sorted.iter().map(|logit| (logit - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let entropy = weights.iter().map(|weight| weight / total).filter(|p| *p > 0.0).map(|p| -p * p.log2()).sum();
    (entropy, 1.0 / total)
}

fn widths(subject: &Subject, song: &[Frame]) -> Result<Vec<Width>, ModelError> {
    let mut state = subject.model.start(&subject.prompt, subject.guidance, subject.frames)?;
    let mut buffers = VerifyBuffers::default();
    let mut target = SongTarget::new(&subject.model, &mut state, &mut buffers);
    target.open(&[])?;
    target.commit(&song[..1])?;
    let mut widths = Vec::new();
    // A GPU has room for as many frames as are ever drafted.
    let most = if subject.model.device().is_cpu() { usize::MAX } else { MOST_FRAMES + 1 };
    for frames in WIDTHS.into_iter().filter(|frames| *frames <= most && *frames + 1 < song.len()) {
        let mut best = Width { frames, backbone: Duration::MAX, depth: Duration::MAX };
        for _ in 0..PASSES {
            let since = Instant::now();
            target.open(&song[1..frames])?;
            best.backbone = best.backbone.min(since.elapsed());
            let since = Instant::now();
            target.depth_logits(0, &song[1..=frames])?;
            best.depth = best.depth.min(since.elapsed());
        }
        widths.push(best);
    }
    target.roll_back();
    Ok(widths)
}
