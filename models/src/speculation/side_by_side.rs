//! Frames of several songs in one pass over the weights, each with a speculator of its own.
//!
//! Drafts of one song and frames of several songs use the same thing: rows of a pass that cost little beside the read of
//! the weights. A row of another song is a frame for certain, a row of a draft only if the draft is right. So songs of one
//! pass do not draft. Where it is faster that each drafts for itself they take turns, and a song that is alone does what
//! pays.

use std::time::Instant;

use super::{pass_policy::PassPolicy, speculator::Speculator, target::Frame};
use crate::{
    error::Result,
    heartmula::{HeartMula, SongInPass, SongState},
};

/// A song of a pass: what writes its frames, and its keys and values.
pub type SpeculatedSong<'a> = (&'a mut Speculator, &'a mut SongState);

/// Whether these songs are to be written one by one, each with its own drafts: one alone, and several where that is faster.
pub fn takes_turns(songs: &[SpeculatedSong<'_>], policy: &mut PassPolicy) -> bool {
    songs.len() < 2 || policy.takes_turns(songs.iter().map(|(speculator, _)| speculator.rate_alone()))
}

/// Writes the next frame of each song in one pass.
///
/// # Errors
/// As [`HeartMula::next_frames`].
pub fn write_side_by_side(
    model: &HeartMula,
    songs: &mut [SpeculatedSong<'_>],
    policy: &mut PassPolicy,
) -> Result<Vec<Result<Frame>>> {
    let since = Instant::now();
    let mut pass: Vec<SongInPass<'_>> =
        songs.iter_mut().map(|(speculator, state)| SongInPass { state, sampler: speculator.sampler() }).collect();
    let written = model.next_frames(&mut pass)?;
    let took = since.elapsed();
    policy.observe(songs.len(), took.as_secs_f64());
    let took = took / songs.len().max(1) as u32;
    let noted = songs.iter_mut().zip(written).map(|((speculator, _), written)| {
        let frame = written?;
        speculator.wrote_beside_others(&frame, took);
        Ok(frame)
    });
    Ok(noted.collect())
}
