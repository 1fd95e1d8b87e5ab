//! Songs that other machines make: the frames and the blocks come from there, and go where those of a song of this
//! machine would.

use std::path::Path;

use flume::bounded;
use heartstream_actors::{
    channel::ToAll,
    remote::{
        song_part::SongShape,
        song_stage::{RemoteSongStage, ToCodesAndSinks},
        song_workers::{SongLease, SongWorkers},
    },
    song_context::SongContext,
};
use heartstream_messages::{SongOrder, SongRequest, units::SampleIndex};
use tokio::runtime::Handle;

use crate::{
    conductor::Ending,
    decoder::check_runtime,
    engine::Heartstream,
    error::EngineError,
    request::CheckedRequest,
    saved_song::SavedSong,
    sink::Sinks,
    song::Song,
    wiring::{Pieces, add_codes_sinks, add_sinks},
};

impl Heartstream {
    /// Machines that make whole songs for this engine, from the first call on; `None` where it has no other machines
    /// (the builder's `machines`, of the feature `remote`). They keep the engine as long as the connections to them last.
    pub fn song_workers(&self) -> Option<SongWorkers> {
        #[cfg(feature = "remote")]
        if let Some(machines) = &self.machines {
            return machines.song_workers(self);
        }
        None
    }

    /// Has the machine of `place` make a song: the same one as [`Heartstream::sing_to`] makes here. Its blocks begin at
    /// `played`. Where the machine does not go on with it, the song fails in the stage [`crate::Stage::RemoteSong`]; what
    /// was saved of its codes can be resumed, here or elsewhere.
    ///
    /// # Errors
    /// As [`Heartstream::sing_to`], and when its first window has a deadline: its length would then depend on a machine.
    pub async fn sing_elsewhere(
        &self,
        place: SongLease,
        request: SongRequest,
        played: SampleIndex,
        sinks: impl Into<Sinks>,
    ) -> Result<Song, EngineError> {
        self.start_elsewhere(place, self.checked(request)?, played, sinks.into()).await
    }

    /// As [`Heartstream::resume`] and [`Heartstream::sing_elsewhere`]: has the machine of `place` go on with a song.
    ///
    /// # Errors
    /// As both.
    pub async fn resume_elsewhere(
        &self,
        place: SongLease,
        kept: SavedSong,
        path: &Path,
        played: SampleIndex,
        sinks: impl Into<Sinks>,
    ) -> Result<Song, EngineError> {
        self.start_elsewhere(place, self.resumed(kept, path)?, played, sinks.into()).await
    }

    async fn start_elsewhere(
        &self,
        place: SongLease,
        checked: CheckedRequest,
        played: SampleIndex,
        sinks: Sinks,
    ) -> Result<Song, EngineError> {
        let sinks = sinks.checked()?;
        check_runtime()?;
        if checked.sound.deadline.is_some() {
            let (expected, found) = ("left out for a song of another machine".to_owned(), "given".to_owned());
            return Err(EngineError::Option { option: "first-audio", expected, found });
        }
        let song = SongContext::of(self.context.clone(), sinks.audio.len(), self.faults.clone());
        song.span.record("seed", checked.request.seed);
        let mut pieces = Pieces::default();
        let (resources, capacities) = (&self.lm_resources, &self.plan.capacities);
        let (takers, blocks) = add_sinks(&mut pieces, checked.sound, sinks.audio, capacities, &song);
        let mut keepers = add_codes_sinks(&mut pieces, resources, &checked, sinks.codes, capacities, &song);
        keepers.extend(sinks.frames);
        let CheckedRequest { request, sound, resumed_from, notes, prompt_positions, .. } = checked;
        let shape = SongShape {
            codebooks: resources.sizes.audio_num_codebooks,
            end: resources.audio_eos,
            longest: sound.longest,
        };
        let order = SongOrder { kind: place.kind().clone(), request, codes: resumed_from.codes.clone(), played };
        let stage = RemoteSongStage::new(place, order, shape, prompt_positions, Handle::current(), song.clone());
        let (_, nothing) = bounded(0);
        let outlet = ToCodesAndSinks { codes: ToAll(keepers), sinks: ToAll(takers) };
        pieces.add(stage, nothing, outlet, &song);
        let ending = Ending { notes, is_the_songs: true };
        let wired = pieces.start(&self.threads, song.clone(), ending, blocks).await?;
        Ok(Song::new(wired, song, sound.noise))
    }
}
