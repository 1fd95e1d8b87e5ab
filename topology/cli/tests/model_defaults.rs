//! Promise: what a song is not told, its model decides. A model's own defaults are what the same options would be, and
//! an option wins over them.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{complaint, edit_json, folder, run, samples, text, tiny_model};
use tempfile::TempDir;

/// What a model says, and the options that say the same. With so small a top-k the smallest model never ends a song.
const OWN: [(&str, &str); 5] =
    [("temperature", "0"), ("top_k", "5"), ("cfg_scale", "2"), ("flow_steps", "3"), ("flow_guidance", "2")];
/// The same for an option that is to win over [`OWN`].
const OTHER: [(&str, &str); 5] =
    [("temperature", "0.9"), ("top_k", "4"), ("cfg_scale", "1.25"), ("flow_steps", "2"), ("flow_guidance", "1.5")];

/// The smallest model, with these fields in its `gen_config.json`.
fn model_of(fields: &[(&str, &str)]) -> TempDir {
    let model = tiny_model();
    edit_json(&model.path().join("gen_config.json"), |config| {
        for (name, value) in fields {
            config[*name] = serde_json::from_str(value).expect("a number");
        }
    });
    model
}

fn options(of: &[(&str, &str)]) -> Vec<String> {
    of.iter().flat_map(|(name, value)| [format!("--{}", name.replace('_', "-")), (*value).to_owned()]).collect()
}

/// Runs a command that writes a song, and reads it.
fn song(command: &[&str], model: &TempDir, more: &[String], wav: &Path) -> Vec<f32> {
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let output = run(&[command, &["-q", "--force", "--model", text(model.path()), "-o", text(wav)], &more].concat());
    assert!(output.status.success(), "{command:?}: {}", complaint(&output));
    samples(wav)
}

#[test]
fn a_models_own_defaults_are_what_the_same_options_are_and_an_option_wins() {
    let (out, plain, own) = (folder(), model_of(&[]), model_of(&OWN));
    let wav = out.path().join("song.wav");
    let render = ["render", "--seed", "3", "--max-seconds", "2"];
    let [as_own, as_other] = [OWN, OTHER].map(|values| song(&render, &plain, &options(&values), &wav));
    assert!(as_own != as_other, "the options are heard, or comparing songs would say nothing");
    assert!(song(&render, &own, &[], &wav) == as_own, "nothing is asked for");
    assert!(song(&render, &own, &options(&OTHER), &wav) == as_other, "all is asked for");
    for missing in 0..OWN.len() {
        let mut asked = OTHER.to_vec();
        let left_out = asked.remove(missing);
        let mut all = OTHER;
        all[missing] = OWN[missing];
        let expected = song(&render, &plain, &options(&all), &wav);
        assert!(song(&render, &own, &options(&asked), &wav) == expected, "all but {left_out:?}");
    }
}

#[test]
fn a_saved_song_is_decoded_by_the_defaults_of_the_model_that_decodes_and_resumed_as_it_was_asked_for() {
    let (out, plain, own) = (folder(), model_of(&[]), model_of(&OWN));
    let [wav, codes] = ["song.wav", "song.codes"].map(|name| out.path().join(name));
    let render = ["render", "--seed", "3", "--max-seconds", "2", "--save-codes", text(&codes)];
    let sung = song(&render, &own, &options(&OTHER), &wav);
    let decode = ["decode", text(&codes)];
    let sound = options(&OWN[3..]);
    let by_own = song(&decode, &plain, &sound, &wav);
    assert!(by_own != sung, "the options of the sound are heard");
    assert!(song(&decode, &own, &[], &wav) == by_own, "decoded with nothing asked for");
    assert!(song(&decode, &own, &options(&OTHER[3..]), &wav) == sung, "decoded as it was");
    assert!(song(&["render", "--resume", text(&codes)], &own, &[], &wav) == sung, "resumed");
}

#[test]
fn inspect_says_the_defaults_of_a_model() {
    let model = model_of(&[("temperature", "0.7"), ("flow_guidance", "2")]);
    let said = |more: &[&str]| {
        let output = run(&[&["inspect", "--model", text(model.path())], more].concat());
        assert!(output.status.success(), "{}", complaint(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let report: Value = serde_json::from_str(&said(&["--json"])).expect("JSON");
    let own = json!({ "temperature": 0.7, "top_k": 50, "cfg_scale": 1.5, "flow_steps": 10, "flow_guidance": 2.0 });
    assert_eq!(report["defaults"], own);
    let line = "defaults: temperature 0.7, top_k 50, cfg_scale 1.5, flow_steps 10, flow_guidance 2.0";
    let text = said(&[]);
    assert!(text.lines().any(|said| said == line), "{text}");
}
