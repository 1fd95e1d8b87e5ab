//! Conclusion of a song: its last line, its record, and the error that the program ends with.

use heartstream::{Outcome, SongReport, SongRequest, plan::Plan, units::Seconds};

use super::{Failed, destination::Destination, output::Output, record, song_plan, status::Status};

/// What a record says beside the report.
pub(super) struct About<'a> {
    pub model: &'a str,
    pub request: &'a SongRequest,
    pub plan: &'a Plan,
    pub fingerprint: &'a str,
}

/// Removes the file of a song without sound, shows what came of the song, and writes its record. `said` are notes that
/// were shown before.
///
/// # Errors
/// When the song is not whole, or its record cannot be written.
pub(super) fn conclude(
    report: &SongReport,
    about: &About<'_>,
    destination: &Destination,
    status: &Status,
    said: &[String],
) -> Result<(), Failed> {
    let unsaid = report.notes.iter().filter(|note| !said.contains(note));
    unsaid.for_each(|note| status.line(&format!("note: {note}")));
    let output = destination.output.as_ref();
    let heard = report.audio.0 > 0.0;
    if let (Some(output), false, true) = (output, heard, destination.made) {
        output.discard();
    }
    let file = output.filter(|_| heard);
    let seed = about.request.seed;
    let sentence = summary(report, file, seed, destination.verb);
    status.end_song(&sentence, || record::ending(report, file.and_then(Output::path), seed));
    let recorded = match &destination.record {
        Some(path) => {
            let mut record = record::record(about.model, about.request, destination.format_name(), about.plan, report);
            record["plan"] = song_plan::plan(about.request, report, about.fingerprint);
            record::write(path, &record)
        }
        None => Ok(()),
    };
    // What became of the song matters more than what became of its record.
    outcome(report).and(recorded)
}

/// What the program's end says of a song's.
fn outcome(report: &SongReport) -> Result<(), Failed> {
    match &report.outcome {
        // A reader that leaves, such as `head`, has all it wanted.
        Outcome::Finished | Outcome::ReaderLeft => Ok(()),
        Outcome::Cancelled => Err(Failed::Cancelled),
        Outcome::Failed(error) => Err(Failed::Error(error.to_string())),
        other => Err(Failed::Error(format!("the song ended in a way that this program does not know: {other:?}"))),
    }
}

/// The last line: what came of it.
fn summary(report: &SongReport, output: Option<&Output>, seed: u64, verb: &str) -> String {
    let mut sentence = format!("{} {verb} in {}", report.audio, report.wall);
    if let Some(factor) = report.real_time_factor() {
        sentence += &format!(" (real-time factor {factor:.2})");
    }
    if let Some(first) = report.first_audio {
        sentence += &format!(", first audio after {first}");
    }
    if report.underrun_samples > 0 {
        let silence = Seconds(report.underrun_samples as f64 / f64::from(heartstream::units::SAMPLE_RATE));
        sentence += &format!(", {silence} of silence for want of music");
    }
    if report.xruns > 0 {
        sentence += &format!(", the device's buffer ran dry {} times", report.xruns);
    }
    if let Some(path) = output.and_then(Output::path) {
        sentence += &format!(", {}", path.display());
    }
    if report.outcome == Outcome::ReaderLeft {
        sentence += ", until the reader wanted no more";
    }
    format!("{sentence}, seed {seed}")
}
