//! `pull`: the published checkpoints, from the hub into a directory.

use std::{
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use heartstream::pull::{self, Bytes, Watcher};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failed, model_args::PullArgs};

/// Between two lines when standard error is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
const BAR: &str = "{wide_bar} {decimal_bytes} of {decimal_total_bytes} · {decimal_bytes_per_sec} · {eta} left\n{msg}";

/// Fetches a version, and says how to use it.
pub(super) fn pull(args: &PullArgs, quiet: bool) -> Result<(), Failed> {
    let version = args.version.into();
    let directory = args.out.clone().unwrap_or_else(|| pull::default_directory(version));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::Error(format!("the system starts no more threads: {error}")))?;
    let into = directory.clone();
    let pulled = runtime.block_on(async {
        let work = tokio::task::spawn_blocking(move || pull::pull(version, &into, &mut Lines::new(quiet)));
        tokio::select! {
            pulled = work => match pulled {
                Ok(pulled) => pulled.map_err(Failed::from),
                Err(error) => Err(Failed::Error(format!("the pull broke off: {error}"))),
            },
            // What is on the disk is right up to its last byte at every moment, so nothing has to be ended in order.
            _ = tokio::signal::ctrl_c() => Err(Failed::Cancelled),
        }
    });
    runtime.shutdown_background();
    let pulled = match pulled {
        Err(Failed::Cancelled) if !quiet => {
            note!("heartstream: interrupted. The same command goes on from here");
            return Err(Failed::Cancelled);
        }
        pulled => pulled?,
    };
    if !quiet {
        let new = match pulled.new_files {
            0 => "all of them were there".to_owned(),
            new => format!("{new} of them new"),
        };
        note!("{} in {} files, {new}, in {}", pulled.bytes, pulled.files, directory.display());
        note!("to use it: heartstream play --model {}", quoted(&directory));
    }
    Ok(())
}

/// A path as it is typed in a shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-:\\".contains(letter);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// Progress of a pull for people.
enum Lines {
    Nothing,
    Bar(ProgressBar),
    Plain { total: u64, file: PathBuf, last: Instant },
}

impl Lines {
    fn new(quiet: bool) -> Self {
        if quiet {
            Self::Nothing
        } else if stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            bar.set_style(ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()));
            Self::Bar(bar)
        } else {
            Self::Plain { total: 0, file: PathBuf::new(), last: Instant::now() }
        }
    }
}

impl Watcher for Lines {
    fn say(&mut self, sentence: &str) {
        match self {
            Self::Nothing => (),
            Self::Bar(bar) => bar.println(sentence),
            Self::Plain { .. } => note!("{sentence}"),
        }
    }

    fn begin(&mut self, files: usize, bytes: u64) {
        match self {
            Self::Plain { total, .. } => {
                *total = bytes;
                if files > 0 {
                    note!("{files} files to fetch, {}", Bytes(bytes));
                }
            }
            Self::Bar(bar) => {
                bar.set_length(bytes);
                bar.reset();
            }
            Self::Nothing => (),
        }
    }

    fn at(&mut self, name: &Path, bytes: u64) {
        match self {
            Self::Nothing => (),
            Self::Bar(bar) => {
                bar.set_message(name.display().to_string());
                bar.set_position(bytes);
            }
            Self::Plain { total, file, last } if file != name || last.elapsed() >= BETWEEN_LINES => {
                note!("{} of {} · {}", Bytes(bytes), Bytes(*total), name.display());
                (*last, *file) = (Instant::now(), name.to_owned());
            }
            Self::Plain { .. } => (),
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
