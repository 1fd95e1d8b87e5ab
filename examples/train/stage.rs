//! How does a stage of the training go on? Step after step within its time, with a record, and so that it can be taken up
//! again.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use candle_core::{Device, Tensor};

use crate::{
    error::{Result, TrainError, at},
    feed::Source,
    parameters::{Parameters, save_half},
    sizes::Size,
};

/// What all stages are told.
pub struct Setting {
    /// The model's size.
    pub size: Size,
    /// Where everything is kept.
    pub run: PathBuf,
    /// Where is computed.
    pub device: Device,
    /// The songs.
    pub source: Source,
    /// All choices follow from it.
    pub seed: u64,
    /// Threads that render.
    pub threads: usize,
    /// Minutes of the whole stage, over which the learning rate falls.
    pub minutes: f64,
    /// Minutes of this call, after which the stage is kept to go on later.
    pub call_minutes: f64,
    /// Steps of the whole stage; then the minutes do not count.
    pub steps: Option<usize>,
    /// Examples of a batch, where it is not the stage's own.
    pub batch: Option<usize>,
    /// Largest learning rate, where it is not the stage's own.
    pub rate: Option<f64>,
    /// Held-out songs that are measured, where they are not as many as the stage's own.
    pub measured: Option<usize>,
    /// Songs that are held in memory.
    pub pool: usize,
    /// Whether an autoencoder that is there keeps its encoder, so that what was built on its latents stays right.
    pub vocoder_alone: bool,
}

impl Setting {
    /// The folder of a stage.
    pub fn folder(&self, stage: &str) -> Result<PathBuf> {
        let folder = self.run.join(stage);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        Ok(folder)
    }

    /// The finished weights of an earlier stage.
    pub fn weights_of(&self, stage: &str) -> Result<PathBuf> {
        let file = self.run.join(stage).join("weights.safetensors");
        if file.exists() {
            return Ok(file);
        }
        Err(TrainError::Order(format!("{}: not there; run the stage `{stage}` first", file.display())))
    }
}

/// A stage.
pub trait Stage {
    /// Its folder and name.
    const NAME: &'static str;
    /// Its largest learning rate.
    const RATE: f64;
    /// What the parts of its loss are called.
    const PARTS: &'static [&'static str];

    /// What is learnt.
    fn parameters(&mut self) -> &mut Parameters;
    /// The loss of a step and its parts.
    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)>;
    /// What happens to fixed tensors once the step is made.
    fn after_step(&mut self, _step: usize) -> Result<()> {
        Ok(())
    }
    /// Measures with the averaged weights on held-out songs.
    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>>;
    /// Songs taken so far, from which on a resumed stage takes further ones.
    fn taken(&self) -> usize;
}

/// How far a stage is, and all that is needed to go on.
const PROGRESS: &str = "progress.json";
const STATE: &str = "state.safetensors";
/// Steps between two lines of the record.
const EVERY: usize = 25;
/// Seconds between two checkpoints: more than that is not lost when a machine is.
const KEPT_EVERY: f64 = 120.0;
/// Share of a stage in which the rate rises.
const WARM_UP: f64 = 0.03;
/// The rate at the end, as a share of the largest.
const LAST_RATE: f64 = 0.02;

/// How far a stage is: what stands in its `progress.json`.
#[derive(Default)]
struct Progress {
    steps: usize,
    seconds: f64,
    taken: usize,
}

impl Progress {
    fn read(file: &Path) -> Self {
        let read = || {
            let value: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
            let whole = |name: &str| value.get(name)?.as_u64().map(|n| n as usize);
            Some(Self { steps: whole("steps")?, seconds: value.get("seconds")?.as_f64()?, taken: whole("taken")? })
        };
        read().unwrap_or_default()
    }

    fn write(&self, file: &Path) -> Result<()> {
        let json = serde_json::json!({ "steps": self.steps, "seconds": self.seconds, "taken": self.taken });
        fs::write(file, format!("{json:#}\n")).map_err(at(file))
    }
}

/// The songs that a stage taken up again begins with.
pub fn first_song(setting: &Setting, stage: &str) -> Result<usize> {
    Ok(Progress::read(&setting.folder(stage)?.join(PROGRESS)).taken)
}

/// Lets a stage begin with its finished weights as if it had not run: with another rate, or with less to learn.
pub fn begin_anew(setting: &Setting, stage: &str) -> Result<()> {
    let folder = setting.folder(stage)?;
    for file in [PROGRESS, STATE].map(|name| folder.join(name)) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(&file)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Runs a stage, from where it was.
pub fn run<S: Stage>(setting: &Setting, stage: &mut S) -> Result<()> {
    let folder = setting.folder(S::NAME)?;
    let (progress_file, state_file) = (folder.join(PROGRESS), folder.join(STATE));
    let mut progress = Progress::read(&progress_file);
    if progress.steps > 0 {
        stage.parameters().restore(&state_file, &setting.device)?;
        println!("{}: goes on after {} steps and {:.0} s", S::NAME, progress.steps, progress.seconds);
    }
    let weights_file = folder.join("weights.safetensors");
    if progress.steps == 0 && weights_file.exists() {
        stage.parameters().adopt(&weights_file, &setting.device)?;
        println!("{}: begins with the weights that are there", S::NAME);
    }
    println!("{}: {:.2} M numbers are learnt", S::NAME, stage.parameters().count() as f64 / 1e6);
    let largest = setting.rate.unwrap_or(S::RATE);
    let record_file = folder.join("loss.csv");
    let mut record = fs::read_to_string(&record_file).unwrap_or_default();
    if record.is_empty() {
        record = format!("step,seconds,rate,loss,{}\n", S::PARTS.join(","));
    }
    let before = progress.seconds;
    let mut clock = Instant::now();
    let mut begun = false;
    let mut sums: Option<Tensor> = None;
    let mut counted = 0;
    let mut kept = progress.seconds;
    let keep = |progress: &Progress, stage: &mut S| -> Result<()> {
        let progress = Progress { taken: progress.taken + stage.taken(), ..*progress };
        stage.parameters().save(&state_file)?;
        progress.write(&progress_file)?;
        save_half(&stage.parameters().weights()?, &weights_file)
    };
    loop {
        let share = match setting.steps {
            Some(steps) => progress.steps as f64 / steps as f64,
            None => progress.seconds / (60.0 * setting.minutes),
        };
        let call_over = progress.seconds - before > 60.0 * setting.call_minutes;
        // No steps or minutes at all are no share: the stage has ended, too.
        if share.is_nan() || share >= 1.0 || (setting.steps.is_none() && call_over) {
            break;
        }
        let rate = largest * rate_share(share);
        let (loss, parts) = stage.loss(progress.steps)?;
        let gradients = loss.backward()?;
        stage.parameters().step(&gradients, rate)?;
        stage.after_step(progress.steps)?;
        progress.steps += 1;
        if !begun {
            // What is prepared before the first step is not training.
            setting.device.synchronize()?;
            println!("{}: first step after {:.1} s", S::NAME, clock.elapsed().as_secs_f64());
            (clock, begun) = (Instant::now(), true);
        }
        let mut row = vec![loss.detach()];
        row.extend(parts);
        let row = Tensor::stack(&row, 0)?;
        sums = Some(match sums {
            Some(sums) => (sums + row)?,
            None => row,
        });
        counted += 1;
        progress.seconds = before + clock.elapsed().as_secs_f64();
        if progress.seconds - kept > KEPT_EVERY {
            keep(&progress, stage)?;
            kept = progress.seconds;
        }
        if progress.steps.is_multiple_of(EVERY) || setting.steps == Some(progress.steps) {
            let means = sums.take().map_or(Ok(Vec::new()), |sums| sums.to_vec1::<f32>())?;
            let means: Vec<f32> = means.iter().map(|sum| sum / counted as f32).collect();
            counted = 0;
            progress.seconds = before + clock.elapsed().as_secs_f64();
            let _ = write!(record, "{},{:.1},{rate:.6}", progress.steps, progress.seconds);
            means.iter().for_each(|mean| _ = write!(record, ",{mean:.5}"));
            record.push('\n');
            if progress.steps.is_multiple_of(EVERY * 10) || progress.steps == EVERY {
                println!(
                    "{}: step {} at {:.0} s, rate {rate:.5}: {means:.4?}",
                    S::NAME,
                    progress.steps,
                    progress.seconds
                );
                fs::write(&record_file, &record).map_err(at(&record_file))?;
            }
        }
    }
    setting.device.synchronize()?;
    progress.seconds = before + if begun { clock.elapsed().as_secs_f64() } else { 0.0 };
    fs::write(&record_file, &record).map_err(at(&record_file))?;
    keep(&progress, stage)?;
    stage.parameters().averaged()?;
    let measured = stage.held_out()?;
    let line: Vec<String> = measured.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    println!("{}: {} steps in {:.0} s; held out: {}", S::NAME, progress.steps, progress.seconds, line.join(", "));
    let metrics: serde_json::Map<_, _> =
        measured.iter().map(|(name, value)| ((*name).to_owned(), serde_json::json!(value))).collect();
    let metrics_file = folder.join("held_out.json");
    fs::write(&metrics_file, format!("{:#}\n", serde_json::Value::from(metrics))).map_err(at(&metrics_file))?;
    crate::curves::draw(&record_file, &folder.join("loss.svg"))
}

/// The learning rate as a share of the largest: up in a line, down along half a cosine.
fn rate_share(share: f64) -> f64 {
    if share < WARM_UP {
        return (share / WARM_UP).max(0.01);
    }
    let through = (share - WARM_UP) / (1.0 - WARM_UP);
    LAST_RATE + (1.0 - LAST_RATE) * (0.5 + 0.5 * (std::f64::consts::PI * through).cos())
}
