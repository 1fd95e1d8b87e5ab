//! WAV file that is playable while it grows: its header is corrected again and again, and claims only samples that are
//! already written.
//!
//! Killed at any moment, the file has a right header and perhaps samples behind what that header claims, which players
//! ignore. The order holds for a process that dies; for a machine that loses power it is up to the file system.

use std::io::{self, ErrorKind, Seek, SeekFrom, Write};

use heartstream_messages::units::SAMPLE_RATE;

use super::{header, sample_format::SampleFormat};

/// Samples of one channel between two corrections of the header: half a second. With the piece under way, less than a
/// second of what was written is not claimed.
const SAMPLES_BETWEEN_HEADERS: u64 = SAMPLE_RATE as u64 / 2;
/// Samples of one channel in a piece that is written before the header is thought of: a quarter of a second.
const SAMPLES_OF_A_PIECE: u64 = SAMPLE_RATE as u64 / 4;

/// A WAV, or past 4 GiB an RF64, that can be played while it is written.
///
/// Nothing is buffered: what [`WavFile::write`] was given is with the operating system when it returns.
pub(super) struct WavFile<W: Write + Seek> {
    file: W,
    format: SampleFormat,
    /// Chunks before the samples.
    chunks: Vec<u8>,
    /// Bytes of samples in the file, whole sample frames. The file's position is behind them.
    data_bytes: u64,
    /// Of them, those that the header claims.
    claimed_bytes: u64,
    /// The size from which on the file is RF64.
    largest_riff: u64,
}

impl<W: Write + Seek> WavFile<W> {
    /// Begins a song in the empty `file`.
    pub(super) fn begin(file: W, format: SampleFormat, chunks: Vec<u8>) -> io::Result<Self> {
        let mut begun =
            Self { file, format, chunks, data_bytes: 0, claimed_bytes: 0, largest_riff: header::LARGEST_RIFF };
        begun.correct_header()?;
        Ok(begun)
    }

    /// Samples of one channel in the file.
    pub(super) fn frames(&self) -> u64 {
        self.data_bytes / self.format.bytes_per_sample_frame()
    }

    /// Appends encoded samples, whole sample frames.
    ///
    /// When a write fails, what was written before it is kept and claimed, as far as the system still allows.
    pub(super) fn write(&mut self, encoded: &[u8]) -> io::Result<()> {
        let piece_bytes = SAMPLES_OF_A_PIECE * self.format.bytes_per_sample_frame();
        let between = SAMPLES_BETWEEN_HEADERS * self.format.bytes_per_sample_frame();
        for piece in encoded.chunks(piece_bytes as usize) {
            let appended = self.append(piece);
            if appended.is_err() || self.data_bytes - self.claimed_bytes >= between {
                let corrected = self.correct_header();
                appended.and(corrected)?;
            }
        }
        Ok(())
    }

    /// Claims all that was written.
    pub(super) fn correct_header(&mut self) -> io::Result<()> {
        // One write that changes fewer than 100 bytes: a kill leaves the old header or the new one. A write torn
        // between its two lengths would leave the old data size, which is the one that readers take.
        let header = header::of_file(self.format, &self.chunks, self.data_bytes, self.largest_riff);
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        self.file.seek(SeekFrom::Start(header.len() as u64 + self.data_bytes))?;
        self.claimed_bytes = self.data_bytes;
        Ok(())
    }

    /// Writes `piece`, and counts what of it was written even when not all was.
    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut written = 0;
        let result = loop {
            match self.file.write(&piece[written..]) {
                Ok(0) if written < piece.len() => break Err(ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => break Err(error),
            }
            if written == piece.len() {
                break Ok(());
            }
        };
        let frame = self.format.bytes_per_sample_frame();
        self.data_bytes += written as u64 / frame * frame;
        result
    }
}

/// A file that is dropped in the middle, because its stage panicked, plays up to there.
impl<W: Write + Seek> Drop for WavFile<W> {
    fn drop(&mut self) {
        if self.claimed_bytes < self.data_bytes
            && let Err(error) = self.correct_header()
        {
            tracing::warn!("the header of a WAV could not be made right: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, io::Cursor, rc::Rc};

    use heartstream_messages::{PcmBlock, units::SampleIndex};
    use heartstream_models::signal::KeyedNoise;
    use proptest::prelude::*;

    use super::*;

    /// A disk that can be looked at while it is written, holds `room` bytes, and writes what fits.
    #[derive(Clone)]
    struct Disk {
        bytes: Rc<RefCell<Cursor<Vec<u8>>>>,
        room: usize,
        /// What it held after each write: what a kill at any moment would leave.
        moments: Option<Rc<RefCell<Vec<Vec<u8>>>>>,
    }

    impl Disk {
        fn new(room: usize) -> Self {
            Self { bytes: Rc::default(), room, moments: None }
        }

        fn content(&self) -> Vec<u8> {
            self.bytes.borrow().get_ref().clone()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.bytes.borrow_mut();
            let fits = bytes.len().min(self.room - disk.position() as usize);
            if fits == 0 && !bytes.is_empty() {
                return Err(ErrorKind::StorageFull.into());
            }
            let written = disk.write(&bytes[..fits])?;
            if let Some(moments) = &self.moments {
                moments.borrow_mut().push(disk.get_ref().clone());
            }
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.bytes.borrow_mut().seek(to)
        }
    }

    fn music(frames: usize) -> Vec<f32> {
        (0..2 * frames).map(|place| (place as f32 * 0.013).sin() * 0.9).collect()
    }

    fn encoded(format: SampleFormat, samples: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let block = PcmBlock { start: SampleIndex(0), samples: samples.to_vec() };
        format.encode(&block, &KeyedNoise::new(1), &mut bytes);
        bytes
    }

    /// The samples as hound reads them, each as its bytes in the file.
    fn heard(wav: &[u8]) -> Vec<u8> {
        let mut reader = hound::WavReader::new(wav).expect("a WAV");
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate), (2, 48_000));
        match spec.sample_format {
            hound::SampleFormat::Float => reader.samples::<f32>().flat_map(|x| x.unwrap().to_le_bytes()).collect(),
            hound::SampleFormat::Int => {
                let bytes = usize::from(spec.bits_per_sample / 8);
                let samples = reader.samples::<i32>();
                samples.flat_map(|x| x.unwrap().to_le_bytes()[..bytes].to_vec()).collect()
            }
        }
    }

    proptest! {
        #[test]
        fn hound_reads_back_every_bit_of_a_song_of_any_length_in_any_pieces(
            format in prop::sample::select(&SampleFormat::ALL[..]),
            frames in 0usize..60_000,
            pieces in 1usize..9,
        ) {
            let song = encoded(format, &music(frames));
            let disk = Disk::new(usize::MAX);
            let mut file = WavFile::begin(disk.clone(), format, b"LIST\x04\0\0\0INFO".to_vec()).unwrap();
            let frame = format.bytes_per_sample_frame() as usize;
            for piece in song.chunks((frames / pieces).max(1) * frame) {
                file.write(piece).unwrap();
            }
            file.correct_header().unwrap();
            prop_assert_eq!(file.frames(), frames as u64);
            prop_assert_eq!(heard(&disk.content()), song);
        }

        #[test]
        fn a_disk_that_fills_up_anywhere_leaves_all_whole_instants_that_fit(
            format in prop::sample::select(&SampleFormat::ALL[..]),
            room in 116usize..300_000,
        ) {
            let song = encoded(format, &music(100_000));
            let disk = Disk::new(room);
            let mut file = WavFile::begin(disk.clone(), format, Vec::new()).unwrap();
            let error = song.chunks(10_007 * format.bytes_per_sample_frame() as usize).try_for_each(|piece| file.write(piece));
            prop_assert_eq!(error.unwrap_err().kind(), ErrorKind::StorageFull);
            let fits = (room as u64 - header::file_header_bytes(format)) / format.bytes_per_sample_frame();
            prop_assert_eq!(file.frames(), fits);
            prop_assert_eq!(heard(&disk.content()), &song[..(fits * format.bytes_per_sample_frame()) as usize]);
        }
    }

    #[test]
    fn at_every_moment_the_file_is_a_prefix_that_lacks_less_than_a_second() {
        for format in SampleFormat::ALL {
            let song = encoded(format, &music(150_000));
            let moments = Rc::new(RefCell::new(Vec::new()));
            let disk = Disk { moments: Some(Rc::clone(&moments)), ..Disk::new(usize::MAX) };
            let mut file = WavFile::begin(disk, format, Vec::new()).unwrap();
            let frame = format.bytes_per_sample_frame() as usize;
            // Blocks as the stitcher makes them, and then all that is left at once.
            let (blocks, rest) = song.split_at(4 * 11_520 * frame);
            blocks.chunks(11_520 * frame).chain([rest]).for_each(|piece| file.write(piece).unwrap());
            drop(file);
            for moment in moments.borrow().iter() {
                let (heard, header) = (heard(moment), header::file_header_bytes(format) as usize);
                assert_eq!(heard, song[..heard.len()]);
                let unclaimed = moment.len() - header - heard.len();
                assert!(unclaimed < 48_000 * frame, "{unclaimed} of {} bytes are not claimed", moment.len());
            }
            assert_eq!(heard(moments.borrow().last().unwrap()), song);
        }
    }

    #[test]
    fn a_file_that_is_dropped_in_the_middle_claims_all_it_has() {
        let song = encoded(SampleFormat::S16, &music(1_000));
        let disk = Disk::new(usize::MAX);
        let mut file = WavFile::begin(disk.clone(), SampleFormat::S16, Vec::new()).unwrap();
        file.write(&song).unwrap();
        assert!(heard(&disk.content()).is_empty());
        drop(file);
        assert_eq!(heard(&disk.content()), song);
    }

    #[test]
    fn a_song_that_grows_past_the_limit_goes_on_as_rf64_with_every_sample_in_its_place() {
        for format in SampleFormat::ALL {
            let song = encoded(format, &music(50_000));
            let disk = Disk::new(usize::MAX);
            let mut file = WavFile::begin(disk.clone(), format, Vec::new()).unwrap();
            file.largest_riff = 100_000;
            file.write(&song).unwrap();
            file.correct_header().unwrap();
            let bytes = disk.content();
            let start = header::file_header_bytes(format) as usize;
            assert_eq!(bytes[..start], header::of_file(format, &[], song.len() as u64, 100_000));
            assert_eq!((&bytes[..4], &bytes[12..16]), (&b"RF64"[..], &b"ds64"[..]));
            assert_eq!(bytes[start..], song);
        }
    }

    #[test]
    fn a_real_file_passes_4_gib() {
        // Sparse: it has the length, but takes no room on the disk.
        let folder = tempfile::tempdir().unwrap();
        for format in SampleFormat::ALL {
            let path = folder.path().join(format.name());
            let frame = format.bytes_per_sample_frame();
            let begun = (u64::from(u32::MAX) - 100_000) / frame * frame;
            let mut file = WavFile::begin(fs::File::create(&path).unwrap(), format, Vec::new()).unwrap();
            file.file.set_len(header::file_header_bytes(format) + begun).unwrap();
            file.data_bytes = begun;
            file.correct_header().unwrap();
            let start = |path| {
                fs::File::open(path).and_then(|mut file| {
                    let mut bytes = [0; 48];
                    io::Read::read_exact(&mut file, &mut bytes).map(|()| bytes)
                })
            };
            assert_eq!(start(&path).unwrap()[..4], *b"RIFF");
            let more = encoded(format, &music(100_000));
            file.write(&more).unwrap();
            file.correct_header().unwrap();
            drop(file);
            let header = start(&path).unwrap();
            let length = |place: usize| u64::from_le_bytes(header[place..place + 8].try_into().unwrap());
            assert_eq!((&header[..4], &header[12..16]), (&b"RF64"[..], &b"ds64"[..]));
            assert_eq!(length(20) + 8, fs::metadata(&path).unwrap().len());
            assert_eq!(length(28), begun + more.len() as u64);
            assert_eq!(length(36), begun / frame + 100_000);
            fs::remove_file(&path).unwrap();
        }
    }
}
