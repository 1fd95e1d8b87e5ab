//! Mutations: a good file, damaged in a way that follows from a number.

use serde_json::{Map, Value, json};

/// Random numbers from a seed: SplitMix64, Steele et al., "Fast splittable pseudorandom number generators".
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// `good` with its bytes flipped, cut, moved, doubled or replaced.
pub fn bytes(good: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=rng.below(3) {
        if bytes.len() < 2 {
            break;
        }
        // Mostly near the beginning, where headers are.
        let near = if rng.below(2) == 0 { bytes.len() } else { bytes.len().min(1 << 12) };
        let (a, b) = (rng.below(near), rng.below(near));
        let (from, to) = (a.min(b), a.max(b));
        match rng.below(8) {
            0 => bytes[a] ^= 1 << rng.below(8),
            1 => bytes[a] = rng.next() as u8,
            2 => bytes.truncate(a),
            3 => drop(bytes.drain(from..to)),
            4 => {
                let part = bytes[from..to].to_vec();
                bytes.splice(a..a, part);
            }
            5 => bytes[a] = *rng.pick(b"0123456789,:[]{}\"-\\\n\x00\x1b\xff"),
            6 => {
                let parts: [&[u8]; 6] =
                    [b"99999999999999999999", b"-1", b"1e309", b"\xff\xfe", b"\x1b]0;x\x07", b"null"];
                let part = parts[rng.below(parts.len())];
                bytes.splice(a..a, part.iter().copied());
            }
            _ => {
                let length = 8.min(bytes.len());
                let number = *rng.pick(&[0, 1, 7, u64::MAX, 1 << 60, 1 << 32, bytes.len() as u64]);
                bytes[..length].copy_from_slice(&number.to_le_bytes()[..length]);
            }
        }
    }
    bytes
}

/// `good` with one to three of its parts replaced by values that hurt, or with fields that are new.
pub fn json(good: &Value, rng: &mut Rng) -> Value {
    let mut value = good.clone();
    for _ in 0..=rng.below(3) {
        let hurtful = hurtful(rng);
        replace(&mut value, hurtful, rng);
    }
    value
}

fn replace(value: &mut Value, new: Value, rng: &mut Rng) {
    let deeper = rng.below(5) > 0;
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let place = rng.below(fields.len());
            match rng.below(12) {
                0 => drop(fields.insert("new\u{1b}[2J".to_owned(), new)),
                1 => {
                    let name = fields.keys().nth(place).cloned().unwrap_or_default();
                    fields.remove(&name);
                }
                _ => replace(fields.values_mut().nth(place).expect("a field"), new, rng),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let place = rng.below(items.len());
            replace(&mut items[place], new, rng);
        }
        _ => *value = new,
    }
}

/// A value that hurts: numbers at the edges, long texts, deep nests, names of parts of tokenizers.
fn hurtful(rng: &mut Rng) -> Value {
    let small: Vec<Value> = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(2),
        json!(1e30),
        json!(u64::MAX),
        json!(1u64 << 63),
        json!(1 << 24),
        json!(0.5),
        json!(""),
        json!("^"),
        json!("(a+)+$"),
        json!("\u{1b}]0;title\u{7}"),
        json!([]),
        json!({}),
        json!([[1, 2], [3]]),
    ];
    match rng.below(24) {
        0 => json!("x".repeat(1 << 20)),
        1 => json!(vec![7; 1 << 12]),
        2 => (0..100).fold(json!(1), |inner, _| json!([inner])),
        3 => json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"}),
        4 => json!({"type": "Replace", "pattern": {"Regex": "^"}, "content": "x"}),
        5 => json!({"type": "Prepend", "prepend": ""}),
        6 => json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        7 => json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false}),
        8 => json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFKD"}); 30]}),
        9 => json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 9}),
        10 => {
            json!({"strategy": {"Fixed": 100_000_000u64}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "x"})
        }
        11 => json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {},
            "single": vec![json!({"SpecialToken": {"id": "x", "type_id": 0}}); 5000]}),
        12 => Value::Object((0..300).map(|place| (format!("f{place}"), json!(place))).collect::<Map<_, _>>()),
        _ => rng.pick(&small).clone(),
    }
}
