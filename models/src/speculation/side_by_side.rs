//! Frames of several songs in one pass over the weights, each with a speculator of its own.
//!
//! Drafts of one song and frames of several songs use the same thing: rows of a pass that cost little beside the read of
//! the weights. A row of another song is a frame for certain, a row of a draft only if the draft is right. So songs that
//! are written together do not draft, and a song that is alone does what pays.

use std::time::Instant;

use super::{speculator::Speculator, target::Frame};
use crate::{
    error::Result,
    heartmula::{HeartMula, SongInPass, SongState},
};

/// A song of a pass: what writes its frames, and its keys and values.
pub type SpeculatedSong<'a> = (&'a mut Speculator, &'a mut SongState);

/// Writes the next frames of each song, at least one: in one pass for several songs, with drafts for one alone.
///
/// # Errors
/// As [`HeartMula::next_frames`].
pub fn write_side_by_side(model: &HeartMula, songs: &mut [SpeculatedSong<'_>]) -> Result<Vec<Result<Vec<Frame>>>> {
    if let [(speculator, state)] = songs {
        return Ok(vec![speculator.next_frames(model, state)]);
    }
    let since = Instant::now();
    let mut pass: Vec<SongInPass<'_>> =
        songs.iter_mut().map(|(speculator, state)| SongInPass { state, sampler: speculator.sampler() }).collect();
    let written = model.next_frames(&mut pass)?;
    let took = since.elapsed() / songs.len().max(1) as u32;
    let noted = songs.iter_mut().zip(written).map(|((speculator, _), written)| {
        let frame = written?;
        speculator.wrote_beside_others(&frame, took);
        Ok(vec![frame])
    });
    Ok(noted.collect())
}
