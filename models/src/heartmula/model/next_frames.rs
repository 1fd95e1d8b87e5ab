//! Next frames of several songs, in one pass over the weights.
//!
//! Every song has its own keys and values, position, guidance and sampler. A row of a pass does not depend on the rows
//! beside it, so each song is the one that it is alone, bit for bit, whatever songs are beside it.

#[cfg(feature = "cuda")]
mod gpu_frames;

use candle_core::Tensor;

#[cfg(feature = "cuda")]
use super::elsewhere;
use super::{
    HeartMula, SongKv, SongState, TensorSong, Tensors, Weights,
    frame::{FrameInPass, joined},
};
use crate::{
    error::{ModelError, Result},
    heartmula::sampler::CodeSampler,
};
#[cfg(feature = "cuda")]
use gpu_frames::gpu_frames;

/// A song of a pass.
pub struct SongInPass<'a> {
    /// Its keys and values.
    pub state: &'a mut SongState,
    /// What draws its codes.
    pub sampler: &'a mut dyn CodeSampler,
}

/// Codes of a frame, or why its song cannot go on.
type Written = Result<Vec<u32>>;

impl HeartMula {
    /// Writes the next frame: one code for each codebook. The caller decides whether it ends the song
    /// ([`crate::heartmula::SpecialIds::audio_eos`]).
    ///
    /// # Errors
    /// When there is no room for another frame, or a logit is not a number.
    pub fn next_frame(&self, state: &mut SongState, sampler: &mut dyn CodeSampler) -> Written {
        self.next_frames(&mut [SongInPass { state, sampler }])?.swap_remove(0)
    }

    /// Writes the next frame of each song, in one pass over the weights. On a GPU a song's first frame is written by itself, and
    /// so are those whose codes are drawn on the host.
    ///
    /// # Errors
    /// The outer one when nothing could be computed for any of them. The songs are then as before, and so they are after
    /// a panic: each can be tried alone. The inner one is a song's own, as in [`HeartMula::next_frame`].
    pub fn next_frames(&self, songs: &mut [SongInPass<'_>]) -> Result<Vec<Written>> {
        match &self.weights {
            Weights::Tensors(weights) => self.tensor_frames(weights, songs),
            #[cfg(feature = "cuda")]
            Weights::Gpu(model) => Ok(gpu_frames(model, songs)),
        }
    }

    fn tensor_frames(&self, weights: &Tensors, songs: &mut [SongInPass<'_>]) -> Result<Vec<Written>> {
        let refused: Vec<Option<ModelError>> = songs.iter().map(|song| refusal(song.state)).collect();
        let mut able: Vec<(TensorSongInPass<'_>, &mut dyn CodeSampler)> = Vec::with_capacity(songs.len());
        for (song, refused) in songs.iter_mut().zip(&refused) {
            if refused.is_none() {
                able.push((TensorSongInPass::of(song.state)?, &mut *song.sampler));
            }
        }
        self.feed_last_frames(weights, able.iter_mut().map(|(song, _)| song))?;
        let written = self.complete(&mut able)?;
        let mut written = written.into_iter();
        let all = refused.into_iter().map(|refused| match refused {
            Some(error) => Err(error),
            None => written.next().unwrap_or_else(|| Err(ModelError::shape("frames of a pass", "one a song", "fewer"))),
        });
        Ok(all.collect())
    }

    /// The backbone's pass: the last frame of each song that has not been fed with it gives its next output.
    fn feed_last_frames<'s, 'a: 's>(
        &self,
        weights: &Tensors,
        songs: impl Iterator<Item = &'s mut TensorSongInPass<'a>>,
    ) -> Result<()> {
        let (mut embeddings, mut caches, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        for TensorSongInPass { song: TensorSong { backbone, hidden, last, .. }, .. } in songs {
            if let Some(codes) = &last {
                embeddings.push(self.embed_frame(codes, backbone.batch())?);
                caches.push(backbone);
                outputs.push((hidden, last));
            }
        }
        if caches.is_empty() {
            return Ok(());
        }
        let ys = weights.backbone.forward_songs(&joined(embeddings)?, &mut caches)?.squeeze(1)?;
        let mut first = 0;
        let rows = caches.iter().map(|cache| {
            first += cache.batch();
            ys.narrow(0, first - cache.batch(), cache.batch())
        });
        // From here on each has its output, and nothing that has to be fed.
        for ((hidden, last), rows) in outputs.into_iter().zip(rows.collect::<candle_core::Result<Vec<_>>>()?) {
            (*hidden, *last) = (Some(rows), None);
        }
        Ok(())
    }

    /// Completes the frames that follow from the songs' outputs.
    fn complete(&self, songs: &mut [(TensorSongInPass<'_>, &mut dyn CodeSampler)]) -> Result<Vec<Written>> {
        if songs.is_empty() {
            return Ok(Vec::new());
        }
        let hidden: Vec<Tensor> = songs.iter().filter_map(|(song, _)| song.song.hidden.clone()).collect();
        let mut frames: Vec<FrameInPass<'_>> = songs
            .iter_mut()
            .map(|(song, sampler)| FrameInPass {
                decoder: &mut song.song.decoder,
                guidance: song.guidance,
                number: *song.frame,
                sampler: &mut **sampler,
            })
            .collect();
        let written = self.complete_frames(&joined(hidden)?, &mut frames)?;
        for ((song, _), codes) in songs.iter_mut().zip(&written) {
            if let Ok(codes) = codes {
                (song.song.hidden, song.song.last) = (None, Some(codes.clone()));
                *song.frame += 1;
            }
        }
        Ok(written)
    }
}

/// The parts of a song's state that a pass changes.
struct TensorSongInPass<'a> {
    song: &'a mut TensorSong,
    frame: &'a mut u64,
    guidance: f64,
}

impl<'a> TensorSongInPass<'a> {
    fn of(SongState { kv, frame, guidance }: &'a mut SongState) -> Result<Self> {
        match kv {
            SongKv::Tensors(song) => Ok(Self { song, frame, guidance: *guidance }),
            #[cfg(feature = "cuda")]
            SongKv::Gpu(_) => Err(elsewhere()),
        }
    }
}

/// Why a song can have no part in a pass.
fn refusal(state: &SongState) -> Option<ModelError> {
    match &state.kv {
        SongKv::Tensors(song) => match (&song.last, &song.hidden) {
            (Some(_), _) => song.backbone.check_room(1).err(),
            (None, Some(_)) => None,
            (None, None) => Some(ModelError::shape("song", "one that can go on", "one that failed")),
        },
        #[cfg(feature = "cuda")]
        SongKv::Gpu(_) => Some(elsewhere()),
    }
}
