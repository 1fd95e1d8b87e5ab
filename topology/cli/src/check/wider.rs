//! Wider dtypes: whether a half fails only because it was narrowed.

use candle_core::Device;
use heartstream::memory::MemorySize;
use heartstream_tools::golden::{Goldens, Half, Wider};

use crate::Failed;

/// What wider dtypes make of a half that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The half.
    pub half: Half,
    /// The options that hold it wider.
    pub add: String,
    /// What was found.
    pub found: Found,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// With these options every row of it is ok.
    Passes,
    /// With these options it fails as well.
    Fails,
    /// It was not compared once more, for this reason.
    NotTried(String),
}

/// Compares a half that failed once more with keys and values in f32, then with weights in f32, as long as it fails;
/// `None` where everything is held as wide as it is stored.
pub(super) fn verdict(goldens: &Goldens, half: Half, device: &Device) -> Result<Option<Verdict>, Failed> {
    let mut verdict = None;
    for (wider, goldens) in goldens.wider(half)? {
        let found = match too_large(goldens.dtypes(half)?.bytes, device) {
            Some(reason) => Found::NotTried(reason),
            None => match goldens.passes(half) {
                Ok(true) => Found::Passes,
                Ok(false) => Found::Fails,
                Err(error) => Found::NotTried(error.to_string()),
            },
        };
        let done = found != Found::Fails;
        verdict = Some(Verdict { half, add: options(half, wider), found });
        if done {
            break;
        }
    }
    Ok(verdict)
}

/// The reason why weights of `bytes` bytes are not loaded only to find out.
fn too_large(bytes: u64, device: &Device) -> Option<String> {
    // Nothing says how much a GPU still has; loading fails there if it is too little.
    let free = MemorySize::available().filter(|_| device.is_cpu())?;
    (bytes > free.0).then(|| format!("it takes {} and {free} are available", MemorySize(bytes)))
}

/// The options of this command that hold a half so.
fn options(half: Half, wider: Wider) -> String {
    let weights = match half {
        Half::LanguageModel => "--lm-weights f32",
        Half::Codec => "--codec-weights f32",
    };
    let all = [(wider.weights, weights), (wider.kv, "--kv f32")];
    all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, option)| option).collect::<Vec<_>>().join(" ")
}

impl Verdict {
    /// The verdict for people.
    pub fn sentence(&self) -> String {
        let Self { half, add, found } = self;
        match found {
            Found::Passes => {
                format!(
                    "the {half} fails only because it is held in narrower dtypes: with {add} all of it is ok. Add {add}"
                )
            }
            Found::Fails => {
                format!("the {half} fails in f32, too (tried with {add}): narrower dtypes are not the reason")
            }
            Found::NotTried(reason) => format!(
                "the {half} is held in narrower dtypes, which may be why it fails; that was not tried: {reason}. Add {add}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_those_that_hold_more_in_f32() {
        let options = |half, weights, kv| options(half, Wider { weights, kv });
        assert_eq!(options(Half::LanguageModel, true, false), "--lm-weights f32");
        assert_eq!(options(Half::LanguageModel, true, true), "--lm-weights f32 --kv f32");
        assert_eq!(options(Half::LanguageModel, false, true), "--kv f32");
        assert_eq!(options(Half::Codec, true, false), "--codec-weights f32");
    }

    #[test]
    fn what_no_machine_has_memory_for_is_not_tried() {
        if MemorySize::available().is_some() {
            assert!(too_large(u64::MAX, &Device::Cpu).is_some_and(|reason| reason.contains("are available")));
        }
        assert_eq!(too_large(1, &Device::Cpu), None);
    }
}
