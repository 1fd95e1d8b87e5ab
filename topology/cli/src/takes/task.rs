//! Task of one take: it reads the blocks of the song, for its file and for its loudness, to the end.

use heartstream::{Heartstream, Sink, SongBlocks, SongControl, SongReport, SongRequest};
use heartstream_formats::{FormatError, Loudness, LoudnessMeter};

use crate::{Failed, destination::Destination, song_args::RenderArgs, song_recorder::SongRecorder};

/// A take that is to be made.
pub(super) struct Take {
    /// Counted from 1.
    pub number: u64,
    /// Its options: its seed, and files of its own.
    pub args: RenderArgs,
    pub request: SongRequest,
    pub destination: Destination,
}

/// A take that is over.
pub(super) struct Taken {
    pub take: Take,
    pub result: Result<SongReport, Failed>,
    pub loudness: Loudness,
}

/// A take that is being made.
pub(super) struct Taking {
    take: Take,
    blocks: SongBlocks,
    recording: Option<SongRecorder>,
    meter: LoudnessMeter,
}

/// Begins a take; one that cannot begin is over.
pub(super) async fn start(
    engine: &Heartstream,
    fingerprint: &str,
    mut take: Take,
) -> Result<(SongControl, Taking), Box<Taken>> {
    match begun(engine, fingerprint, &mut take).await {
        Ok((control, blocks, meter)) => {
            let recording = take.destination.recording.take();
            Ok((control, Taking { take, blocks, recording, meter }))
        }
        Err(failure) => Err(Box::new(Taken { take, result: Err(failure), loudness: Loudness::default() })),
    }
}

async fn begun(
    engine: &Heartstream,
    fingerprint: &str,
    take: &mut Take,
) -> Result<(SongControl, SongBlocks, LoudnessMeter), Failed> {
    let meter = LoudnessMeter::new()?;
    let mut sinks = take.destination.open(&take.request, fingerprint)?;
    if !sinks.audio.iter().any(|sink| matches!(sink, Sink::Subscriber)) {
        sinks.audio.push(Sink::Subscriber);
    }
    if let Some(path) = &take.args.save_codes {
        sinks = sinks.and_codes(path);
    }
    let (blocks, control) = engine.sing_to(take.request.clone(), sinks).await?.split();
    Ok((control, blocks, meter))
}

impl Taking {
    /// Which take it is.
    pub fn number(&self) -> u64 {
        self.take.number
    }

    /// Reads the take to its end. A file that cannot be written ends it.
    pub async fn finished(mut self) -> Taken {
        let written = self.read().await;
        if written.is_err() {
            self.blocks.control().cancel();
        }
        let report = self.blocks.finished().await;
        let result = written.map(|()| report).map_err(Failed::from);
        Taken { take: self.take, result, loudness: self.meter.loudness() }
    }

    async fn read(&mut self) -> Result<(), FormatError> {
        loop {
            let room = match &self.recording {
                None => None,
                Some(recording) => match recording.room().await {
                    None => break, // it cannot be written, and says why
                    room => room,
                },
            };
            let Some(block) = self.blocks.next_block().await else { break };
            self.meter.measure(&block)?;
            if let Some(room) = room {
                room.send(block);
            }
        }
        match &mut self.recording {
            None => Ok(()),
            Some(recording) => recording.written().await,
        }
    }
}
