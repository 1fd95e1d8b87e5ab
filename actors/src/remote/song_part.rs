//! Parts of a song that another machine makes: their checksum, and what is checked before they are part of the song here.

use std::sync::Arc;

use heartstream_messages::{
    CodeFrame, PcmBlock, SongPart,
    units::{CHANNELS, FrameIndex, Frames, SAMPLES_PER_FRAME, SampleIndex},
};
use heartstream_models::weights::Fnv1a;

use crate::stitcher::BLOCK_SAMPLES;

/// Blocks of a part, at most: two seconds of sound.
pub const MOST_BLOCKS: usize = 8;
/// Magnitude of a sample, at most: 60 dB beyond full scale, and far from what overflows where samples are measured.
const LOUDEST: f32 = 1000.0;

/// Why a part cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongPart {
    /// The checksum is not that of the part.
    #[error("its part of a song has a wrong checksum")]
    Checksum,
    /// The codes are no frames that the song can have.
    #[error("its part of a song has codes that are no frames of it")]
    Codes,
    /// The blocks are no sound.
    #[error("its part of a song has blocks that are too long, or whose samples are not finite or louder than any")]
    Sound,
    /// The part does not follow the one before, or does not fit the frames.
    #[error("its part of a song does not follow the one before")]
    Place,
    /// The song of the proof is another one.
    #[error("its song is not that of this machine: its kernels or its weights differ")]
    OtherSong,
}

/// The checksum of part `number` of the song `song`: FNV-1a of 64 bits, of which the same holds as of an answer's
/// ([`super::answer::checksum`]).
pub fn part_checksum(song: u64, number: u64, part: &SongPart) -> u64 {
    let SongPart { codes, blocks, made, is_last, checksum: _ } = part;
    let mut hash = Fnv1a::default();
    for value in [song, number, codes.len() as u64, blocks.len() as u64, made.0, u64::from(*is_last)] {
        hash.add(&value.to_le_bytes());
    }
    codes.iter().for_each(|code| hash.add(&code.to_le_bytes()));
    for block in blocks {
        hash.add(&(block.0.len() as u64).to_le_bytes());
        block.0.iter().for_each(|sample| hash.add(&sample.to_le_bytes()));
    }
    hash.value()
}

/// What frames a song can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SongShape {
    /// Codes of a frame.
    pub codebooks: usize,
    /// Codes are below this.
    pub end: u32,
    /// The song has at most so many frames.
    pub longest: Frames,
}

/// A song so far, as its parts come.
#[derive(Debug)]
pub struct SongSoFar {
    shape: SongShape,
    song: u64,
    parts: u64,
    frames: u64,
    made: SampleIndex,
    /// Sound before this does not come back.
    played: SampleIndex,
}

impl SongSoFar {
    /// The worker's song number `song`, that goes on behind `frames` frames, and behind `played` for its sound.
    pub fn new(shape: SongShape, song: u64, frames: u64, played: SampleIndex) -> Self {
        Self { shape, song, parts: 0, frames, made: SampleIndex(0), played }
    }

    /// The worker's number of the song.
    pub fn song(&self) -> u64 {
        self.song
    }

    /// Frames that are written.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames that are written, and those whose sound is made: what tells progress.
    pub fn progress(&self) -> f64 {
        self.frames as f64 + self.made.0 as f64 / SAMPLES_PER_FRAME as f64
    }

    /// The frames and blocks of the next part.
    ///
    /// # Errors
    /// When it cannot be the next part.
    pub fn take(&mut self, part: SongPart) -> Result<(Vec<CodeFrame>, Vec<Arc<PcmBlock>>), WrongPart> {
        if part_checksum(self.song, self.parts, &part) != part.checksum {
            return Err(WrongPart::Checksum);
        }
        let SongShape { codebooks, end, longest } = self.shape;
        let SongPart { codes, blocks, made, is_last, .. } = part;
        let frames = self.frames + (codes.len() / codebooks.max(1)) as u64;
        let whole = codes.len().is_multiple_of(codebooks.max(1));
        if !whole || frames > longest.0 || codes.iter().any(|code| u32::from(*code) >= end) {
            return Err(WrongPart::Codes);
        }
        let is_sound = |samples: &[f32]| {
            let whole = samples.len().is_multiple_of(CHANNELS);
            let fits = (1..=BLOCK_SAMPLES * CHANNELS).contains(&samples.len());
            whole && fits && samples.iter().all(|sample| sample.abs() <= LOUDEST) // a NaN is not
        };
        if blocks.len() > MOST_BLOCKS || !blocks.iter().all(|block| is_sound(&block.0)) {
            return Err(WrongPart::Sound);
        }
        let next = self.made.max(self.played);
        let length: u64 = blocks.iter().map(|block| (block.0.len() / CHANNELS) as u64).sum();
        let follows = if blocks.is_empty() { made >= self.made && made <= next } else { made.0 == next.0 + length };
        let all = frames * SAMPLES_PER_FRAME;
        // A song of the reference's windows may lack a sample.
        let is_whole = made >= self.played && all - made.0.min(all) < SAMPLES_PER_FRAME;
        if !follows || made.0 > all || (is_last && !is_whole) {
            return Err(WrongPart::Place);
        }
        let indices = (self.frames..).map(FrameIndex);
        let written = indices.zip(codes.chunks_exact(codebooks.max(1)));
        let written = written.map(|(index, codes)| CodeFrame { index, codes: codes.to_vec() }).collect();
        let mut start = next;
        let place = |samples: Vec<f32>| {
            let block = PcmBlock { start, samples };
            start = block.end();
            Arc::new(block)
        };
        let sound = blocks.into_iter().map(|block| block.0).map(place).collect();
        (self.parts, self.frames, self.made) = (self.parts + 1, frames, made);
        Ok((written, sound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartstream_messages::Numbers;

    const SHAPE: SongShape = SongShape { codebooks: 2, end: 100, longest: Frames(4) };
    const FRAME: usize = SAMPLES_PER_FRAME as usize;

    fn so_far() -> SongSoFar {
        SongSoFar::new(SHAPE, 7, 1, SampleIndex(10))
    }

    fn part(codes: Vec<u16>, blocks: &[usize], made: u64) -> SongPart {
        let blocks = blocks.iter().map(|samples| Numbers(vec![0.5; samples * CHANNELS])).collect();
        SongPart { codes, blocks, made: SampleIndex(made), is_last: false, checksum: 0 }
    }

    /// With the checksum of part `number`.
    fn signed(number: u64, part: SongPart) -> SongPart {
        SongPart { checksum: part_checksum(7, number, &part), ..part }
    }

    #[test]
    fn parts_that_follow_each_other_become_frames_and_blocks_at_their_places() {
        let mut song = so_far();
        let (frames, blocks) = song.take(signed(0, part(vec![1, 2, 3, 4], &[], 5))).expect("a part");
        assert_eq!((frames[1].index, frames[1].codes.clone(), blocks.len()), (FrameIndex(2), vec![3, 4], 0));
        let (_, blocks) = song.take(signed(1, part(vec![], &[100, 50], 160))).expect("a part");
        assert_eq!([blocks[0].start, blocks[1].start, blocks[1].end()], [10, 110, 160].map(SampleIndex));
        let rest = SongPart { is_last: true, ..part(vec![], &[3 * FRAME - 160], 3 * FRAME as u64) };
        assert!(song.take(signed(2, rest)).is_ok());
        assert_eq!(song.progress(), 6.0);
    }

    #[test]
    fn a_part_that_cannot_be_the_next_one_is_refused_by_what_is_wrong_with_it() {
        let refused = |part| so_far().take(part).expect_err("a refusal");
        let good = || part(vec![1, 2], &[100], 110);
        assert!(so_far().take(signed(0, good())).is_ok());
        assert_eq!(refused(signed(1, good())), WrongPart::Checksum, "it is another part");
        assert_eq!(refused(good()), WrongPart::Checksum);
        for codes in [vec![1], vec![1, 100], vec![1; 8]] {
            assert_eq!(refused(signed(0, part(codes, &[], 0))), WrongPart::Codes);
        }
        for blocks in [vec![0], vec![BLOCK_SAMPLES + 1], vec![1; MOST_BLOCKS + 1]] {
            let made = 10 + blocks.iter().sum::<usize>() as u64;
            assert_eq!(refused(signed(0, part(vec![], &blocks, made))), WrongPart::Sound);
        }
        for sample in [f32::NAN, f32::INFINITY, -1e30] {
            let mut loud = good();
            loud.blocks[0].0[3] = sample;
            assert_eq!(refused(signed(0, loud)), WrongPart::Sound);
        }
        let late = SongPart { is_last: true, ..good() };
        for (codes, blocks, made) in [(vec![], vec![100], 100), (vec![], vec![], 11), (vec![1, 2], vec![100], 9000)] {
            assert_eq!(refused(signed(0, part(codes, &blocks, made))), WrongPart::Place);
        }
        assert_eq!(refused(signed(0, late)), WrongPart::Place, "a song ends with its last frame");
        assert_eq!(refused(signed(0, part(vec![], &[BLOCK_SAMPLES], 10 + BLOCK_SAMPLES as u64))), WrongPart::Place);
    }
}
