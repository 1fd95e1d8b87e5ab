//! Next frames of several songs on a GPU: which of them are written together.

use super::{Result, SongInPass, SongKv, Written, elsewhere};
use crate::{
    error::ModelError,
    heartmula::{
        model::SongState,
        on_gpu::{Drawing, GpuModel, GpuSongInPass, MOST_SONGS},
    },
};

/// Writes the next frame of each song: those with as many rows whose last frame is to be fed in one pass, each of the others
/// by itself, and so those whose pass cannot be computed.
pub(super) fn gpu_frames(model: &GpuModel, songs: &mut [SongInPass<'_>]) -> Vec<Written> {
    if let [song] = songs {
        return vec![alone(model, song, true)];
    }
    let mut written: Vec<Option<Written>> = songs.iter().map(|_| None).collect();
    for rows in [1, 2] {
        let together: Vec<usize> =
            (0..songs.len()).filter(|place| rows_in_pass(&songs[*place]) == Some(rows)).collect();
        for places in together.chunks(MOST_SONGS).filter(|places| places.len() > 1) {
            // An error of this pass is none of the call's: songs of a pass before it have their frames.
            match in_one_pass(model, songs, places) {
                Ok(frames) => places.iter().zip(frames).for_each(|(place, frame)| written[*place] = Some(frame)),
                Err(error) => tracing::warn!(%error, "a pass failed, and each of its songs is tried alone"),
            }
        }
    }
    let one_by_one = songs.iter_mut().zip(written);
    one_by_one.map(|(song, written)| written.unwrap_or_else(|| alone(model, song, false))).collect()
}

/// Rows of a song that can take part in a pass.
fn rows_in_pass(song: &SongInPass<'_>) -> Option<usize> {
    let SongKv::Gpu(kv) = &song.state.kv else { return None };
    let is_keyed = song.sampler.keyed().is_some();
    (is_keyed && kv.can_be_fed()).then(|| kv.rows())
}

/// Writes the next frame of the songs in these places, in their order.
fn in_one_pass(model: &GpuModel, songs: &mut [SongInPass<'_>], places: &[usize]) -> Result<Vec<Written>> {
    let mut pass = Vec::with_capacity(places.len());
    let mut numbers = Vec::with_capacity(places.len());
    for (_, SongInPass { state, sampler }) in songs.iter_mut().enumerate().filter(|(place, _)| places.contains(place)) {
        let SongState { kv, guidance, frame } = &mut **state;
        let (SongKv::Gpu(song), Some((options, noise))) = (kv, sampler.keyed()) else { return Err(elsewhere()) };
        pass.push(GpuSongInPass { song, frame: *frame, drawing: Drawing { options, noise, guidance: *guidance } });
        numbers.push(frame);
    }
    let written = model.next_frames(&mut pass)?;
    if written.len() != places.len() {
        return Err(ModelError::shape("frames of a pass", "one a song", written.len()));
    }
    for (number, _) in numbers.into_iter().zip(&written).filter(|(_, written)| written.is_ok()) {
        *number += 1;
    }
    Ok(written)
}

/// Writes the next frame of a song; with `ahead` the GPU goes on with the frame behind it.
fn alone(model: &GpuModel, SongInPass { state, sampler }: &mut SongInPass<'_>, ahead: bool) -> Written {
    let SongState { kv, guidance, frame } = &mut **state;
    let SongKv::Gpu(song) = kv else { return Err(elsewhere()) };
    let codes = match sampler.keyed() {
        Some((options, noise)) => {
            model.next_frame(song, *frame, Drawing { options, noise, guidance: *guidance }, ahead)?
        }
        None => model.sampled_frame(song, *frame, *guidance, &mut **sampler)?,
    };
    *frame += 1;
    Ok(codes)
}
