//! Promise: a tokenizer of the published shape and size (Llama 3's: 128 000 tokens written as bytes, 280 147 merges, 256
//! special tokens, `ignore_merges`) loads within the memory of a laptop and loses no letter; what is missing is named.

use std::{collections::HashMap, path::Path};

use heartstream_models::{
    ModelError,
    heartmula::SpecialIds,
    text::{Prompt, PromptTokenizer},
};
use serde_json::{Value, json};

/// Tokens of the published vocabulary before the special ones.
const TOKENS: usize = 128_000;
/// Special tokens.
const SPECIAL: usize = 256;
/// Merges of the published file.
const MERGES: usize = 280_147;
/// A token that no merges lead to: it is written only where whole words of the vocabulary are.
const WHOLE: &str = "Ġlullabies";
/// How a text is split before it is encoded, as the published file has it.
const SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Letters of the made-up tokens, the frequent ones first; `Ġ` stands for a space.
const LETTERS: &str = "Ġetaoinshrdlucmfwygpbvkxqjz";

/// The letter that stands for each byte: those that can be seen stand for themselves, the others follow from 256 on.
fn letters_of_bytes() -> Vec<char> {
    let seen = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut unseen = 256..;
    (0..256)
        .map(|byte| if seen(&byte) { byte } else { unseen.next().unwrap_or(0) })
        .filter_map(char::from_u32)
        .collect()
}

/// Made-up words of two to four letters, the vocabulary; and each way in which two tokens of it make a third, the merges.
fn published() -> Value {
    let mut tokens: Vec<String> = letters_of_bytes().into_iter().map(String::from).collect();
    let letters: Vec<String> = LETTERS.chars().map(String::from).collect();
    let mut shorter = letters.clone();
    while tokens.len() < TOKENS - 1 {
        let room = TOKENS - 1 - tokens.len();
        shorter = shorter
            .iter()
            .flat_map(|token| letters[1..].iter().map(move |letter| format!("{token}{letter}")))
            .collect();
        shorter.truncate(room);
        tokens.extend(shorter.iter().cloned());
    }
    tokens.push(WHOLE.to_owned());
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (&token[..], id)).collect();
    let splits = |token: &String| -> Vec<Value> {
        let places = token.char_indices().skip(1).map(|(place, _)| token.split_at(place));
        places
            .filter(|(a, b)| ids.contains_key(a) && ids.contains_key(b))
            .map(|(a, b)| json!(format!("{a} {b}")))
            .collect()
    };
    let merges: Vec<Value> = tokens[256..TOKENS - 1].iter().flat_map(splits).take(MERGES).collect();
    assert_eq!((tokens.len(), merges.len()), (TOKENS, MERGES));
    let special = |place: usize| {
        let content = ["<|begin_of_text|>".to_owned(), "<|end_of_text|>".to_owned()].into_iter().nth(place);
        let content = content.unwrap_or_else(|| format!("<|reserved_special_token_{place}|>"));
        json!({"id": TOKENS + place, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let byte_level = |space: bool, trim: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": trim, "use_regex": regex});
    let single =
        json!([{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0..SPECIAL).map(special).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": false},
            byte_level(false, true, false),
        ]},
        "post_processor": {"type": "Sequence", "processors": [
            byte_level(true, false, true),
            {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": {
                "<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [TOKENS], "tokens": ["<|begin_of_text|>"]}}},
        ]},
        "decoder": byte_level(true, true, true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
            "vocab": ids, "merges": merges,
        },
    })
}

fn read(file: &Value) -> Result<PromptTokenizer, ModelError> {
    let ids = SpecialIds { text_bos: TOKENS as u32, text_eos: TOKENS as u32 + 1, audio_eos: 8193 };
    PromptTokenizer::read(Path::new("tokenizer.json"), file.to_string().as_bytes(), ids, TOKENS + SPECIAL)
}

/// The text that the ids of the lyrics stand for, without those that begin and end it.
fn written(file: &Value, prompt: &Prompt) -> String {
    let vocabulary = file["model"]["vocab"].as_object().expect("a vocabulary");
    let tokens: HashMap<u64, &str> =
        vocabulary.iter().map(|(token, id)| (id.as_u64().expect("an id"), &token[..])).collect();
    let bytes: HashMap<char, u8> = letters_of_bytes().into_iter().zip(0..=255).collect();
    let [bos, ids @ .., eos] = &prompt.ids.lyrics[..] else { panic!("{:?}", prompt.ids.lyrics) };
    assert_eq!((*bos, *eos), (TOKENS as u32, TOKENS as u32 + 1));
    let bytes = ids.iter().flat_map(|id| tokens[&u64::from(*id)].chars()).map(|letter| bytes[&letter]);
    String::from_utf8(bytes.collect()).expect("the bytes of a text")
}

#[test]
fn the_published_tokenizer_loads_within_a_laptops_memory_and_loses_no_letter() {
    let file = published();
    #[cfg(target_os = "linux")]
    let before = resident("VmRSS:");
    let tokenizer = read(&file).expect("the published shape");
    #[cfg(target_os = "linux")]
    assert!(resident("VmHWM:") < before + (400 << 20), "{} MB more", (resident("VmHWM:") - before) >> 20);
    let whole = file["model"]["vocab"][WHOLE].as_u64().expect("an id") as u32;
    for lyrics in [
        "[Verse]\nThe sun sings lullabies, 12345 of them\nfür élise – 夜曲 🎵 don't\n\n[Outro]\n  la  la",
        &"the rain in the lane again lullabies ".repeat(1500),
    ] {
        let prompt = tokenizer.prompt("piano,calm", lyrics).expect("ids");
        assert_eq!(written(&file, &prompt), prompt.lyrics);
        assert!(prompt.ids.lyrics.contains(&whole), "whole words of the vocabulary are one id");
    }
}

#[test]
fn what_is_missing_in_it_is_named() {
    let mut file = published();
    file["model"]["merges"].as_array_mut().expect("merges").truncate(1000);
    let without = |edit: &dyn Fn(&mut Value)| {
        let mut edited = file.clone();
        edit(&mut edited);
        read(&edited).map(drop).expect_err("something is missing").to_string()
    };
    let removed = |json: &mut Value, name: &str| drop(json.as_object_mut().map(|fields| fields.remove(name)));
    for (error, says) in [
        (without(&|file| removed(file, "model")), "`model`"),
        (without(&|file| removed(&mut file["model"], "vocab")), "`model.vocab`"),
        (without(&|file| removed(&mut file["model"], "merges")), "`model.merges`"),
        (without(&|file| removed(file, "pre_tokenizer")), "`pre_tokenizer`"),
        (without(&|file| removed(&mut file["pre_tokenizer"]["pretokenizers"][0], "pattern")), "pattern"),
        (without(&|file| removed(&mut file["model"]["vocab"], "Ċ")), "`model.vocab`"),
        (without(&|file| removed(&mut file["added_tokens"][3], "id")), "added_tokens[3]"),
        (without(&|file| drop(file["added_tokens"].as_array_mut().map(|tokens| tokens.remove(0)))), "added_tokens"),
    ] {
        assert!(error.contains(says) && error.contains("tokenizer.json"), "{says}: {error}");
    }
}

/// Memory of this process, in bytes, by its name in Linux' own figures.
#[cfg(target_os = "linux")]
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux' figures");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a figure of this name");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") << 10
}
