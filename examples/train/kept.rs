//! Saved state of a running stage, so that it can be resumed.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::{Result, TrainError, at},
    parameters::{Parameters, save_half},
    setting::Setting,
};

/// The folder of a stage, and what lies in it.
pub struct Kept {
    folder: PathBuf,
}

/// How far a stage is: what stands in its `progress.json`.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Progress {
    /// Which part of the stage this is the progress of: [`Setting::label`].
    pub part: String,
    /// Steps made.
    pub steps: usize,
    /// Seconds that they took.
    pub seconds: f64,
    /// Songs that they took in.
    pub taken: usize,
}

impl Kept {
    /// That of a stage.
    pub fn of(setting: &Setting, stage: &str) -> Self {
        Self { folder: setting.folder(stage) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// How far the stage is.
    fn progress_file(&self) -> PathBuf {
        self.file("progress.json")
    }

    /// Weights, averages and the optimiser's memory, in 32 bits.
    fn state(&self) -> PathBuf {
        self.file("state.safetensors")
    }

    /// The weights that the stage ended with, in 16 bits.
    pub fn weights(&self) -> PathBuf {
        self.file("weights.safetensors")
    }

    /// Those that it would end with now.
    fn so_far(&self) -> PathBuf {
        self.file("so-far.safetensors")
    }

    /// The losses.
    pub fn record(&self) -> PathBuf {
        self.file("loss.csv")
    }

    /// The measures on held-out songs.
    pub fn held_out(&self) -> PathBuf {
        self.file("held_out.json")
    }

    /// How far a part of the stage is; nowhere if it has not run, whatever other parts have.
    ///
    /// # Errors
    /// When what says so cannot be read.
    pub fn progress(&self, part: &str) -> Result<Progress> {
        let found = self.progress_of_any_part()?;
        Ok(found
            .filter(|found| found.part == part)
            .unwrap_or(Progress { part: part.to_owned(), ..Progress::default() }))
    }

    fn progress_of_any_part(&self) -> Result<Option<Progress>> {
        let file = self.progress_file();
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(at(&file))?,
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let whole = |name: &str| value.get(name)?.as_u64().map(|number| number as usize);
        let seconds = value.get("seconds").and_then(serde_json::Value::as_f64);
        let part = value.get("part").and_then(serde_json::Value::as_str).map(str::to_owned);
        match (part, whole("steps"), seconds, whole("taken")) {
            (Some(part), Some(steps), Some(seconds), Some(taken)) => Ok(Some(Progress { part, steps, seconds, taken })),
            _ => Err(TrainError::Order(format!(
                "{}: expected part, steps, seconds and taken, found {:?}. Remove it to begin the stage anew",
                file.display(),
                String::from_utf8_lossy(&bytes)
            ))),
        }
    }

    /// Puts the state that was kept into `parameters`, and says how far they are.
    pub fn restore(&self, mut progress: Progress, parameters: &mut Parameters, setting: &Setting) -> Result<Progress> {
        parameters.restore(&self.state(), &setting.device)?;
        // Where both were not kept together, the state is the later one.
        progress.steps = parameters.steps;
        Ok(progress)
    }

    /// Keeps all that is needed to go on.
    pub fn keep(&self, progress: &Progress, parameters: &Parameters, record: &Record) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(at(&self.folder))?;
        parameters.save(&self.state())?;
        let Progress { part, steps, seconds, taken } = progress;
        let json = serde_json::json!({ "part": part, "steps": steps, "seconds": seconds, "taken": taken });
        replace(&self.progress_file(), &format!("{json:#}\n"))?;
        replace(&self.record(), &record.text)?;
        save_half(&parameters.weights()?, &self.so_far())
    }

    /// What was kept last are the weights that the stage ends with.
    pub fn finish(&self) -> Result<()> {
        let weights = self.weights();
        fs::rename(self.so_far(), &weights).map_err(at(&weights))
    }
}

/// Writes a file that has its name only when it is whole.
fn replace(file: &Path, text: &str) -> Result<()> {
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, text).map_err(at(&unfinished))?;
    fs::rename(&unfinished, file).map_err(at(file))
}

/// The losses of a stage, a line for some steps together.
pub struct Record {
    text: String,
}

impl Record {
    /// Goes on with what a file has of the first `steps` steps, if its columns are these; else it is empty.
    pub fn open(file: &Path, parts: &[&str], steps: usize) -> Self {
        let header = format!("step,seconds,rate,loss,{}", parts.join(","));
        let before = fs::read_to_string(file).unwrap_or_default();
        let mut text = header.clone() + "\n";
        if before.lines().next() == Some(&header) {
            let step = |line: &str| line.split(',').next().and_then(|step| step.parse::<usize>().ok());
            for line in before.lines().skip(1).filter(|line| step(line).is_some_and(|step| step <= steps)) {
                text += line;
                text.push('\n');
            }
        }
        Self { text }
    }

    /// A line more: the learning rate, and means of the loss and of its parts.
    pub fn push(&mut self, progress: &Progress, rate: f64, means: &[f32]) {
        let _ = write!(self.text, "{},{:.1},{rate:.6}", progress.steps, progress.seconds);
        means.iter().for_each(|mean| _ = write!(self.text, ",{mean:.5}"));
        self.text.push('\n');
    }
}
