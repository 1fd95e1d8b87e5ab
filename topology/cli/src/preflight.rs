//! Resources that a song needs of the system, asked for before it begins: threads, open files, address space.
//!
//! Libraries that cannot have them panic or abort in the middle of a song. So they are asked for at the start, all at
//! once, and given back; where the system says no, an error names the limit.

use std::{
    fs::File,
    ops::RangeInclusive,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use heartstream::{
    EngineError, SongRequest,
    memory::{MemoryPlan, MemorySize, SongSize},
    plan::Plan,
};
use heartstream_models::{DeviceName, ModelDirectory, foreign_text::shown};

use super::Failed;

/// Threads for each core that a variable may ask for, as for `--threads`.
const MOST_THREADS_FOR_A_CORE: usize = 8;
/// Threads beside those that compute: the runtime's, and one for each stage of a song that does not compute.
const OTHER_THREADS: usize = 14;
/// Files that are open at once, at most: weights in some shards, outputs, pipes of the runtime.
const FILES: usize = 40;
/// Address space beside model and song: stacks, and what allocators reserve for each thread.
const BESIDE: u64 = 256 << 20;
/// Variables by which libraries choose how many threads they start.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// The standard library's variable for the stack of a thread, in bytes, and what it may be: no less than the usual, and
/// no more than each of a hundred threads can have.
const STACK: &str = "RUST_MIN_STACK";
const STACKS: RangeInclusive<usize> = 2 << 20..=1 << 30;

/// Checks the environment and the limits of the system.
///
/// # Errors
/// When a variable asks for more threads than make sense, or the system gives too few threads or files.
pub(super) fn check() -> Result<(), Failed> {
    let (cores, most) = (cores(), most_threads());
    let mut threads = cores;
    for variable in VARIABLES {
        let Some(found) = std::env::var_os(variable).filter(|value| !value.is_empty()) else { continue };
        let found = found.to_string_lossy();
        match found.trim().parse::<usize>() {
            Ok(count) if count <= most => threads = threads.max(count),
            _ => {
                let expected = format!("from 0 to {most}, {MOST_THREADS_FOR_A_CORE} for each of {cores} cores");
                let found = shown(&found);
                return Err(EngineError::Option { option: variable, expected, found }.into());
            }
        }
    }
    // What is no number is ignored there, too.
    let stack = std::env::var(STACK).ok().and_then(|value| value.parse::<usize>().ok());
    if let Some(stack) = stack.filter(|stack| !STACKS.contains(stack)) {
        let expected = format!("from {} to {} bytes, or unset", STACKS.start(), STACKS.end());
        return Err(EngineError::Option { option: STACK, expected, found: stack.to_string() }.into());
    }
    let_large_files_fail();
    // Rayon's own pool and candle's, and the pools of the three stages that compute.
    enough_threads(5 * threads + OTHER_THREADS)?;
    enough_files()
}

/// Cores of this machine that this process may use.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn most_threads() -> usize {
    MOST_THREADS_FOR_A_CORE * cores()
}

/// Refuses a count of threads that makes no sense, before anything is loaded.
pub(super) fn sensible_threads(count: usize) -> Result<(), Failed> {
    if (1..=most_threads()).contains(&count) {
        return Ok(());
    }
    let expected = format!("from 1 to {}, {MOST_THREADS_FOR_A_CORE} for each of {} cores", most_threads(), cores());
    Err(EngineError::Option { option: "threads", expected, found: count.to_string() }.into())
}

/// Has a file that grows beyond a limit (`ulimit -f`) be an error of writing, as on a full disk, and not the end of the
/// program. Threads that start later have it from this one.
fn let_large_files_fail() {
    #[cfg(unix)]
    {
        let mut signals = nix::sys::signal::SigSet::empty();
        signals.add(nix::sys::signal::Signal::SIGXFSZ);
        let _ = signals.thread_block(); // without it, the program ends as it did
    }
}

/// Starts as many threads as are needed, at once, and lets them end.
fn enough_threads(needed: usize) -> Result<(), Failed> {
    let (give_up, stop) = mpsc::channel::<()>();
    let stop = Arc::new(Mutex::new(stop));
    let mut threads = Vec::with_capacity(needed);
    let mut refused = None;
    for _ in 0..needed {
        let stop = Arc::clone(&stop);
        // Each waits for the lock or for the end of the channel: for the sender to be dropped.
        let wait = move || drop(stop.lock().map(|stop| stop.recv()));
        match thread::Builder::new().stack_size(64 << 10).spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    drop(give_up);
    let started = threads.len();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    match refused {
        None => Ok(()),
        Some(error) => Err(Failed::Error(format!(
            "a song needs up to {needed} threads, and the system starts no more than {started} ({error}). Raise the limit \
             of processes (ulimit -u), or end other programs"
        ))),
    }
}

/// Opens as many files as are needed, at once, and closes them.
fn enough_files() -> Result<(), Failed> {
    let Ok(program) = std::env::current_exe() else { return Ok(()) };
    let mut files = Vec::with_capacity(FILES);
    for _ in 0..FILES {
        match File::open(&program) {
            Ok(file) => files.push(file),
            // The program may be gone, or not readable; only a limit is of interest.
            Err(error) if is_limit(&error) => {
                let opened = files.len();
                return Err(Failed::Error(format!(
                    "a song has up to {FILES} files open, and the system opens no more than {opened} more ({error}). \
                     Raise the limit of open files (ulimit -n)"
                )));
            }
            Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(unix)]
fn is_limit(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    [Errno::EMFILE, Errno::ENFILE].iter().any(|limit| error.raw_os_error() == Some(*limit as i32))
}

#[cfg(not(unix))]
fn is_limit(_: &std::io::Error) -> bool {
    false
}

/// Where address space is limited (`ulimit -v`), asks for what a model and a song will take of it, and gives it back: an
/// allocation that fails in the middle of a song ends the program.
///
/// # Errors
/// When the system gives less.
pub(super) fn enough_memory(directory: &ModelDirectory, plan: &Plan, request: &SongRequest) -> Result<(), Failed> {
    if !is_address_space_limited() {
        return Ok(());
    }
    let size = SongSize::of(request, SongSize::USUAL_PROMPT)?;
    let files =
        directory.lm_store()?.files().chain(directory.codec_store()?.files()).map(|(_, bytes)| bytes).sum::<u64>();
    let needs = MemoryPlan::estimate(directory, plan, &size)?.streaming_on(DeviceName::Cpu) + files + BESIDE;
    let mut room: Vec<u8> = Vec::new();
    room.try_reserve_exact(usize::try_from(needs).unwrap_or(usize::MAX)).map_err(|_| {
        Failed::Error(format!(
            "the model and the song need about {} of address space, and the system does not give them. Raise its limit \
             (ulimit -v), give --memory-limit, or shorten the song with --max-seconds",
            MemorySize(needs)
        ))
    })
}

#[cfg(unix)]
fn is_address_space_limited() -> bool {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    getrlimit(Resource::RLIMIT_AS).is_ok_and(|(soft, _)| soft != RLIM_INFINITY)
}

#[cfg(not(unix))]
fn is_address_space_limited() -> bool {
    false
}
