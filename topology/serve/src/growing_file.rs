//! Growing file of a song, and any number of listeners who read it at their own pace.
//!
//! A listener costs a file handle and a buffer. The song does not know its listeners, so a slow one holds back only
//! itself.

use std::{io, path::PathBuf};

use axum::body::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, SeekFrom},
    sync::watch,
};

/// Bytes that a listener reads at once.
const CHUNK: u64 = 64 << 10;

/// How much of a recording there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Grown {
    /// Bytes of the file that will not change, but for its head.
    pub bytes: u64,
    /// Nothing comes after them.
    pub over: bool,
}

/// A recording that may still grow.
#[derive(Debug, Clone)]
pub(crate) struct GrowingFile {
    pub path: PathBuf,
    /// What a stream begins with, in the place of the file's own head, which changes as the file grows.
    pub head: Bytes,
    pub grown: watch::Receiver<Grown>,
}

struct Reader {
    recording: GrowingFile,
    file: Option<File>,
    place: u64,
    /// The head, until it was given.
    head: Option<Bytes>,
    /// Where the listener wants to begin: with the sound that comes next, instead of the first.
    from_now: bool,
}

impl GrowingFile {
    /// The song from its start, or `from_now`; it ends with the song.
    pub fn listen(self, from_now: bool) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let head = Some(self.head.clone());
        let reader = Reader { recording: self, file: None, place: 0, head, from_now };
        stream::try_unfold(reader, |mut reader| async move { Ok(reader.next().await?.map(|bytes| (bytes, reader))) })
    }
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            let grown = *self.recording.grown.borrow();
            self.place = if self.from_now { grown.bytes.max(head.len() as u64) } else { head.len() as u64 };
            return Ok(Some(head));
        }
        let place = self.place;
        // A sender that is gone says nothing more: then what is there is all there will be.
        let waited = self.recording.grown.wait_for(|grown| grown.bytes > place || grown.over).await.map(|grown| *grown);
        let grown = waited.unwrap_or_else(|_| *self.recording.grown.borrow());
        if grown.bytes <= place {
            return Ok(None);
        }
        let bytes = self.read((grown.bytes - place).min(CHUNK)).await?;
        self.place += bytes.len() as u64;
        Ok(Some(bytes))
    }

    async fn read(&mut self, bytes: u64) -> io::Result<Bytes> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = File::open(&self.recording.path).await?;
                file.seek(SeekFrom::Start(self.place)).await?;
                none.insert(file)
            }
        };
        let mut buffer = vec![0; bytes as usize];
        file.read_exact(&mut buffer).await?;
        Ok(buffer.into())
    }
}

/// The bytes from `start` to before `end` of a file that does not change any more.
pub(crate) fn part(file: File, start: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((file, start, true), move |(mut file, place, first)| async move {
        if place >= end {
            return Ok(None);
        }
        if first {
            file.seek(SeekFrom::Start(place)).await?;
        }
        let mut buffer = vec![0; (end - place).min(CHUNK) as usize];
        file.read_exact(&mut buffer).await?;
        let place = place + buffer.len() as u64;
        Ok(Some((Bytes::from(buffer), (file, place, false))))
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn a_listener_gets_what_is_there_waits_for_more_and_ends_with_the_song() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("song");
        std::fs::write(&path, b"HEADabcdefgh").unwrap();
        let (grow, grown) = watch::channel(Grown { bytes: 8, over: false });
        let recording = GrowingFile { path, head: Bytes::from_static(b"head"), grown };
        let mut early = pin!(recording.clone().listen(false));
        let mut late = pin!(recording.clone().listen(true));
        assert_eq!(early.next().await.unwrap().unwrap(), "head", "the head of a stream, not that of the file");
        assert_eq!(early.next().await.unwrap().unwrap(), "abcd");
        assert!(early.next().now_or_never().is_none(), "nothing more is there");
        assert_eq!(late.next().await.unwrap().unwrap(), "head");
        grow.send_replace(Grown { bytes: 12, over: true });
        for stream in [&mut early, &mut late] {
            assert_eq!(stream.next().await.unwrap().unwrap(), "efgh");
            assert!(stream.next().await.is_none());
        }
        let all: Vec<_> = recording.listen(false).map(Result::unwrap).collect().await;
        assert_eq!(all.concat(), b"headabcdefgh");
    }

    #[tokio::test]
    async fn a_song_whose_maker_is_gone_ends() {
        let (_, grown) = watch::channel(Grown::default());
        let recording = GrowingFile { path: "nowhere".into(), head: Bytes::from_static(b"head"), grown };
        let all: Vec<_> = recording.listen(false).map(Result::unwrap).collect().await;
        assert_eq!(all.concat(), b"head");
    }
}
