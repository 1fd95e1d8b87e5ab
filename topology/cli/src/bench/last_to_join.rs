//! First sound of a song that joins others, all of which one engine makes from words to sound.

use std::time::{Duration, Instant};

use heartstream::{Heartstream, Sink, SongControl, SongRequest, units::Frames};

use crate::Failed;

/// Songs last until they are cancelled: four minutes, more than it takes until all of them sound.
const LENGTH: Frames = Frames(3000);

/// What came of a count of songs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    /// From the last song's request to its first sound.
    pub first_sound: Duration,
    /// Bytes that all take then, the model included: of a GPU's memory, or of the program's; `None` where the system does not say.
    pub memory: Option<u64>,
}

/// Makes so many songs at once and lets the last one join when all others sound.
pub(super) async fn last_to_join(engine: &Heartstream, songs: usize, words: &SongRequest) -> Result<Joined, Failed> {
    let request = |seed| SongRequest { seed, max_frames: LENGTH, ..words.clone() };
    let mut controls = Vec::with_capacity(songs);
    let mut first_sound = Duration::ZERO;
    let mut readers = tokio::task::JoinSet::new();
    for seed in 0..songs as u64 {
        let since = Instant::now();
        let mut song = engine.sing_to(request(seed), Sink::Subscriber).await?;
        if song.next_block().await.is_none() {
            let report = song.finished().await;
            return Err(Failed::Error(format!("a song ended before its first sound: {:?}", report.outcome)));
        }
        first_sound = since.elapsed();
        let (mut blocks, control) = song.split();
        controls.push(control);
        readers.spawn(async move {
            while blocks.next_block().await.is_some() {}
            blocks.finished().await
        });
    }
    let memory = resident();
    controls.iter().for_each(SongControl::cancel);
    readers.join_all().await;
    Ok(Joined { first_sound, memory })
}

/// Bytes of the program in memory at present, by Linux.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    size.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}
