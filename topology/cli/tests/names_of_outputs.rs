//! Promise: no file is written over unasked, and a file is what its name says.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path};

use support::{complaint, folder, program, refusal::refused, samples, text, tiny_model};

/// Runs the program in `place`, on a machine without sound, and demands success; what it said.
fn done(place: &Path, arguments: &[&str]) -> String {
    let mut command = program();
    command.args(arguments).args(["--max-seconds", "0.4", "--seed", "1"]).current_dir(place);
    let output = command.env("ALSA_CONFIG_PATH", "/dev/null").output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    complaint(&output)
}

#[test]
fn a_song_without_a_name_takes_the_next_free_one_and_only_what_was_named_or_forced_is_written_over() {
    let folder = folder();
    let place = folder.path();
    let mine = || fs::write(place.join("song.wav"), "mine").expect("a file");
    let is_mine = || fs::read(place.join("song.wav")).expect("the file") == b"mine";
    mine();
    assert!(done(place, &["render"]).contains("song-2.wav"));
    assert!(done(place, &["play"]).contains("written to song-3.wav instead"));
    assert!(is_mine(), "nothing was written over");
    assert_eq!(samples(&place.join("song-2.wav")), samples(&place.join("song-3.wav")));
    done(place, &["render", "--force"]);
    assert!(!is_mine(), "--force writes over it");
    mine();
    done(place, &["render", "-o", "song.wav"]);
    assert!(!is_mine(), "what was named is written over");
    assert!(!place.join("song-4.wav").exists());
    done(place, &["render", "--save-codes", "x.codes", "-o", "x.wav"]);
    let decode = program().args(["decode", "-q", "x.codes"]).current_dir(place).output().expect("the program runs");
    assert!(decode.status.success(), "{}", complaint(&decode));
    assert!(place.join("song-4.wav").exists(), "decode, too, takes the next free name");
}

#[test]
fn a_name_that_says_another_format_is_refused_with_what_to_do() {
    let (place, model) = (folder(), tiny_model());
    let refuse = |more: &[&str], says: &[&str]| {
        let render = [&["render", "-q", "--model", text(model.path())], more].concat();
        refused(place.path(), model.path(), &render, 2, says);
    };
    for name in ["song.m4a", "Song.OGG", "song.w64"] {
        refuse(&["-o", name], &["written as WAV", name, "ffmpeg"]);
    }
    if cfg!(not(feature = "mp3")) {
        refuse(
            &["-o", "song.mp3"],
            &["without mp3", "LGPL", "--package heartstream-cli --features mp3", "opus, flac or wav"],
        );
    }
    refuse(&["-o", "song.flac", "--format", "opus"], &["two formats", "-o song.opus"]);
    refuse(&["-o", "lyrics.txt"], &["written as WAV", "lyrics.wav"]);
    refuse(&["-o", "x.wav", "--record", "y.wav"], &["--record writes JSON", "y.json"]);
    refuse(&["-o", "x.wav", "--save-codes", "y.mp3"], &["--save-codes", "y.codes"]);
    refuse(&["-o", "x.wav", "--save-codes", "-"], &["--save-codes needs a regular file"]);
    refuse(&["-o", "-", "--record", "-"], &["cannot both", "standard output"]);
}

#[test]
fn a_place_where_no_file_can_be_has_the_remedy_that_fits() {
    let place = folder();
    for (name, says) in [(".", "the name of a file in this directory"), ("gone/x.wav", "in a directory that exists")] {
        let render = ["render", "-q", "--max-seconds", "0.4", "-o", name];
        let output = program().args(render).current_dir(place.path()).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{name}: {}", complaint(&output));
        assert!(complaint(&output).contains(says), "{name}: {}", complaint(&output));
    }
}

#[test]
fn a_record_can_go_to_standard_output_and_leaves_no_file_behind() {
    let folder = folder();
    let render = ["render", "-q", "--max-seconds", "0.4", "-o", "x.wav", "--record", "-"];
    let output = program().args(render).current_dir(folder.path()).output().expect("the program runs");
    assert!(output.status.success(), "{}", complaint(&output));
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["outcome"]["kind"], "finished");
    assert!(!folder.path().join("-").exists());
}

#[cfg(unix)]
#[test]
fn a_wav_is_not_written_to_a_terminal_by_whatever_name() {
    use std::process::Stdio;
    let folder = folder();
    for name in ["-", "/dev/stdout"] {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        let mut render = program();
        render.args(["render", "-q", "--max-seconds", "0.4", "-o", name]).current_dir(folder.path());
        let output = render.stdout(Stdio::from(pty.slave)).stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
        let output = output.and_then(std::process::Child::wait_with_output).expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{name}: {}", complaint(&output));
        assert!(complaint(&output).contains("terminal") && complaint(&output).contains("Give -o"), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn two_songs_are_not_written_into_one_file() {
    let folder = folder();
    let long = ["--max-seconds", "200", "--top-k", "5", "--flow-steps", "1"];
    for name in ["song.wav", "song.flac"] {
        let song = folder.path().join(name);
        let mut first =
            program().args(["render", "-q", "-o", text(&song)]).args(long).spawn().expect("the program runs");
        let since = std::time::Instant::now();
        while fs::metadata(&song).map_or(0, |file| file.len()) < 1000 {
            assert!(since.elapsed() < support::PATIENCE, "nothing of the song is written");
            std::thread::yield_now();
        }
        let second = program().args(["render", "-o", text(&song)]).args(long).output().expect("the program runs");
        first.kill().expect("it runs");
        first.wait().expect("it ends");
        let said = complaint(&second);
        assert_eq!(second.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("another song is being written to it. Give another path"), "{name}: {said}");
        // Its end frees the file, however it ended.
        done(folder.path(), &["render", "-o", name]);
    }
}
