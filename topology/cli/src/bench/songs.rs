//! `bench songs`: frames a second of several songs that are written in one pass over the weights, beside one song alone.
//!
//! Runs are interleaved and the best of each count is taken, so that a busy moment of the machine does not decide. The
//! first song of every run must be the same song.

use std::time::{Duration, Instant};

use heartstream::{
    Checkpoint, EngineError, Heartstream, Placement, SongRequest,
    units::{Frames, Seconds},
};
use heartstream_models::{
    Devices, ModelDirectory,
    heartmula::{HeartMula, KeyedSampler, PromptTokens, Sampling, SongInPass, SongState, WeightReads},
    signal::KeyedNoise,
    weights::Storage,
};
use serde_json::{Value, json};

use super::{
    args::SongsArgs,
    last_to_join::{Joined, last_to_join},
    machine::Machine,
};
use crate::{Failed, prompt_input, status::Status};

/// The most songs of a count.
const MOST: usize = 256;

/// A count of songs, and what came of it.
struct Row {
    songs: usize,
    /// Shortest time of a pass, the mean of a run.
    pass: Option<Duration>,
    /// Keys and values of one song at its end.
    kv_bytes: usize,
    /// With `--sound`.
    joined: Option<Joined>,
}

impl Row {
    fn frames_per_second(&self) -> f64 {
        self.pass.map_or(0.0, |pass| self.songs as f64 / pass.as_secs_f64())
    }
}

/// What is measured.
struct Subject {
    model: HeartMula,
    prompt: PromptTokens,
    guidance: f64,
    frames: usize,
}

/// Runs the bench and prints what it says.
pub(super) fn songs(args: &SongsArgs, quiet: bool) -> Result<(), Failed> {
    let frames = Seconds(args.seconds).frames();
    let refuse = |option, expected: &str, found: String| {
        Err(EngineError::Option { option, expected: expected.to_owned(), found }.into())
    };
    if frames < Frames(2) || args.repeats == 0 {
        let found = format!("{} s and {} repeats", args.seconds, args.repeats);
        return refuse("seconds", "at least 0.16 s (two frames), and one repeat or more", found);
    }
    if let Some(count) = args.counts.iter().find(|count| !(1..=MOST).contains(*count)) {
        return refuse("counts", "from 1 to 256", count.to_string());
    }
    let (name, checkpoint) = super::subject(&args.subject)?;
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let words = prompt_input::read(&args.words)?;
    let prompt = directory.load_tokenizer()?.prompt(&words.tags, &words.lyrics)?.ids;
    let status = Status::new(quiet);
    let mut machine = Machine::open(args.device, args.threads)?;
    machine.measure()?;
    status.say(&format!("loading the model {name}"));
    let model = directory.load_lm(&args.device.open()?)?;
    let subject = Subject { model, prompt, guidance: args.cfg_scale, frames: frames.0 as usize };
    let mut rows: Vec<Row> =
        args.counts.iter().map(|songs| Row { songs: *songs, pass: None, kv_bytes: 0, joined: None }).collect();
    let mut song = None;
    for repeat in 1..=args.repeats {
        for row in &mut rows {
            status.say(&format!("run {repeat} of {}: {} songs", args.repeats, row.songs));
            let written = machine.run(|| subject.run(row))?;
            if song.get_or_insert_with(|| written.clone()) != &written {
                return Err(Failed::Error(format!("a song beside {} others is another song", row.songs - 1)));
            }
        }
    }
    machine.measure()?;
    status.end(&format!("wrote {} {} times", frames.seconds(), args.repeats * rows.len()));
    let facts = subject.facts();
    if args.sound {
        drop(subject); // its weights are loaded once more, beside the codec
        with_sound(args, checkpoint, &SongRequest::new(words.tags, words.lyrics), (&mut rows, &machine), &status)?;
    }
    let report = Report { name, facts, rows, machine };
    if args.json {
        out!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

impl Subject {
    fn facts(&self) -> Facts {
        let bytes = WeightReads::new(self.model.config()).plain_frame() * self.model.bytes_per_weight() as f64;
        Facts { frames: self.frames, guidance: self.guidance, frame_bytes: bytes }
    }

    /// Writes the songs of a row, and returns the codes of the first.
    fn run(&self, row: &mut Row) -> Result<Vec<Vec<u32>>, Failed> {
        let mut songs: Vec<(SongState, KeyedSampler)> = Vec::with_capacity(row.songs);
        for seed in 0..row.songs as u64 {
            let sampler = KeyedSampler::new(Sampling::default(), KeyedNoise::new(seed))?;
            songs.push((self.model.start(&self.prompt, self.guidance, self.frames)?, sampler));
        }
        let mut first = Vec::with_capacity(self.frames);
        let mut since = Instant::now();
        for frame in 0..self.frames {
            let mut pass: Vec<SongInPass<'_>> =
                songs.iter_mut().map(|(state, sampler)| SongInPass { state, sampler }).collect();
            let written: Result<Vec<_>, _> = self.model.next_frames(&mut pass)?.into_iter().collect();
            first.push(written?.swap_remove(0));
            if frame == 0 {
                since = Instant::now(); // the first frame needs no pass of the backbone
            }
        }
        let pass = since.elapsed() / (self.frames - 1) as u32;
        row.pass = Some(row.pass.map_or(pass, |best| best.min(pass)));
        row.kv_bytes = songs.first().map_or(0, |(state, _)| state.kv_bytes());
        Ok(first)
    }
}

/// Makes the songs of each row from words to sound.
fn with_sound(
    args: &SongsArgs,
    checkpoint: Checkpoint,
    words: &SongRequest,
    (rows, machine): (&mut [Row], &Machine),
    status: &Status,
) -> Result<(), Failed> {
    let placement = Placement { threads: args.threads, devices: Devices::all(args.device), ..Placement::default() };
    let storages = (Storage::Auto, args.codec_weights.codec_weights.into());
    let runtime = crate::render::runtime()?;
    status.say("loading the model with its codec");
    let builder = Heartstream::builder(checkpoint).placement(placement).weights(storages.0, storages.1);
    let engine = runtime.block_on(builder.build())?;
    for row in rows {
        status.say(&format!("{} songs from words to sound", row.songs));
        let (joined, on_gpu) = machine.with_gpu_memory(|| runtime.block_on(last_to_join(&engine, row.songs, words)));
        let joined = joined?;
        row.joined = Some(Joined { memory: on_gpu.or(joined.memory), ..joined });
    }
    Ok(())
}

/// What is to be said of the subject when it is gone.
struct Facts {
    frames: usize,
    guidance: f64,
    /// Bytes of weights that a frame reads.
    frame_bytes: f64,
}

/// All that the bench found.
struct Report {
    name: String,
    facts: Facts,
    rows: Vec<Row>,
    machine: Machine,
}

impl Report {
    /// Frames a second of a row if reading the weights were all that costs; `None` where that was not measured.
    fn limit(&self, row: &Row) -> Option<f64> {
        let read = self.machine.limits().read_bytes;
        (read > 0.0).then(|| row.songs as f64 * read / self.facts.frame_bytes)
    }

    /// The row of one song, which the others are compared with.
    fn one(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.songs == 1)
    }

    fn table(&self) -> String {
        let Facts { frames, guidance, .. } = &self.facts;
        let with_sound = self.rows.iter().any(|row| row.joined.is_some());
        let head =
            format!("model {}, {frames} frames each, guidance {guidance}, on {}\n\n", self.name, self.machine.name());
        let columns = "songs   a pass   frames/s   of one   a song's real time   one read allows   keys and values";
        let columns = format!("{columns}{}\n", if with_sound { "   last to sound      memory" } else { "" });
        let line = |row: &Row| {
            let (all, pass) = (row.frames_per_second(), row.pass.unwrap_or_default());
            let ratio =
                self.one().map_or_else(|| "-".to_owned(), |one| format!("{:.2}", all / one.frames_per_second()));
            let limit = self.limit(row).map_or_else(|| "-".to_owned(), |limit| format!("{limit:.1}"));
            let joined = row.joined.map_or_else(String::new, |joined| {
                let memory =
                    joined.memory.map_or_else(|| "-".to_owned(), |bytes| format!("{:.2} GB", bytes as f64 / 1e9));
                format!("  {:>12.2} s  {memory:>10}", joined.first_sound.as_secs_f64())
            });
            format!(
                "{:>5}  {:>7.1} ms {:>8.1}  {ratio:>7}  {:>19.2}  {limit:>16}  {:>12.1} MB{joined}\n",
                row.songs,
                pass.as_secs_f64() * 1e3,
                all,
                pass.as_secs_f64() / Frames(1).seconds().0,
                row.kv_bytes as f64 * row.songs as f64 / 1e6,
            )
        };
        let legend = "\n\
a pass               time in which every song gets a frame
of one               frames a second beside those of one song
a song's real time   time over music, of the language model alone: below 1 it is faster than the music
one read allows      frames a second if a pass cost nothing but the read of the weights
keys and values      of all songs, at their end
";
        let of_sound = "\
last to sound        from the request of the last song to its first sound, while all others sound
memory               of all songs and the model then
";
        let legend = format!("{legend}{}", if with_sound { of_sound } else { "" });
        head + &columns + &self.rows.iter().map(line).collect::<String>() + &legend
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "songs": row.songs,
                "pass_s": row.pass.map(|pass| pass.as_secs_f64()),
                "frames_per_s": row.frames_per_second(),
                "of_one": self.one().map(|one| row.frames_per_second() / one.frames_per_second()),
                "limit_frames_per_s": self.limit(row),
                "kv_bytes": row.kv_bytes * row.songs,
                "last_first_sound_s": row.joined.map(|joined| joined.first_sound.as_secs_f64()),
                "memory_bytes": row.joined.and_then(|joined| joined.memory),
            })
        });
        json!({
            "model": self.name,
            "machine": self.machine.name(),
            "threads": self.machine.threads(),
            "frames": self.facts.frames,
            "guidance": self.facts.guidance,
            "rows": rows.collect::<Vec<_>>(),
        })
    }
}
