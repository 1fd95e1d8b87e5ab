//! Promise: a tokenizer keeps none of the words that it encoded, so a server does not grow with what people sing.
#![cfg(target_os = "linux")]

use std::path::Path;

use heartstream_models::{ModelDirectory, text::PromptTokenizer, weights::Checkpoint};

/// A tokenizer that writes letters.
const LETTERS: &str = r#"{
    "model": { "type": "BPE", "vocab": { "VOCABULARY": 0 }, "merges": [], "unk_token": "a" },
    "pre_tokenizer": { "type": "Whitespace" }
}"#;
/// The library of tokenizers would keep twenty times as much of nine thousand words.
const MOST_KIBIBYTES: u64 = 2048;

#[test]
fn memory_does_not_grow_with_the_words_that_are_encoded() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let checkpoint = Checkpoint::open(folder).expect("the demo model");
    let directory = ModelDirectory::open(checkpoint).expect("its configs");
    grows_with_no_words("Unigram", &directory.load_tokenizer().expect("its tokenizer"));

    let vocabulary = ('a'..='z').zip(0..).map(|(letter, id)| format!("\"{letter}\": {id}")).collect::<Vec<_>>();
    let letters = LETTERS.replace("\"VOCABULARY\": 0", &vocabulary.join(", "));
    let read = |bytes: &str| {
        PromptTokenizer::read(Path::new("letters"), bytes.as_bytes(), directory.ids, directory.lm.text_vocab_size)
    };
    grows_with_no_words("BPE", &read(&letters).expect("a tokenizer"));
}

fn grows_with_no_words(kind: &str, tokenizer: &PromptTokenizer) {
    let letter = |number: u32, place: u32| char::from(b'a' + (number.pow(2) >> (place % 23)) as u8 % 26);
    let word = |number: u32| (0..100).map(|place| letter(number, place)).collect::<String>();
    let words = |song: u32| (0..100).map(|place| word(song * 100 + place)).collect::<Vec<_>>().join(" ");
    let encode = |song| tokenizer.prompt("piano", &words(song)).expect("ids").ids.lyrics.len();
    (0..10).for_each(|song| assert!(encode(song) > 100));
    let before = resident();
    (10..100).for_each(|song| assert!(encode(song) > 100));
    let after = resident();
    assert!(after <= before + MOST_KIBIBYTES, "{kind}: {before} kB before, {after} kB after nine thousand other words");
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this test looks at Linux' own figures");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("resident memory")
}
