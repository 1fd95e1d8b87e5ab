//! Promise: a tokenizer file on which its library would panic, abort, or never end is refused by its field, or what is
//! dangerous in it is switched off and said; `inspect` says so before a song does.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path};

use heartstream_models::{ModelDirectory, ModelError, TOKENIZER, text::PromptTokenizer, weights::Checkpoint};
use serde_json::{Value, json};
use support::{complaint, folder, program, text, tiny_model};

/// The tokenizer of the smallest model with `edit` applied, or why there is none.
fn edited(edit: impl Fn(&mut Value)) -> Result<PromptTokenizer, ModelError> {
    let model = tiny_model();
    support::edit_json(&model.path().join(TOKENIZER), edit);
    opened(model.path())
}

fn opened(model: &Path) -> Result<PromptTokenizer, ModelError> {
    ModelDirectory::open(Checkpoint::open(model).expect("a directory")).expect("configs").load_tokenizer()
}

fn refusal(edit: impl Fn(&mut Value)) -> String {
    edited(edit).map(drop).expect_err("it is hostile").to_string()
}

#[test]
fn parts_that_the_library_panics_on_are_refused_by_their_field() {
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let replace = |pattern: Value| json!({"type": "Replace", "pattern": pattern, "content": "x"});
    let nested = (0..10).fold(json!({"type": "NFC"}), |inner, _| json!({"type": "Sequence", "normalizers": [inner]}));
    let growing = json!({"type": "Sequence", "normalizers": vec![
        json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaa"}); 12]});
    for (part, value, field) in [
        ("normalizer", replace(json!({"String": ""})), "`normalizer.pattern.String`"),
        ("normalizer", replace(json!({"Regex": "^"})), "`normalizer.pattern.Regex`"),
        ("normalizer", replace(json!({"Regex": "a*"})), "`normalizer.pattern.Regex`"),
        ("normalizer", replace(json!({})), "`normalizer.pattern.Regex`"),
        ("normalizer", json!({"type": "Prepend", "prepend": ""}), "`normalizer.prepend`"),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "`normalizer.type`"),
        ("normalizer", json!({"type": "BrandNew"}), "`normalizer.type`"),
        ("normalizer", json!([1]), "`normalizer`"),
        ("normalizer", nested, "normalizers[0]."),
        ("normalizer", growing, "`normalizer.normalizers["),
        ("pre_tokenizer", split("(a+)+$"), "`pre_tokenizer.pattern.Regex`"),
        ("pre_tokenizer", split("(a|a)*b"), "`pre_tokenizer.pattern.Regex`"),
        ("pre_tokenizer", split("("), "`pre_tokenizer.pattern.Regex`"),
        ("pre_tokenizer", json!({"type": "BrandNewSplit", "x": 1}), "`pre_tokenizer.type`"),
        ("post_processor", json!({"type": "BrandNew"}), "`post_processor.type`"),
        (
            "post_processor",
            json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {},
                "single": [{"SpecialToken": {"id": "gone", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}),
            "`post_processor.single[0].SpecialToken.id`",
        ),
        (
            "post_processor",
            json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {}, "single": []}),
            "`post_processor.single`",
        ),
        ("added_tokens", json!([{"id": 5, "content": ""}]), "`added_tokens[0].content`"),
        ("added_tokens", json!([{"id": 250, "content": "<new>", "special": true}]), "`added_tokens`"),
    ] {
        let error = refusal(|tokenizer| tokenizer[part] = value.clone());
        assert!(
            error.contains(field) && error.contains(TOKENIZER) && error.contains("Restore"),
            "{part} {value}: {error}"
        );
    }
}

#[test]
fn a_model_whose_parts_do_not_fit_together_is_refused_by_its_field() {
    for (field, value, says) in [
        ("merges", json!([["a", "zz"]]), "`model.merges[0]`"),
        ("merges", json!([["aa"]]), "`model.merges`"),
        ("unk_token", json!("gone"), "`model.unk_token`"),
        ("continuing_subword_prefix", json!("##"), "`model.continuing_subword_prefix`"),
        ("vocab", json!([["a", 0.0]]), "`model.vocab`"),
        ("vocab", json!({"a": -1}), "`model.vocab`"),
        ("type", json!("WordPiece"), "`model.type`"),
    ] {
        let error = refusal(|tokenizer| tokenizer["model"][field] = value.clone());
        assert!(error.contains(says) && error.contains(TOKENIZER), "{field} {value}: {error}");
    }
    for (scores, says) in [
        (json!([["", 0.0]]), "`model.vocab`"),
        (json!([["a", 1e300]]), "`model.vocab[0]`"),
        (json!([]), "`model.vocab`"),
    ] {
        let error = refusal(|tokenizer| tokenizer["model"] = json!({"type": "Unigram", "unk_id": 0, "vocab": scores}));
        assert!(error.contains(says), "{scores}: {error}");
    }
}

#[test]
fn a_file_that_would_fill_the_memory_is_refused_while_it_is_read() {
    let pieces = vec![json!({"SpecialToken": {"id": "x", "type_id": 0}}); 100_000];
    let error = refusal(|tokenizer| {
        tokenizer["post_processor"] =
            json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {}, "single": pieces});
    });
    assert!(error.contains("`post_processor`") && error.contains("too many values"), "{error}");
    let error = refusal(|tokenizer| tokenizer["normalizer"] = json!("x".repeat(1 << 20)));
    assert!(error.len() < 1000, "{} bytes", error.len());
}

#[test]
fn what_makes_songs_differ_or_cuts_their_words_is_switched_off_and_said() {
    let plain = edited(|_| ()).expect("a tokenizer").prompt("piano,calm", "[Verse]\nla la la").expect("a prompt");
    for (path, value) in [
        ("/truncation", json!({"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0})),
        ("/truncation", json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 9})),
        (
            "/padding",
            json!({"strategy": {"Fixed": 100_000_000u64}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}),
        ),
        ("/padding", json!({"strategy": {"Fixed": 1u64 << 63}, "direction": "Right", "pad_id": 0, "pad_token": "x"})),
        ("/model/dropout", json!(0.5)),
    ] {
        let tokenizer = edited(|tokenizer| *tokenizer.pointer_mut(path).expect("a field") = value.clone());
        let tokenizer = tokenizer.expect("a tokenizer");
        let name = path.trim_start_matches('/').replace('/', ".");
        assert!(tokenizer.notes().iter().any(|note| note.contains(&name)), "{path}: {:?}", tokenizer.notes());
        for _ in 0..3 {
            assert_eq!(tokenizer.prompt("piano,calm", "[Verse]\nla la la").expect("a prompt").ids, plain.ids, "{path}");
        }
    }
}

#[test]
fn a_template_puts_its_ids_around_the_words() {
    let special = json!({"<b>": {"id": "<b>", "ids": [1], "tokens": ["<b>"]}, "<e>": {"id": "<e>", "ids": [2, 2], "tokens": ["a", "b"]}});
    let piece = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let tokenizer = edited(|tokenizer| {
        tokenizer["post_processor"] = json!({"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": true,
            "trim_offsets": false, "use_regex": true}, {"type": "TemplateProcessing", "pair": [], "special_tokens": special,
            "single": [piece("<b>"), {"Sequence": {"id": "A", "type_id": 0}}, piece("<e>")]}]});
    });
    let ids = tokenizer.expect("a tokenizer").prompt("x", "la").expect("a prompt").ids.lyrics;
    assert_eq!((ids[0], &ids[ids.len() - 2..]), (1, &[2, 2][..]));
    assert_eq!(ids.len(), 5, "{ids:?}: the template's begin and end are those of the prompt");
}

#[test]
fn any_bytes_are_a_tokenizer_or_refused_and_inspect_says_which() {
    let model = tiny_model();
    let place = folder();
    for (bytes, says) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"[..], "Git LFS"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}}", "tokenizer"),
        (b"[]", "no tokenizer"),
        (b"\x00\xff", "not text"),
    ] {
        fs::write(model.path().join(TOKENIZER), bytes).expect("a file");
        let output = program().args(["inspect", "--model", text(model.path())]).current_dir(place.path()).output();
        let output = output.expect("the program runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), complaint(&output));
        assert!(said.contains(says) && !said.contains("panicked"), "{says}: {said}");
    }
}

#[test]
fn words_that_no_model_has_room_for_are_refused_before_they_are_encoded() {
    let tokenizer = edited(|_| ()).expect("a tokenizer");
    let error = tokenizer.prompt("piano", &"la ".repeat(100_000)).expect_err("too long").to_string();
    assert!(error.contains("65536") && error.contains("Shorten"), "{error}");
}
