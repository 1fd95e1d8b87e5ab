//! One round of draft and verify: drafts go in, frames of the plain song come out.
//!
//! 1. One backbone pass over the drafts; code 0 of each is drawn, up to the first that was drafted wrong, which is
//!    corrected at no cost.
//! 2. The depth decoder verifies the frames up to there, all codes of a frame at once.
//! 3. The first wrong frame is completed: by Jacobi iteration (draw all codes behind the settled ones under the guesses
//!    before them, keep the draws as the next guesses) or code by code. Both give the codes of plain decoding.
//! 4. Frames up to and with the completed one are the song's; the draws behind them are drafts for the next round.

use std::time::{Duration, Instant};

use super::{
    accept::{accept, first_unmatched},
    margin_stats::MarginStats,
    target::{Frame, FrameTarget, Logits},
};
use crate::{error::Result, heartmula::CodeSampler};

/// How the codes of a frame are found when its code 0 is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthWork {
    /// Frames in one pass of the depth decoder; 0 for none: then the codes of every frame are drawn one after the
    /// other.
    pub pass: usize,
    /// How a frame is completed whose draft was wrong.
    pub completion: Completion,
    /// Verify the frames behind the first wrong code 0 too: their draws are better drafts for the next round.
    pub refresh_tail: bool,
}

/// How a frame is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// All open codes at once, again and again until none changes.
    Jacobi,
    /// One code after the other.
    Steps,
}

impl DepthWork {
    /// Plain decoding: code after code.
    pub const PLAIN: Self = Self { pass: 0, completion: Completion::Steps, refresh_tail: false };
}

/// What a round is given.
#[derive(Debug, Clone, Copy)]
pub struct Drafts<'a> {
    /// The place in the song of the first frame.
    pub first: u64,
    /// Drafts of the next frames. The first malformed one (wrong length, or a code outside the vocabulary) and all
    /// behind it are ignored.
    pub frames: &'a [Frame],
    /// A guess for the frame after them; only its codes behind the first are used.
    pub guess: &'a Frame,
}

/// Where the time of a round went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundTimes {
    /// In the backbone.
    pub backbone: Duration,
    /// In passes of the depth decoder over whole frames.
    pub depth_verify: Duration,
    /// In completing frames.
    pub completion: Duration,
    /// In drawing codes from logits.
    pub sample: Duration,
}

impl RoundTimes {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.backbone + self.depth_verify + self.completion + self.sample
    }
}

/// Codes that were completed, and how long it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Codes.
    pub codes: usize,
    /// Time.
    pub time: Duration,
}

impl Work {
    fn add(&mut self, codes: usize, time: Duration) {
        self.codes += codes;
        self.time += time;
    }
}

/// Outcome of a round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoundOutcome {
    /// The place in the song of the first frame.
    pub first: u64,
    /// The frames that were written, at least one.
    pub frames: Vec<Frame>,
    /// Frames that were drafted.
    pub drafted: usize,
    /// Drafts that were right as a whole: as a rule one less than `frames`, whose last is a correction, or the frame
    /// behind all drafts.
    pub accepted: usize,
    /// The codebook of the first wrong draft.
    pub first_reject: Option<usize>,
    /// For each codebook: drafted codes that were compared under right codes before them, and how many were right.
    pub compared: Vec<(u32, u32)>,
    /// For each codebook: guesses in the last frame that the depth decoder completed, and how many were right.
    pub guessed: Vec<(u32, u32)>,
    /// Margins of the drafted codes that were right.
    pub margins: MarginStats,
    /// Passes of the depth decoder over more than one code.
    pub depth_passes: u32,
    /// Steps of the depth decoder of one code.
    pub depth_steps: u32,
    /// Completion by Jacobi iteration.
    pub jacobi: Work,
    /// Completion code by code.
    pub steps: Work,
    /// Draws of the target behind the written frames, as drafts for the next round (`carry-over`): for the frames from
    /// `first + frames.len()` on.
    pub carry: Vec<Frame>,
    /// Where its time went.
    pub times: RoundTimes,
}

/// Writes the next frames of a song: those of plain decoding, whatever the drafts are.
///
/// # Errors
/// When the model cannot compute or a logit of the plain song is not a number. Nothing has been written then.
pub fn run_round(
    target: &mut dyn FrameTarget,
    sampler: &mut dyn CodeSampler,
    drafts: Drafts<'_>,
    work: DepthWork,
) -> Result<RoundOutcome> {
    let (codebooks, vocabulary) = (target.codebooks(), target.vocabulary());
    let is_frame = |frame: &&Frame| frame.len() == codebooks && frame.iter().all(|code| (*code as usize) < vocabulary);
    let frames = drafts.frames.iter().take_while(is_frame).count();
    let nothing = vec![0; codebooks];
    let guess = Some(drafts.guess).filter(is_frame).unwrap_or(&nothing);
    let drafts = Drafts { frames: &drafts.frames[..frames], guess, ..drafts };
    let outcome = RoundOutcome {
        first: drafts.first,
        drafted: drafts.frames.len(),
        compared: vec![(0, 0); codebooks],
        guessed: vec![(0, 0); codebooks],
        ..RoundOutcome::default()
    };
    let mut round = Round { target, sampler, drafts, work, outcome, margins: Vec::new() };
    match round.run() {
        Ok(()) => Ok(round.outcome),
        Err(error) => {
            round.target.roll_back();
            Err(error)
        }
    }
}

struct Round<'a> {
    target: &'a mut dyn FrameTarget,
    sampler: &'a mut dyn CodeSampler,
    drafts: Drafts<'a>,
    work: DepthWork,
    outcome: RoundOutcome,
    /// For each frame of the window: the margins of its codes, as far as they were drawn under right ones.
    margins: Vec<Vec<f64>>,
}

impl Round<'_> {
    fn run(&mut self) -> Result<()> {
        let since = Instant::now();
        let logits = self.target.open(self.drafts.frames)?;
        self.outcome.times.backbone = since.elapsed();
        let first_codes = self.first_codes(&logits)?;
        let frames = &self.drafts.frames[..first_codes.len() - 1];
        let unmatched = first_unmatched(frames, &first_codes);
        self.count_first_codes(unmatched, first_codes.len() - 1);
        // The frames to verify: the drafts with their right code 0, and the frame behind them if its code 0 is known.
        let tail = if self.work.refresh_tail { first_codes.len() } else { unmatched + 1 };
        let asked: Vec<Frame> = (0..tail).map(|frame| self.with_first_code(frame, first_codes[frame])).collect();
        let mut drawn: Vec<Frame> = Vec::with_capacity(tail);
        let mut written = Vec::with_capacity(unmatched + 1);
        while written.len() <= unmatched {
            let place = written.len();
            if self.work.pass > 0 && drawn.len() <= place {
                let end = (place + self.work.pass).min(tail);
                drawn.extend(self.depth_pass(place, &asked[place..end])?);
            }
            let codes = match self.frame(place, &asked[place], drawn.get(place)) {
                Ok(codes) => codes,
                // A frame behind others that are right fails in the next round, where it is the first one.
                Err(_) if place > 0 => break,
                Err(error) => return Err(error),
            };
            let right = codes == asked[place];
            written.push(codes);
            if !right {
                break;
            }
        }
        self.outcome.accepted = accept(frames, &written).frames;
        self.carry(written.len(), &first_codes, &drawn);
        self.target.commit(&written)?;
        self.outcome.frames = written;
        Ok(())
    }

    /// Draws code 0 of the drafts and of the frame after them, as far as there are numbers to draw from.
    fn first_codes(&mut self, logits: &Logits) -> Result<Vec<u32>> {
        let since = Instant::now();
        let mut codes = Vec::with_capacity(logits.len());
        for (frame, logits) in (self.drafts.first..).zip(logits) {
            match self.sampler.sample(frame, 0, logits) {
                Ok(code) => {
                    codes.push(code);
                    self.margins.push(self.sampler.last_margin().into_iter().collect());
                }
                Err(error) if codes.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        self.outcome.times.sample += since.elapsed();
        Ok(codes)
    }

    fn count_first_codes(&mut self, unmatched: usize, drafts: usize) {
        self.margins.iter().take(unmatched).flatten().for_each(|margin| self.outcome.margins.add(*margin));
        let rejected = unmatched < drafts;
        self.outcome.compared[0] = ((unmatched + usize::from(rejected)) as u32, unmatched as u32);
        if rejected {
            self.outcome.first_reject = Some(0);
        }
    }

    /// The draft of a frame, or the guess for the one after them, with the code 0 that was drawn.
    fn with_first_code(&self, frame: usize, code: u32) -> Frame {
        let mut codes = self.drafts.frames.get(frame).unwrap_or(self.drafts.guess).clone();
        codes[0] = code;
        codes
    }

    /// Draws all codes of `frames` under the drafted codes before each.
    fn depth_pass(&mut self, first: usize, frames: &[Frame]) -> Result<Vec<Frame>> {
        let since = Instant::now();
        let logits = self.target.depth_logits(first, frames)?;
        self.outcome.times.depth_verify += since.elapsed();
        self.outcome.depth_passes += 1;
        let since = Instant::now();
        let mut drawn = Vec::with_capacity(frames.len());
        for ((number, frame), logits) in (first..).zip(frames).zip(&logits) {
            let mut codes = frame.clone();
            let place = self.drafts.first + number as u64;
            let mut right = true;
            for (codebook, logits) in (1..).zip(logits) {
                match self.sampler.sample(place, codebook, logits) {
                    Ok(code) => {
                        codes[codebook] = code;
                        if let Some(margins) =
                            self.margins.get_mut(number).filter(|margins| right && margins.len() == codebook)
                        {
                            margins.extend(self.sampler.last_margin());
                        }
                    }
                    // Under right codes it is an error of the song; else the draft stays as good a guess as any.
                    Err(error) if right && number == 0 => return Err(error),
                    Err(_) if right => codes.truncate(codebook),
                    Err(_) => (),
                }
                if codes.len() < frame.len() {
                    break;
                }
                right &= codes[codebook] == frame[codebook];
            }
            drawn.push(codes);
        }
        self.outcome.times.sample += since.elapsed();
        Ok(drawn)
    }

    /// The codes of a frame whose code 0 is right. `asked` is its draft, `drawn` what a depth pass drew for it.
    fn frame(&mut self, place: usize, asked: &Frame, drawn: Option<&Frame>) -> Result<Frame> {
        let codebooks = asked.len();
        let (mut codes, settled) = match drawn {
            None => (asked.clone(), 1),
            Some(drawn) if drawn.len() < codebooks => {
                // The pass met a logit that is not a number: drawing it alone says where.
                (asked.clone(), drawn.len().max(1))
            }
            Some(drawn) => {
                let verdict = accept(std::slice::from_ref(asked), std::slice::from_ref(drawn));
                (drawn.clone(), if verdict.frames == 1 { codebooks } else { verdict.codes })
            }
        };
        self.complete(place, &mut codes, settled)?;
        self.count_codes(place, asked, &codes);
        Ok(codes)
    }

    /// Completes the codes of a frame of which `settled` are right and the others guesses.
    fn complete(&mut self, place: usize, codes: &mut Frame, mut settled: usize) -> Result<()> {
        let codebooks = codes.len();
        // Without a pass before, guesses were not verified: then the codes are drawn one by one.
        let jacobi = self.work.completion == Completion::Jacobi && self.work.pass > 0;
        let start = settled;
        while settled < codebooks {
            let guesses = if jacobi { codebooks - 1 } else { settled };
            let since = Instant::now();
            let logits = self.target.finish_logits(place, &codes[..guesses], settled)?;
            let took = since.elapsed();
            self.outcome.times.completion += took;
            let wide = logits.len() > 1;
            self.outcome.depth_passes += u32::from(wide);
            self.outcome.depth_steps += u32::from(!wide);
            let by_method = if jacobi { &mut self.outcome.jacobi } else { &mut self.outcome.steps };
            by_method.add(if jacobi && settled == start { codebooks - start } else { usize::from(!jacobi) }, took);
            let since = Instant::now();
            let mut first_change = None;
            for (codebook, logits) in (settled..).zip(&logits) {
                match self.sampler.sample(self.drafts.first + place as u64, codebook, logits) {
                    Ok(code) => {
                        if code != codes[codebook] {
                            first_change.get_or_insert(codebook);
                        }
                        codes[codebook] = code;
                    }
                    Err(error) if first_change.is_none() => return Err(error),
                    Err(_) => (),
                }
            }
            self.outcome.times.sample += since.elapsed();
            settled = match (jacobi, first_change) {
                (true, None) => codebooks,
                (true, Some(place)) => place + 1,
                (false, _) => settled + 1,
            };
        }
        Ok(())
    }

    /// Counts how many codes of a draft, or of the guess behind the drafts, were right.
    fn count_codes(&mut self, place: usize, asked: &Frame, codes: &Frame) {
        let outcome = &mut self.outcome;
        let corrected = place < self.drafts.frames.len() && self.drafts.frames[place][0] == codes[0];
        outcome.guessed[1..].fill((0, 0));
        for (codebook, (asked, code)) in asked.iter().zip(codes).enumerate().skip(1) {
            outcome.guessed[codebook] = (1, u32::from(asked == code));
        }
        if !corrected {
            return; // no draft: its code 0 was corrected, or it is the frame behind them
        }
        for (codebook, (asked, code)) in asked.iter().zip(codes).enumerate().skip(1) {
            outcome.compared[codebook].0 += 1;
            if asked != code {
                outcome.first_reject = Some(codebook);
                break;
            }
            outcome.compared[codebook].1 += 1;
            if let Some(margin) = self.margins.get(place).and_then(|margins| margins.get(codebook)) {
                outcome.margins.add(*margin);
            }
        }
    }

    /// Keeps what the target drew behind the `written` frames.
    fn carry(&mut self, written: usize, first_codes: &[u32], drawn: &[Frame]) {
        let codebooks = self.target.codebooks();
        for frame in written..=self.drafts.frames.len() {
            let drawn = drawn.get(frame).filter(|drawn| drawn.len() == codebooks);
            let carried = match (drawn, first_codes.get(frame)) {
                (Some(drawn), _) => drawn.clone(),
                (None, Some(code)) => self.with_first_code(frame, *code),
                (None, None) => break,
            };
            self.outcome.carry.push(carried);
        }
    }
}
