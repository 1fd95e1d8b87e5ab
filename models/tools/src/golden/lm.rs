//! Comparison of the language model: its greedy codes and their logits.

use heartstream_models::{
    ModelError, Result,
    heartmula::{CodeSampler, HeartMula, PromptTokens, argmax},
    weights::TensorStore,
};

use super::{Measure, Row, dims, floats, ids, unfit};

const TOLERANCE: f64 = 1e-4;

/// Compares every run `lm.NAME.greedy_codes`: `plain` is without guidance, `cfgXY` with guidance X.Y.
pub(super) fn check(model: &HeartMula, goldens: &TensorStore, report: &mut dyn FnMut(Row)) -> Result<()> {
    let prompt = PromptTokens { tags: ids(goldens, "tags_ids")?, lyrics: ids(goldens, "lyrics_ids")? };
    let runs: Vec<String> = goldens
        .names()
        .filter_map(|name| Some(name.strip_prefix("lm.")?.strip_suffix(".greedy_codes")?.to_owned()))
        .collect();
    for run in runs {
        let codes_name = format!("lm.{run}.greedy_codes");
        let codes = ids(goldens, &codes_name)?;
        let shape @ [frames, codebooks] = dims(goldens, &codes_name)?;
        if codebooks != model.config().audio_num_codebooks {
            return Err(unfit(&codes_name, [frames, model.config().audio_num_codebooks], shape));
        }
        let (ours, logits_of_ours) = run_greedily(model, &prompt, guidance(&run)?, frames)?;
        let equal = ours.iter().zip(&codes).filter(|(a, b)| a == b).count();
        let all = codes.len().max(ours.len());
        report(Row {
            tensor: codes_name,
            measure: Measure::CodesEqual(equal, all),
            tolerance: all as f64,
            note: String::new(),
        });
        let logits_name = format!("lm.{run}.logits");
        if goldens.shape(&logits_name).is_some() {
            let (logits, _) = floats::<3>(goldens, &logits_name)?;
            report(Row::relative(&logits_name, &logits_of_ours, &logits, TOLERANCE));
        }
    }
    Ok(())
}

/// Codes and logits of `frames` frames of which each code has the largest logit, frame after frame.
///
/// # Errors
/// When the prompt or the frames do not fit the model.
pub(super) fn run_greedily(
    model: &HeartMula,
    prompt: &PromptTokens,
    guidance: f64,
    frames: usize,
) -> Result<(Vec<u32>, Vec<f32>)> {
    let mut recorder = Recorder { logits: Vec::new() };
    let mut state = model.start(prompt, guidance, frames)?;
    let mut codes = Vec::new();
    for _ in 0..frames {
        codes.extend(model.next_frame(&mut state, &mut recorder)?);
    }
    Ok((codes, recorder.logits))
}

fn guidance(run: &str) -> Result<f64> {
    let tenths = |digits: &str| digits.parse::<u32>().ok().map(|tenths| f64::from(tenths) / 10.0);
    match run {
        "plain" => Ok(1.0),
        run => run.strip_prefix("cfg").and_then(tenths).ok_or_else(|| {
            ModelError::shape("name of a run of the language model", "`plain`, or `cfg` and tenths (cfg15 is 1.5)", run)
        }),
    }
}

/// Takes the largest logit and keeps them all.
struct Recorder {
    logits: Vec<f32>,
}

impl CodeSampler for Recorder {
    fn sample(&mut self, _frame: u64, _codebook: usize, logits: &[f32]) -> Result<u32> {
        self.logits.extend_from_slice(logits);
        Ok(argmax(logits))
    }
}
