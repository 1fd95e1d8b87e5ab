//! Promise: a WAV whose process is killed plays up to its last second, in every format.
//!
//! The test starts itself as a child that feeds a sink block after block and says after each how far it is; then it
//! kills the child in the middle of that.
#![cfg(unix)]

#[path = "../../tests/support/sox.rs"]
#[allow(dead_code)] // other tests use the rest
mod sox;

use std::{
    collections::VecDeque,
    env,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use heartstream_actors::{
    Event, StageWork,
    song_context::{Faults, SongContext},
    stitcher::BLOCK_SAMPLES,
    wav_sink::{SampleFormat, WavSinkStage, WavTarget},
};
use heartstream_messages::{
    PcmBlock,
    units::{CHANNELS, SAMPLE_RATE, SampleIndex},
};
use heartstream_models::signal::{KeyedNoise, philox4x32_10};

/// Tells the child where to write, and in which format.
const FILE: &str = "HEARTSTREAM_TEST_FILE";
const FORMAT: &str = "HEARTSTREAM_TEST_FORMAT";
/// Blocks that a child has, so that one that is not killed does not fill the disk: 36 s.
const BLOCKS: u64 = 150;
/// Of them, the first at which it may be killed, and how many follow.
const KILLED_FROM: u32 = 1;
const KILLED_WITHIN: u32 = 120;
/// Kills of each format.
const KILLS: u32 = 8;
const SEED: u64 = 5;

fn block(number: u64) -> PcmBlock {
    let start = number * BLOCK_SAMPLES as u64;
    let sample = |place: usize| ((start as usize * CHANNELS + place) as f32 * 0.001).sin() * 0.8;
    PcmBlock { start: SampleIndex(start), samples: (0..BLOCK_SAMPLES * CHANNELS).map(sample).collect() }
}

#[test]
#[ignore = "it is the child that the test below starts and kills"]
fn feed_a_sink_until_killed() {
    let (Ok(path), Ok(format)) = (env::var(FILE), env::var(FORMAT)) else {
        panic!("alone this tests nothing: run the test that kills it");
    };
    let format = SampleFormat::ALL.into_iter().find(|known| known.name() == format).expect("a format");
    let target = WavTarget::file(Path::new(&path), format).expect("the file");
    let mut sink = WavSinkStage::new(target, KeyedNoise::new(SEED), 0, SongContext::new(1, Faults::default()));
    for number in 0..BLOCKS {
        let block = block(number);
        let end = block.end();
        sink.step(Event::Input(Arc::new(block)), &mut VecDeque::new()).expect("room on the disk");
        println!("\nwritten {}", end.0);
    }
    // The parent holds the other end; when it goes away, so does this.
    let _ = io::stdin().read(&mut [0]);
}

#[test]
fn a_sink_that_is_killed_at_any_moment_leaves_a_file_that_lacks_less_than_a_second() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos();
    for (kind, format) in SampleFormat::ALL.into_iter().enumerate() {
        let mut song = Vec::new();
        (0..BLOCKS).for_each(|number| format.encode(&block(number), &KeyedNoise::new(SEED), &mut song));
        for kill in 0..KILLS {
            let path = folder.path().join(format!("{format}-{kill}.wav"));
            let [word, ..] = philox4x32_10([kill, kind as u32, 0, 0], [seed, 0]);
            let at = KILLED_FROM + word % KILLED_WITHIN;
            let place = format!("{format}, killed at block {at} (seed {seed}, kill {kill})");

            let acknowledged = feed_and_kill(&path, format, at);
            let heard = heard(&path);
            let frame = format.bytes_per_sample_frame() as usize;
            assert!(heard.len() <= song.len() && heard == song[..heard.len()], "{place}: not a prefix of the song");
            let lacks = acknowledged.saturating_sub((heard.len() / frame) as u64);
            assert!(lacks < u64::from(SAMPLE_RATE), "{place}: {lacks} of {acknowledged} samples are lost");
            assert_eq!(sox::samples_played(&path), (heard.len() / frame * CHANNELS) as u64, "{place}");
        }
    }
}

/// Kills a child after it said that it wrote `blocks` blocks; says how many samples it wrote for certain.
fn feed_and_kill(path: &Path, format: SampleFormat, blocks: u32) -> u64 {
    let mut child = Command::new(env::current_exe().expect("this test"))
        .args(["feed_a_sink_until_killed", "--exact", "--ignored", "--nocapture"])
        .env(FILE, path)
        .env(FORMAT, format.name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let said = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("written ")?.parse::<u64>().ok());
    let (mut count, mut last) = (0, 0);
    for written in said {
        (count, last) = (count + 1, written);
        if count == blocks {
            child.kill().expect("a child that runs"); // what it said in the meantime is still read
        }
    }
    let status = child.wait().expect("the child");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "the child was to be killed: {status}");
    last
}

/// The samples as hound reads them, each as its bytes in the file.
fn heard(path: &Path) -> Vec<u8> {
    let mut reader = hound::WavReader::open(path).expect("a file that hound opens");
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate), (2, SAMPLE_RATE));
    match spec.sample_format {
        hound::SampleFormat::Float => {
            reader.samples::<f32>().flat_map(|x| x.expect("a sample").to_le_bytes()).collect()
        }
        hound::SampleFormat::Int => {
            let bytes = usize::from(spec.bits_per_sample / 8);
            reader.samples::<i32>().flat_map(|x| x.expect("a sample").to_le_bytes()[..bytes].to_vec()).collect()
        }
    }
}
