//! Song maker for other machines: this machine makes whole songs.

use kameo::actor::{ActorRef, Spawn};
use tokio::sync::mpsc;

use super::{
    MachinesError, Network,
    kind::song_kind,
    offer::{MOST_SONGS, Offer},
    song_server::SongServer,
    swarm,
};
use crate::{EngineError, Heartstream};

/// An engine that makes songs for engines on other machines, as long as this lives.
pub struct SongMaker {
    server: ActorRef<SongServer>,
    places: usize,
    listening: Vec<String>,
}

impl SongMaker {
    /// Offers the songs of `engine` in `network`, at most `songs` at once.
    ///
    /// # Errors
    /// When `songs` is out of range, the engine loads half of its model after the other, or it cannot listen.
    pub async fn offer(engine: Heartstream, songs: usize, network: Network) -> Result<Self, EngineError> {
        if !(1..=MOST_SONGS).contains(&songs) {
            let (expected, found) = (format!("from 1 to {MOST_SONGS} for other machines"), songs.to_string());
            return Err(EngineError::Option { option: "max-songs", expected, found });
        }
        let kind = song_kind(&engine).ok_or_else(|| {
            MachinesError::Worker("the model is loaded one half after the other. Raise the limit of memory".to_owned())
        })?;
        let server = SongServer::spawn(SongServer::new(engine, kind, songs));
        let offer = Offer { flow: Vec::new(), songs: Some((server.id().sequence_id(), songs)) };
        let (news, _) = mpsc::unbounded_channel(); // of no use here: engines come by themselves
        let listening = swarm::start(network, &offer, news).await?.listening;
        server.into_remote_ref().await; // from now on it is found by its number
        Ok(Self { server, places: songs, listening })
    }

    /// How many songs it makes at once.
    pub fn count(&self) -> usize {
        self.places
    }

    /// Where it listens.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }
}

impl Drop for SongMaker {
    /// Without a server no more calls are answered; songs that are made end when they are not asked for.
    fn drop(&mut self) {
        self.server.kill();
    }
}
