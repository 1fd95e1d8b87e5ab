//! Fuzzes what [`bodies::wav`] reads.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code)] // each target uses its own
mod bodies;

libfuzzer_sys::fuzz_target!(init: bodies::begin(), |data: &[u8]| bodies::wav(data));
