//! Training stage: step after step within its time, with a record, and resumable.

use std::{fs, time::Instant};

use candle_core::Tensor;

use crate::{
    error::{Result, at},
    kept::{Kept, Progress, Record},
    parameters::Parameters,
    setting::Setting,
};

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

/// Steps between two lines of the record.
const EVERY: usize = 25;
/// Seconds between two checkpoints, as a rule: what is lost at most when a machine is.
pub const KEPT_EVERY: f64 = 120.0;
/// Share of a stage in which the rate rises.
const WARM_UP: f64 = 0.03;
/// The rate at the end, as a share of the largest.
const LAST_RATE: f64 = 0.02;

/// Songs between the first ones of two parts: more than any part takes in.
const SONGS_OF_A_PART: usize = 1_000_000;

/// The song that a part of a stage begins or goes on with.
pub fn first_song(setting: &Setting, stage: &str) -> Result<usize> {
    let taken = Kept::of(setting, stage).progress(&setting.label())?.taken;
    Ok((setting.part.number - 1) * SONGS_OF_A_PART + taken)
}

/// Runs a stage, from where it was.
pub fn run<S: Stage>(setting: &Setting, stage: &mut S) -> Result<()> {
    let kept = Kept::of(setting, S::NAME);
    let mut progress = kept.progress(&setting.label())?;
    if setting.part.number > 1 {
        setting.weights_of(S::NAME)?;
    }
    if progress.steps > 0 {
        progress = kept.restore(progress, stage.parameters(), setting)?;
        let Progress { part, steps, seconds, .. } = &progress;
        println!("{}: part {part} goes on after {steps} steps and {seconds:.0} s", S::NAME);
    } else if kept.weights().exists() {
        stage.parameters().adopt(&kept.weights(), &setting.device)?;
        println!("{}: part {} begins with the weights that are there", S::NAME, progress.part);
    }
    println!("{}: {:.2} M numbers are learnt", S::NAME, stage.parameters().count() as f64 / 1e6);
    let mut record = Record::open(&kept.record(), S::PARTS, progress.steps);
    steps(setting, stage, &kept, &mut progress, &mut record)?;
    kept.keep(&progress, stage.parameters(), &record)?;
    kept.finish()?;
    stage.parameters().averaged()?;
    let measured = stage.held_out()?;
    let line: Vec<String> = measured.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    println!("{}: {} steps in {:.0} s; held out: {}", S::NAME, progress.steps, progress.seconds, line.join(", "));
    let metrics: serde_json::Map<_, _> =
        measured.iter().map(|(name, value)| ((*name).to_owned(), serde_json::json!(value))).collect();
    let metrics = format!("{:#}\n", serde_json::Value::from(metrics));
    fs::write(kept.held_out(), metrics).map_err(at(&kept.held_out()))?;
    crate::curves::draw(&kept.record(), &kept.record().with_extension("svg"))
}

/// Makes the steps of this call, and keeps what is learnt every now and then.
fn steps<S: Stage>(
    setting: &Setting,
    stage: &mut S,
    kept: &Kept,
    progress: &mut Progress,
    record: &mut Record,
) -> Result<()> {
    let largest = setting.rate.unwrap_or(S::RATE);
    let before = progress.clone();
    let mut clock = Instant::now();
    let mut begun = false;
    let (mut sums, mut counted) = (None::<Tensor>, 0);
    let mut last_kept = progress.seconds;
    loop {
        let share = match setting.steps {
            Some(steps) => progress.steps as f64 / steps as f64,
            None => progress.seconds / (60.0 * setting.minutes),
        };
        let call_over = progress.seconds - before.seconds > 60.0 * setting.call_minutes;
        // No steps or minutes at all are no share: the stage has ended, too.
        if share.is_nan() || share >= 1.0 || (setting.steps.is_none() && call_over) {
            break;
        }
        let mut rate = largest * rate_share(setting.part.through(share));
        if setting.part.number > 1 {
            // The optimiser has forgotten everything.
            rate *= (share / WARM_UP).clamp(0.01, 1.0);
        }
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
        progress.seconds = before.seconds + clock.elapsed().as_secs_f64();
        progress.taken = before.taken + stage.taken();
        if progress.steps.is_multiple_of(EVERY) || setting.steps == Some(progress.steps) {
            let means = sums.take().map_or(Ok(Vec::new()), |sums| sums.to_vec1::<f32>())?;
            let means: Vec<f32> = means.iter().map(|sum| sum / counted as f32).collect();
            counted = 0;
            // The device was waited for just now.
            progress.seconds = before.seconds + clock.elapsed().as_secs_f64();
            record.push(progress, rate, &means);
            if progress.steps.is_multiple_of(EVERY * 10) || progress.steps == EVERY {
                let Progress { steps, seconds, .. } = &*progress;
                println!("{}: step {steps} at {seconds:.0} s, rate {rate:.5}: {means:.4?}", S::NAME);
            }
        }
        if progress.seconds - last_kept > setting.kept_every {
            kept.keep(progress, stage.parameters(), record)?;
            last_kept = progress.seconds;
        }
    }
    setting.device.synchronize()?;
    if begun {
        progress.seconds = before.seconds + clock.elapsed().as_secs_f64();
    }
    Ok(())
}

/// The learning rate as a share of the largest: up in a line, down along half a cosine.
fn rate_share(share: f64) -> f64 {
    if share < WARM_UP {
        return (share / WARM_UP).max(0.01);
    }
    let through = (share - WARM_UP) / (1.0 - WARM_UP);
    LAST_RATE + (1.0 - LAST_RATE) * (0.5 + 0.5 * (std::f64::consts::PI * through).cos())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use candle_core::Device;
    use heartstream_models::weights::Expected;

    use super::*;
    use crate::{error::TrainError, part::Part};

    /// Learns to be as large as the number of the step, and is cut off at one of them.
    struct Count {
        parameters: Parameters,
        cut_off: usize,
        taken: usize,
    }

    impl Count {
        fn new(cut_off: usize) -> Self {
            let expected = [Expected::new("weight", &[2, 3])];
            let parameters = Parameters::new(&expected, 1, &Device::Cpu).expect("a variable");
            Self { parameters, cut_off, taken: 0 }
        }
    }

    impl Stage for Count {
        const NAME: &'static str = "count";
        const RATE: f64 = 0.1;
        const PARTS: &'static [&'static str] = &["same"];

        fn parameters(&mut self) -> &mut Parameters {
            &mut self.parameters
        }

        fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
            if step == self.cut_off {
                return Err(TrainError::Order("cut off".to_owned()));
            }
            self.taken += 2;
            let weight = self.parameters.store().tensor("weight", &[2, 3], &Device::Cpu)?;
            let loss = (weight - step as f64)?.sqr()?.sum_all()?;
            Ok((loss.clone(), vec![loss.detach()]))
        }

        fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
            Ok(vec![("nothing", 0.0)])
        }

        fn taken(&self) -> usize {
            self.taken
        }
    }

    fn setting(run: PathBuf, kept_every: f64) -> Setting {
        Setting { steps: Some(60), kept_every, ..Setting::tiny(run) }
    }

    #[test]
    fn a_stage_that_was_cut_off_ends_as_if_it_had_not_been() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let whole = setting(folder.path().join("whole"), f64::INFINITY);
        run(&whole, &mut Count::new(usize::MAX)).expect("a whole stage");
        let cut = setting(folder.path().join("cut"), -1.0);
        let mut stage = Count::new(37);
        assert!(run(&cut, &mut stage).is_err());
        assert!(cut.weights_of(Count::NAME).is_err(), "what is not finished is not taken for it");
        let kept = Kept::of(&cut, Count::NAME);
        let progress = kept.progress("1/1").expect("progress");
        assert_eq!((progress.steps, progress.taken), (37, 74));
        assert_eq!(first_song(&cut, Count::NAME).expect("progress"), 74);
        run(&cut, &mut Count::new(usize::MAX)).expect("a stage that goes on");
        assert_eq!(kept.progress("1/1").expect("progress").taken, 120);
        let weights = |setting: &Setting| {
            let file = setting.weights_of(Count::NAME).expect("finished weights");
            crate::parameters::read_weights(&file, &Device::Cpu).expect("weights")["weight"].to_vec2::<f32>()
        };
        assert_eq!(weights(&cut).expect("numbers"), weights(&whole).expect("numbers"));
        let steps = |setting: &Setting| -> Vec<String> {
            let record = fs::read_to_string(setting.run.join("count/loss.csv")).expect("a record");
            record.lines().map(|line| line.split(',').next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(steps(&cut), ["step", "25", "50", "60"]);
        assert_eq!(steps(&cut), steps(&whole));
    }

    #[test]
    fn a_part_begins_with_the_weights_of_the_one_before_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let part = |number: usize, run: &str| Setting {
            part: Part { number, of: 3 },
            steps: Some(40),
            ..setting(folder.path().join(run), -1.0)
        };
        assert!(run(&part(2, "run"), &mut Count::new(usize::MAX)).is_err(), "no part before it has ended");
        run(&part(1, "run"), &mut Count::new(usize::MAX)).expect("the first part");
        let weights = |setting: &Setting| {
            let file = setting.weights_of(Count::NAME).expect("finished weights");
            let mean = crate::parameters::read_weights(&file, &Device::Cpu).expect("weights")["weight"].mean_all();
            mean.and_then(|mean| mean.to_scalar::<f32>()).expect("a number")
        };
        let first = weights(&part(1, "run"));
        // Another machine gets the weights alone; the rest of the run is not there.
        let moved = part(2, "moved");
        fs::create_dir_all(moved.folder(Count::NAME)).expect("a folder");
        fs::copy(
            part(1, "run").weights_of(Count::NAME).expect("there"),
            moved.folder(Count::NAME).join("weights.safetensors"),
        )
        .expect("a copy");
        assert_eq!(first_song(&moved, Count::NAME).expect("a number"), SONGS_OF_A_PART);
        assert!(run(&moved, &mut Count::new(12)).is_err(), "cut off");
        assert_eq!(first_song(&moved, Count::NAME).expect("a number"), SONGS_OF_A_PART + 24);
        run(&moved, &mut Count::new(usize::MAX)).expect("the second part");
        // Beside the files of the first part the second is the same.
        run(&part(2, "run"), &mut Count::new(usize::MAX)).expect("the second part");
        assert_eq!(weights(&moved), weights(&part(2, "run")));
        assert_ne!(weights(&moved), first);
        let rates = |setting: &Setting| -> Vec<f64> {
            let record = fs::read_to_string(setting.run.join("count/loss.csv")).expect("a record");
            record.lines().skip(1).filter_map(|line| line.split(',').nth(2)?.parse().ok()).collect()
        };
        let (second, third) = (rates(&moved), part(3, "moved"));
        run(&third, &mut Count::new(usize::MAX)).expect("the third part");
        assert!(rates(&third).last() < second.last(), "the rate falls over all parts");
    }

    #[test]
    fn no_minutes_are_no_step_and_what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut none = setting(folder.path().to_owned(), 1.0);
        (none.steps, none.minutes) = (None, 0.0);
        run(&none, &mut Count::new(0)).expect("an end without a step");
        fs::write(folder.path().join("count/progress.json"), "{ \"steps\": 3").expect("written");
        let complaint = run(&none, &mut Count::new(0)).expect_err("half a file").to_string();
        assert!(complaint.contains("progress.json") && complaint.contains("Remove it"), "{complaint}");
    }
}
