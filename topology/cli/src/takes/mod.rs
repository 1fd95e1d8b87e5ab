//! Takes: several songs of the same words, each with a seed of its own, by one engine.

mod names;
mod table;
mod task;

use std::collections::{BTreeMap, VecDeque};

use heartstream::{Heartstream, SongControl, SongRequest};
use heartstream_formats::Loudness;
use tokio::task::JoinSet;

use super::{
    Failed,
    asked::Asked,
    conclusion::{About, conclude},
    destination::Destination,
    interrupts::Interrupts,
    keys::{Key, Keys},
    output::Output,
    render::{BETWEEN_LOOKS, pressed, runtime},
    song_args::{PlayArgs, RenderArgs},
    song_format::song_format,
    status::{Status, Verbosity},
    status_line::SongLine,
};
use table::Row;
use task::{Take, Taken};

/// Takes that are made at once where there is memory for them. They share each pass over the weights of the language
/// model; from four on two cores are bound by arithmetic (`docs/songs.md`), and the first take would only come later.
const AT_ONCE: usize = 4;

/// Writes takes to files.
pub(super) fn render(args: &RenderArgs, count: u64, verbosity: Verbosity) -> Result<(), Failed> {
    let asked = Asked::new(args, false)?;
    let takes = takes(args, &asked.request, count, &|_| Ok(None))?;
    make(asked, takes, verbosity, false)
}

/// Plays the first take, and writes the others to files; without a loudspeaker the first, too.
pub(super) fn play(args: &PlayArgs, count: u64, verbosity: Verbosity) -> Result<(), Failed> {
    let asked = Asked::new(&args.render, true)?;
    let first = |take: &RenderArgs| {
        let played = Destination::speaker(&PlayArgs { render: take.clone(), ..args.clone() }, verbosity.verbose)?;
        Ok(Some(played))
    };
    let takes = takes(&args.render, &asked.request, count, &first)?;
    make(asked, takes, verbosity, true)
}

/// The takes with their destinations: files, but for the first where `played` gives it another one.
fn takes(
    args: &RenderArgs,
    request: &SongRequest,
    count: u64,
    played: &dyn Fn(&RenderArgs) -> Result<Option<Destination>, Failed>,
) -> Result<VecDeque<Take>, Failed> {
    let suffix = song_format(args.output.format, args.output.output.as_deref())?.suffix();
    let usual = names::usual(count, suffix, args.output.force);
    let one = |(number, request): (u64, SongRequest)| {
        let mut own = names::of_take(args, number, request.seed)?;
        let played = if number == 1 { played(&own)? } else { None };
        own.output.output.get_or_insert_with(|| names::numbered(&usual, number));
        let destination = match played {
            Some(played) if played.speaker.is_some() => played,
            Some(alone) => alone.in_file(&own.output, &own.model.model)?,
            None => Destination::file(&own.output, &own.model.model)?,
        };
        Ok(Take { number, args: own, request, destination })
    };
    (1..).zip(request.takes(count)).map(one).collect()
}

/// Makes all takes. A take that fails does not end the others; q ends all, which is an end where the first is `played`.
fn make(mut asked: Asked<'_>, takes: VecDeque<Take>, verbosity: Verbosity, played: bool) -> Result<(), Failed> {
    let read = asked.read_files();
    for take in &takes {
        take.destination.probe(take.args.save_codes.as_deref(), &read)?;
    }
    runtime()?.block_on(async {
        let mut status = Status::new(verbosity.quiet);
        let engine = asked.engine(AT_ONCE.min(takes.len()), &mut status).await?;
        status.next_song();
        let (rows, by_key) = all(&engine, &asked, takes, &mut status, verbosity).await?;
        status.end_songs(&table::table(&rows), || table::facts(&rows));
        match table::outcome(rows) {
            Err(Failed::Cancelled) if by_key && played => Ok(()),
            outcome => outcome,
        }
    })
}

/// Makes the takes, at most [`AT_ONCE`] at a time, and says what came of each and whether a key ended them.
async fn all(
    engine: &Heartstream,
    asked: &Asked<'_>,
    mut waiting: VecDeque<Take>,
    status: &mut Status,
    verbosity: Verbosity,
) -> Result<(Vec<Row>, bool), Failed> {
    let (mut rows, mut running, mut controls) = (Vec::new(), JoinSet::new(), BTreeMap::<u64, SongControl>::new());
    let mut look = tokio::time::interval(BETWEEN_LOOKS);
    let (mut interrupts, mut by_key) = (Interrupts::listen(), false);
    let mut keys = Keys::listen();
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < engine.max_songs()
            && let Some(take) = waiting.pop_front()
        {
            match task::start(engine, &asked.fingerprint, take).await {
                Ok((control, taking)) => {
                    controls.insert(taking.number(), control);
                    running.spawn(taking.finished());
                }
                Err(taken) => rows.push(concluded(*taken, engine, asked, status)),
            }
        }
        tokio::select! {
            biased;
            () = interrupts.next() => {
                interrupts.came(&mut keys);
                stop(&mut waiting, &controls, &mut rows);
            }
            key = pressed(&mut keys) => match key {
                Key::Stop => {
                    by_key = !interrupts.any();
                    stop(&mut waiting, &controls, &mut rows);
                }
                // All of them, the one that is heard among them.
                Key::Pause => {
                    let paused = controls.values().any(SongControl::is_paused);
                    controls.values().for_each(if paused { SongControl::resume } else { SongControl::pause });
                }
            },
            Some(taken) = running.join_next() => {
                let taken: Taken = taken.map_err(|error| Failed::Error(format!("a take was lost: {error}")))?;
                controls.remove(&taken.take.number);
                rows.push(concluded(taken, engine, asked, status));
                status.next_song();
            }
            _ = look.tick() => if let Some((number, control)) = controls.first_key_value() {
                let shown = SongLine {
                    seed: asked.request.seed.wrapping_add(number - 1),
                    verb: "made",
                    keys: keys.is_some(),
                    verbose: verbosity.verbose,
                };
                status.show(&control.snapshot(), &shown);
            },
        }
    }
    rows.sort_by_key(|row: &Row| row.number);
    Ok((rows, by_key))
}

/// Cancels the takes that run, and gives those that wait their rows.
fn stop(waiting: &mut VecDeque<Take>, controls: &BTreeMap<u64, SongControl>, rows: &mut Vec<Row>) {
    controls.values().for_each(SongControl::cancel);
    rows.extend(waiting.drain(..).map(|take| Row {
        number: take.number,
        seed: take.request.seed,
        report: None,
        failure: Some(Failed::Cancelled),
        loudness: Loudness::default(),
        file: None,
    }));
}

/// Says what came of a take, and writes its record.
fn concluded(taken: Taken, engine: &Heartstream, asked: &Asked<'_>, status: &Status) -> Row {
    let Taken { take, result, loudness } = taken;
    let (number, seed) = (take.number, take.request.seed);
    let report = match result {
        Ok(report) => report,
        Err(failure) => return Row { number, seed, report: None, failure: Some(failure), loudness, file: None },
    };
    let about = About {
        model: &take.args.model.model,
        request: &take.request,
        plan: engine.plan(),
        fingerprint: &asked.fingerprint,
    };
    let failure = conclude(&report, &about, &take.destination, status, &asked.notes).err();
    let file = take.destination.output.as_ref().and_then(Output::path).filter(|_| report.audio.0 > 0.0);
    let file = file.map(|file| file.display().to_string());
    Row { number, seed, report: Some(report), failure, loudness, file }
}
