//! Destination of a song: a loudspeaker, a file, or both; and what is written down about it.

use std::path::{Path, PathBuf};

use heartstream::{
    Sink, Sinks, SongRequest,
    speaker::{CpalDevice, Speaker, SpeakerError},
};
use heartstream_formats::{Format, Metadata, info_chunk};

use super::{
    Failed,
    arg_groups::OutputArgs,
    audio_noise::{Hushed, hushed},
    card,
    output::{Output, probe_file},
    output_names,
    song_args::{PlayArgs, RenderArgs},
    song_format::song_format,
    song_recorder::{RecordingArgs, SongRecorder},
};

/// Where the song's sound goes, and what is written down about it.
pub(super) struct Destination {
    pub output: Option<Output>,
    /// Whether the file was made for this song: what was there before is not removed again.
    pub made: bool,
    /// Format of the file.
    format: Format,
    /// Gain of the file in decibels.
    gain: Option<f64>,
    /// The loudspeaker, until it is opened.
    pub speaker: Option<Speaker>,
    /// What is done with the song, as a participle.
    pub verb: &'static str,
    pub record: Option<PathBuf>,
    /// What the song's blocks are written to, where the engine does not write its file.
    pub recording: Option<SongRecorder>,
    /// Why there is no loudspeaker, until it is said.
    without_speaker: Option<SpeakerError>,
}

impl Destination {
    /// The file that was asked for, or the usual one, of a song by `model`.
    pub fn file(args: &OutputArgs, model: &str) -> Result<Self, Failed> {
        Self::new(args, model, true, None)
    }

    /// A loudspeaker, and a file where one was asked for or where there is no loudspeaker. What the system's sound
    /// libraries print meanwhile is not shown, unless `verbose`.
    pub fn speaker(play: &PlayArgs, verbose: bool) -> Result<Self, Failed> {
        let PlayArgs { render, speaker, device_rate, start, on_device_loss } = play;
        let RenderArgs { output: args, model, .. } = render;
        match hushed(verbose, || CpalDevice::find(speaker.as_deref(), *device_rate)) {
            Ok(device) => {
                let speaker = Speaker::on(Hushed::new(device, verbose));
                let speaker = speaker.start((*start).into()).on_device_loss((*on_device_loss).into());
                Self::new(args, &model.model, args.output.is_some(), Some(speaker))
            }
            // A device or a rate that was named is wanted, and no file.
            Err(
                error @ (SpeakerError::Unknown { .. } | SpeakerError::Ambiguous { .. } | SpeakerError::NoRate { .. }),
            ) => Err(error.into()),
            Err(error) => Ok(Self { without_speaker: Some(error), ..Self::file(args, &model.model)? }),
        }
    }

    /// The same, but with the file of `args` in the place of its own.
    pub fn in_file(self, args: &OutputArgs, model: &str) -> Result<Self, Failed> {
        Ok(Self { without_speaker: self.without_speaker, ..Self::file(args, model)? })
    }

    fn new(args: &OutputArgs, model: &str, to_file: bool, speaker: Option<Speaker>) -> Result<Self, Failed> {
        let format = song_format(args.format, args.output.as_deref())?;
        let output = to_file.then(|| match &args.output {
            Some(path) => Output::new(path),
            None => Output::usual(format, args.force),
        });
        Ok(Self {
            output,
            made: false,
            format,
            gain: card::gain(model, &args.loudness)?,
            verb: if speaker.is_some() { "played" } else { "written" },
            speaker,
            record: args.record.clone(),
            recording: None,
            without_speaker: None,
        })
    }

    /// Makes sure that everything can be written, before a large model is loaded, and that nothing that is read is
    /// written over.
    pub fn probe(&self, codes: Option<&Path>, read: &[&Path]) -> Result<(), Failed> {
        let record = self.record.as_deref();
        for path in read.iter().filter(|path| path.exists()) {
            let song = self.output.as_ref().is_some_and(|output| output.is_file(path));
            if song || record.is_some_and(|record| Output::new(record).is_file(path)) {
                return Err(Failed::Usage(format!(
                    "{} is read for this song and would be written over. Give -o and --record other files",
                    path.display()
                )));
            }
        }
        if let Some(path) = codes.filter(|path| path.exists() && !path.is_file() || is_dash(path)) {
            return Err(Failed::Usage(format!(
                "--save-codes needs a regular file, for it is written anew every second, and {} is none. Give it the \
                 name of a file",
                path.display()
            )));
        }
        if let Some(output) = &self.output {
            output.probe()?;
        }
        let to_standard_output = record.is_some_and(is_dash);
        if to_standard_output && self.output == Some(Output::StandardOutput) {
            let problem = "the song and its record cannot both be written to standard output";
            return Err(Failed::Usage(format!("{problem}. Give -o or --record a file")));
        }
        let beside = [("record", record.filter(|_| !to_standard_output)), ("save-codes", codes)];
        for (option, path) in beside.into_iter().filter_map(|(option, path)| Some((option, path?))) {
            if self.output.as_ref().is_some_and(|output| output.is_file(path)) {
                return Err(Failed::Usage(format!(
                    "--{option} would overwrite the song in {}. Give it another file",
                    path.display()
                )));
            }
            output_names::no_audio(option, path)?;
            probe_file(path)?;
        }
        match (record, codes) {
            (Some(record), Some(codes)) if Output::new(record).is_file(codes) => Err(Failed::Usage(format!(
                "--record would overwrite the codes in {}. Give it another file",
                codes.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The name of the file's format, or that of its samples where it is a WAV; `None` without a file.
    pub fn format_name(&self) -> Option<&'static str> {
        self.output.as_ref().map(|_| match self.format {
            Format::Wav(samples) => samples.name(),
            format => format.name(),
        })
    }

    /// Opens the sinks for the song that `request` asks for, by the model of this fingerprint; within a runtime. Says where
    /// the song goes if that is not where it was to go.
    pub fn open(&mut self, request: &SongRequest, fingerprint: &str) -> Result<Sinks, Failed> {
        let mut sinks: Vec<Sink> = self.speaker.take().map(Sink::Speaker).into_iter().collect();
        if let Some(output) = &mut self.output {
            self.made = output.is_new();
            let metadata = Metadata::new(&request.tags, &request.lyrics, request.seed, fingerprint);
            match (self.format, self.gain) {
                (Format::Wav(samples), None) => sinks.push(Sink::Wav(output.open(samples, info_chunk(&metadata))?)),
                (format, gain) => {
                    let path = output.reserve()?.map(Path::to_owned);
                    let args = RecordingArgs { path, format, metadata, seed: request.seed, gain };
                    self.recording = Some(SongRecorder::begin(args));
                    sinks.push(Sink::Subscriber);
                }
            }
            if let (Some(error), Output::File { path, .. }) = (&self.without_speaker, output) {
                note!("heartstream: {error}. The song is written to {} instead", path.display());
            }
        }
        Ok(sinks.into())
    }
}

/// Whether this stands for standard output.
fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}
