//! Frames of several songs in one pass over the weights.
//!
//! A row of a pass does not depend on the rows beside it, so each song is the one that it is alone, bit for bit. The pass is
//! a graph for so many songs; which songs they are, where they are and how their codes are drawn lies in a table on the GPU,
//! which is written anew when other songs take part.

use std::sync::PoisonError;

use super::{
    Drawing, GpuModel, GpuSong,
    state::{PassSizes, Workspace},
};
use crate::{
    error::{ModelError, Result},
    kernels::{
        CapturedGraph,
        lm::{Drawers, Guidance, PagedKvCache, SongPlace, SongTable, Start, TableSong},
    },
};

/// Songs of one pass: with guidance they have as many rows as a block multiplies at once (`ROWS` in `product.cuh`).
pub(in crate::heartmula) const MOST_SONGS: usize = 16;
/// Positions that a recorded pass has blocks for are a multiple of this, so that it is recorded again every 40 s of music.
const POSITIONS: usize = 512;

/// A song of a pass.
pub(in crate::heartmula) struct GpuSongInPass<'a> {
    pub song: &'a mut GpuSong,
    /// The number of its next frame.
    pub frame: u64,
    pub drawing: Drawing,
}

/// What songs with as many rows write frames in together.
#[derive(Debug)]
pub(super) struct SideBySide {
    /// By the number of songs; first, so that they end before what they work in.
    recorded: [Option<CapturedGraph>; MOST_SONGS + 1],
    /// Positions that recorded passes have blocks for.
    positions: usize,
    work: Workspace,
    table: SongTable,
    sizes: PassSizes,
    /// The sizes of the songs' KV caches, but for the positions.
    kv: PagedKvCache,
    /// The songs of the table.
    songs: Vec<Listed>,
}

/// What the table says of a song.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Listed {
    number: u64,
    length: usize,
    frame: u64,
    drawing: Drawing,
}

impl GpuModel {
    /// Writes the next frame of each of 1 to [`MOST_SONGS`] songs of as many rows, whose last frames are to be fed.
    ///
    /// # Errors
    /// The outer one when nothing could be computed for any of them; the songs are then as before. The inner one is a
    /// song's own: a logit is not a number.
    pub fn next_frames(&self, songs: &mut [GpuSongInPass<'_>]) -> Result<Vec<Result<Vec<u32>>>> {
        let Some(GpuSongInPass { song, .. }) = songs.first() else { return Ok(Vec::new()) };
        let (rows, half) = (song.work.batch, song.kv.is_half());
        if songs.len() > MOST_SONGS || songs.iter().any(|other| other.song.work.batch != rows) {
            let expected = format!("at most {MOST_SONGS} songs of {rows} rows");
            return Err(ModelError::shape("songs of a pass", expected, format!("{} songs", songs.len())));
        }
        let capacity = songs.iter().map(|song| song.song.capacity).max().unwrap_or(1);
        let mut all = self.side_by_side.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |beside: &&mut SideBySide| beside.kv.is_half() == half && beside.sizes.kv.capacity >= capacity;
        let beside = match all[rows - 1].as_mut().filter(fits) {
            Some(_) => &mut all[rows - 1],
            None => {
                all[rows - 1] = None; // its memory goes before more is taken
                all[rows - 1] = Some(SideBySide::new(self, rows, capacity, half)?);
                &mut all[rows - 1]
            }
        };
        let Some(beside) = beside else { return Ok(Vec::new()) };
        let written = beside.write(self, songs);
        if written.is_err() {
            beside.songs.clear();
            beside.work.gpu.wait().unwrap_or_default(); // nothing may run when the songs go on or go; the error is known
        }
        written
    }
}

impl SideBySide {
    fn new(model: &GpuModel, batch: usize, capacity: usize, half: bool) -> Result<Self> {
        let most = model.config.backbone.max_seq_len;
        let kv = model.kv_sizes(batch, capacity.next_multiple_of(POSITIONS).min(most), half);
        let sizes = PassSizes { frames: MOST_SONGS, rows: batch * MOST_SONGS, depth_positions: 2, kv };
        let work = Workspace::new(model, sizes)?;
        Ok(Self {
            recorded: [const { None }; MOST_SONGS + 1],
            positions: 0,
            table: SongTable::new(&work.gpu, MOST_SONGS, model.heads.len())?,
            kv: PagedKvCache::new(&work.gpu, kv, model.backbone.angles())?,
            songs: Vec::new(),
            sizes,
            work,
        })
    }

    fn write(&mut self, model: &GpuModel, songs: &mut [GpuSongInPass<'_>]) -> Result<Vec<Result<Vec<u32>>>> {
        let count = songs.len();
        let mut positions = 0;
        for GpuSongInPass { song, .. } in &mut *songs {
            let next = song.length + 1;
            song.check_room(song.length, 1)?;
            if next > song.kv.reserved() {
                song.kv.reserve(&song.work.gpu, next)?;
                song.work.gpu.wait()?; // the pass is in another stream
            }
            positions = positions.max(next);
        }
        if self.songs != listed(songs) {
            self.list(model, songs)?;
        }
        let positions = positions.next_multiple_of(POSITIONS).min(self.sizes.kv.capacity);
        if positions != self.positions {
            self.recorded = [const { None }; MOST_SONGS + 1];
            self.positions = positions;
        }
        if self.recorded[count].is_none() {
            self.recorded[count] = Some(self.work.gpu.record(|| self.pass(model, count))?);
        }
        self.recorded[count].as_mut().map_or(Ok(()), CapturedGraph::run)?;
        let drawn = self.table.receive(&self.work.gpu, &self.work.codes, count)?;
        let mut failed = false;
        let mut written = Vec::with_capacity(count);
        for (GpuSongInPass { song, frame, .. }, (place, codes)) in songs.iter_mut().zip(drawn) {
            if place.failed > 0 {
                let (codebook, found) = (place.failed as usize - 1, f32::from_bits(place.bad));
                written.push(Err(ModelError::NotANumber { frame: *frame, codebook, found }));
                failed = true;
            } else {
                song.wrote(&codes);
                written.push(Ok(codes));
            }
        }
        self.songs.iter_mut().for_each(|song| (song.length, song.frame) = (song.length + 1, song.frame + 1));
        if failed {
            self.songs.clear();
        }
        Ok(written)
    }

    /// Writes the table for other songs than before.
    fn list(&mut self, model: &GpuModel, songs: &mut [GpuSongInPass<'_>]) -> Result<()> {
        self.songs.clear();
        let mut codes = Vec::with_capacity(songs.len() * model.heads.len());
        for GpuSongInPass { song, .. } in &mut *songs {
            song.settle();
            song.work.gpu.wait()?; // what it did alone is in another stream
            let last = song.last.as_ref().filter(|_| !song.has_output);
            let last = last.ok_or_else(|| ModelError::shape("song", "one with a last frame to be fed", "none"))?;
            codes.extend(last.iter().map(|code| *code as i32));
        }
        let of = |song: &GpuSongInPass<'_>| (SongPlace::new(song.song.length, song.frame), song.drawing);
        let rows: Vec<TableSong<'_>> = songs
            .iter()
            .map(|song| {
                let (place, drawing) = of(song);
                TableSong { place, kv: &song.song.kv, settings: drawing.settings(), guidance: drawing.guidance }
            })
            .collect();
        self.table.set(&self.work.gpu, &rows, model.config.audio_vocab_size)?;
        self.work.set_codes(&codes)?;
        self.songs = listed(songs);
        Ok(())
    }

    /// The kernels of a frame of each of `count` songs.
    fn pass(&self, model: &GpuModel, count: usize) -> Result<()> {
        let (work, table) = (&self.work, &self.table);
        model.backbone_pass(work, (&self.kv, Start::OfEach(table, self.positions)), count, 0)?;
        let guidance = Guidance::OfEach(table.guidances());
        let drawers = Drawers::Each(table, count);
        model.drawn_frames(work, count, guidance, |codebook| model.draw(work, drawers, codebook))
    }
}

fn listed(songs: &[GpuSongInPass<'_>]) -> Vec<Listed> {
    let listed = |GpuSongInPass { song, frame, drawing }: &GpuSongInPass<'_>| Listed {
        number: song.number,
        length: song.length,
        frame: *frame,
        drawing: *drawing,
    };
    songs.iter().map(listed).collect()
}
