//! `inspect`: what a model is, what it needs, what is wrong with it, and how it sees the words.

use std::collections::BTreeMap;

use heartstream::{
    Placement, SongRequest,
    memory::{MemoryPlan, MemorySize, SongSize},
    plan::Plan,
    units::Seconds,
};
use heartstream_models::{
    ModelDirectory, ModelError, SongDefaults, heartcodec,
    heartmula::{self, TransformerConfig, prompt_positions},
    text::Prompt,
    weights::{Expected, TensorStore},
};
use serde_json::{Value, json};

use super::{Failed, asked::checkpoint, model_args::InspectArgs, prompt_input};

/// Prints what is known of a model.
pub(super) fn inspect(args: &InspectArgs) -> Result<(), Failed> {
    let max_frames = Seconds(args.max_seconds).frames();
    let mut directory = ModelDirectory::open(checkpoint(&args.model.model)?)?
        .stored_as(args.lm_weights.lm_weights.into(), args.codec_weights.codec_weights.into());
    let mut problems = Vec::new();
    let mut note = |error: ModelError| problems.push(error.to_string());
    let lm = part(directory.lm_store(), &heartmula::expected_tensors(&directory.lm), &mut note);
    let codec = part(directory.codec_store(), &heartcodec::expected_tensors(&directory.codec), &mut note);
    directory.check_codes().unwrap_or_else(&mut note);
    directory.check_drafter().unwrap_or_else(&mut note);
    let tokenizer = directory.load_tokenizer().map_err(&mut note).ok();
    let tried = tokenizer.as_ref().and_then(|tokenizer| tokenizer.try_out().map_err(&mut note).ok());
    if problems.is_empty() {
        // Only of tensors that fit: every number is read once.
        directory.check_numbers().unwrap_or_else(|error| problems.push(error.to_string()));
    }
    directory.warnings.extend(tokenizer.iter().flat_map(|tokenizer| tokenizer.notes().to_vec()));
    let asked = args.words.tags.is_some() || args.words.lyrics.is_some();
    let prompt = match (&tokenizer, asked) {
        (Some(tokenizer), true) => {
            let words = prompt_input::read(&args.words)?;
            let prompt = tokenizer.prompt(&words.tags, &words.lyrics)?;
            let notes = words.notes.into_iter().chain(prompt.notes.iter().map(ToString::to_string)).collect();
            Some((prompt, notes))
        }
        _ => None,
    };
    let song = SongSize::of(
        &SongRequest { max_frames, ..directory.defaults.request("", "") },
        prompt.as_ref().map_or(SongSize::USUAL_PROMPT, |(prompt, _)| prompt_positions(&prompt.ids) as u64),
    )?;
    let plan = Plan::new(&Placement { flow_workers: 1, ..Placement::default() })?;
    // Where files are missing there is no estimate, and they are among the problems.
    let memory = MemoryPlan::estimate(&directory, &plan, &song).ok();
    let mut report = report(&args.model.model, &directory, &lm, &codec, &problems, prompt.as_ref());
    report["tokenizer"] = json!({ "ids_of_a_trial": tried });
    report["memory_bytes"] = memory.map_or(Value::Null, |memory| terms(&memory));
    if args.json {
        out!("{report:#}");
    } else {
        print(&report);
    }
    if problems.is_empty() { Ok(()) } else { Err(Failed::Said) }
}

/// What one part of a checkpoint consists of.
#[derive(Default)]
struct Part {
    parameters: u64,
    stored_bytes: u64,
    files: Vec<(String, u64)>,
    /// Tensors by number type.
    dtypes: BTreeMap<String, u64>,
}

fn part(shards: Result<TensorStore, ModelError>, expected: &[Expected], note: &mut impl FnMut(ModelError)) -> Part {
    let shards = match shards {
        Ok(shards) => shards,
        Err(error) => {
            note(error);
            return Part::default();
        }
    };
    let mut part = Part {
        files: shards.files().map(|(path, bytes)| (path.display().to_string(), bytes)).collect(),
        ..Part::default()
    };
    for Expected { name, .. } in expected {
        if let Some((dtype, numbers, bytes)) = shards.stored(name) {
            part.parameters += numbers;
            part.stored_bytes += bytes;
            *part.dtypes.entry(dtype).or_default() += 1;
        }
    }
    shards.check(expected).unwrap_or_else(note);
    part
}

fn report(
    model: &str,
    directory: &ModelDirectory,
    lm: &Part,
    codec: &Part,
    problems: &[String],
    prompt: Option<&(Prompt, Vec<String>)>,
) -> Value {
    let ModelDirectory { lm: lm_config, codec: codec_config, .. } = directory;
    let mut report = json!({
        "model": model,
        "language_model": {
            "part": directory.lm_part,
            "backbone": transformer(&lm_config.backbone),
            "depth_decoder": transformer(&lm_config.decoder),
            "text_vocabulary": lm_config.text_vocab_size,
            "audio_vocabulary": lm_config.audio_vocab_size,
            "codebooks": lm_config.audio_num_codebooks,
            "part_of_checkpoint": stored(lm),
        },
        "codec": {
            "codebooks": codec_config.num_quantizers,
            "codebook_size": codec_config.codebook_size,
            "condition_width": codec_config.dim,
            "estimator": {
                "layers": [codec_config.num_layers, codec_config.num_layers_2],
                "widths": [codec_config.inner_dim(), 2 * codec_config.inner_dim()],
                "heads": codec_config.num_attention_heads,
            },
            "vocoder_channels": codec_config.vocoder_channels(0),
            "part_of_checkpoint": stored(codec),
        },
        "defaults": Value::from_iter(directory.defaults.fields()),
        "warnings": directory.warnings,
        "problems": problems,
    });
    if let Some((prompt, notes)) = prompt {
        report["prompt"] = json!({
            "tags": prompt.tags,
            "lyrics": prompt.lyrics,
            "tags_ids": prompt.ids.tags,
            "lyrics_ids": prompt.ids.lyrics,
            "positions": prompt_positions(&prompt.ids),
            "positions_of_model": lm_config.backbone.max_seq_len,
            "notes": notes,
        });
    }
    report
}

/// What a song will take: all terms, and the most that is held at once, in either way of making it.
fn terms(memory: &MemoryPlan) -> Value {
    let mut terms: Value = memory.terms().into_iter().map(|(name, bytes)| (name.to_owned(), json!(bytes))).collect();
    terms["together"] = json!(memory.streaming());
    terms["one_after_the_other"] = json!(memory.one_after_the_other());
    terms
}

fn transformer(config: &TransformerConfig) -> Value {
    json!({
        "flavor": config.flavor,
        "layers": config.num_layers,
        "width": config.embed_dim,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "hidden_width": config.intermediate_dim,
        "positions": config.max_seq_len,
    })
}

fn stored(part: &Part) -> Value {
    let files: Vec<Value> = part.files.iter().map(|(path, bytes)| json!({ "path": path, "bytes": bytes })).collect();
    json!({ "parameters": part.parameters, "bytes": part.stored_bytes, "tensors_by_type": part.dtypes, "files": files })
}

/// The report for people.
fn print(report: &Value) {
    out!("model {}", text(&report["model"]));
    let lm = &report["language_model"];
    out!("language model {}: {}", text(&lm["part"]), summary(&lm["part_of_checkpoint"]));
    for part in ["backbone", "depth_decoder"] {
        let t = &lm[part];
        out!(
            "  {:<14} {}: {} layers of width {}, {} heads ({} for keys), hidden {}, {} positions",
            part.replace('_', " "),
            text(&t["flavor"]),
            t["layers"],
            t["width"],
            t["heads"],
            t["kv_heads"],
            t["hidden_width"],
            t["positions"]
        );
    }
    out!(
        "  {:<14} {} text ids, {} codes in each of {} codebooks",
        "vocabulary",
        lm["text_vocabulary"],
        lm["audio_vocabulary"],
        lm["codebooks"]
    );
    let codec = &report["codec"];
    out!("codec: {}", summary(&codec["part_of_checkpoint"]));
    let estimator = &codec["estimator"];
    out!(
        "  {:<14} {} codebooks of {} codes, condition of width {}",
        "quantiser",
        codec["codebooks"],
        codec["codebook_size"],
        codec["condition_width"]
    );
    out!(
        "  {:<14} {} layers of widths {}, {} heads",
        "estimator",
        estimator["layers"],
        estimator["widths"],
        estimator["heads"]
    );
    out!("  {:<14} {} channels at its widest", "vocoder", codec["vocoder_channels"]);
    // In the order of the fields; a JSON object has that of the alphabet.
    let defaults = SongDefaults::default().fields().map(|(name, _)| format!("{name} {}", report["defaults"][name]));
    out!("defaults: {}", defaults.join(", "));
    if let Some(ids) = report["tokenizer"]["ids_of_a_trial"].as_u64() {
        out!("tokenizer: a line of words becomes {ids} ids");
    }
    let memory = &report["memory_bytes"];
    if memory.is_object() {
        out!("memory");
        // In the order in which they are computed; a JSON object has that of the alphabet.
        let names = MemoryPlan::default().terms().map(|(name, _)| name).into_iter();
        for what in names.chain(["together", "one_after_the_other"]) {
            out!("  {:<20} {}", what.replace('_', " "), size(&memory[what]));
        }
    }
    for warning in report["warnings"].as_array().into_iter().flatten() {
        out!("warning: {}", text(warning));
    }
    if let Some(prompt) = report.get("prompt") {
        out!("prompt: {} of {} positions", prompt["positions"], prompt["positions_of_model"]);
        out!("  tags   {:?}\n         {}", text(&prompt["tags"]), prompt["tags_ids"]);
        out!("  lyrics {:?}\n         {}", text(&prompt["lyrics"]), prompt["lyrics_ids"]);
        for note in prompt["notes"].as_array().into_iter().flatten() {
            out!("  note: {}", text(note));
        }
    }
    match report["problems"].as_array().filter(|problems| !problems.is_empty()) {
        None => out!("nothing is wrong with it"),
        Some(problems) => problems.iter().for_each(|problem| out!("problem: {}", text(problem))),
    }
}

fn summary(part: &Value) -> String {
    let types =
        part["tensors_by_type"].as_object().into_iter().flatten().map(|(dtype, count)| format!("{count} {dtype}"));
    let parameters = part["parameters"].as_u64().unwrap_or(0) as f64;
    let parameters =
        if parameters >= 1e9 { format!("{:.3} B", parameters / 1e9) } else { format!("{:.2} M", parameters / 1e6) };
    format!(
        "{parameters} parameters, {} in {} files, tensors: {}",
        size(&part["bytes"]),
        part["files"].as_array().map_or(0, Vec::len),
        types.collect::<Vec<_>>().join(", ")
    )
}

fn size(bytes: &Value) -> MemorySize {
    MemorySize(bytes.as_u64().unwrap_or(0))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
