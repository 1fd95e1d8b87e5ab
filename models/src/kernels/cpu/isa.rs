//! Instruction sets of the processor, and the kernel set that is used.

use std::{fmt, str::FromStr, sync::OnceLock};

use crate::error::{ModelError, Result};

/// The environment variable that forces a set: `portable`, `avx2`, `avx512`, `amx`, `amx-software`, `neon` or `neon-bf16`.
pub const VARIABLE: &str = "HEARTSTREAM_KERNELS";

/// A family of kernels for one kind of processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelSet {
    /// Plain Rust, for every processor.
    Portable,
    /// x86-64 with AVX2, FMA and F16C: most machines since 2013.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// x86-64 with AVX-512, and products in tiles of bf16 by AMX: Xeons since 2023.
    Amx,
    /// What [`KernelSet::Amx`] computes, on every processor: for its tests, and for its songs elsewhere. Slow.
    AmxInSoftware,
    /// ARM64; every such processor has it.
    Neon,
    /// ARM64, and products in tiles of bf16 by `bfmmla`: processors with ARMv8.6's bf16. Taken where it is asked for:
    /// it has run on an emulator only, which does not say whether it is faster.
    NeonBf16,
}

impl KernelSet {
    /// All sets, by preference: of those that run here, the last is used.
    pub const ALL: [Self; 7] =
        [Self::AmxInSoftware, Self::NeonBf16, Self::Portable, Self::Avx2, Self::Avx512, Self::Amx, Self::Neon];

    /// Whether this processor can run the set.
    pub fn runs_here(self) -> bool {
        match self {
            Self::Portable | Self::AmxInSoftware => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.runs_here()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512.runs_here() && super::bf16_tiles::is_permitted(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonBf16 => Self::Neon.runs_here() && std::arch::is_aarch64_feature_detected!("bf16"),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The sets that this processor can run.
    pub fn here() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.runs_here())
    }

    /// Those of them that differ in what no tile does, such as attention.
    #[cfg(test)]
    pub(in crate::kernels) fn vectors_here() -> impl Iterator<Item = Self> {
        Self::here().filter(|set| set.of_vectors() == *set)
    }

    /// The set whose vector instructions do what no tile does.
    pub fn of_vectors(self) -> Self {
        match self {
            Self::Amx => Self::Avx512,
            Self::NeonBf16 => Self::Neon,
            // All of these round alike.
            Self::AmxInSoftware => {
                [Self::Avx2, Self::Neon].into_iter().find(|set| set.runs_here()).unwrap_or(Self::Portable)
            }
            set => set,
        }
    }

    /// Whether products are made in tiles of bf16: what is below the normal numbers counts as zero there, and infinity
    /// times anything may be no number.
    #[cfg(test)]
    pub(super) fn is_of_tiles(self) -> bool {
        matches!(self, Self::Amx | Self::AmxInSoftware | Self::NeonBf16)
    }

    /// How much of a term a product of the set may leave out: rows and weights beyond their sixteen digits, 2^-17 each,
    /// and low parts times low parts, 2^-16.
    #[cfg(test)]
    pub(crate) fn left_out(self) -> f64 {
        if self.is_of_tiles() { 2f64.powi(-15) } else { 0.0 }
    }

    /// The kernel set of all products: the one that [`VARIABLE`] names, else the best that runs here. Looked up once; a
    /// value that cannot be had counts as none ([`KernelSet::check_variable`] says so in words).
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<KernelSet> = OnceLock::new();
        *CHOSEN.get_or_init(|| Self::from_variable().ok().flatten().unwrap_or_else(Self::best))
    }

    /// Checks the environment variable, for a program to call before it loads anything.
    ///
    /// # Errors
    /// When it names no set, or one that this processor cannot run.
    pub fn check_variable() -> Result<()> {
        Self::from_variable().map(|_| ())
    }

    fn best() -> Self {
        Self::here().last().unwrap_or(Self::Portable)
    }

    fn from_variable() -> Result<Option<Self>> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => name.to_string_lossy().parse::<Self>().map(Some),
            _ => Ok(None),
        }
    }
}

impl FromStr for KernelSet {
    type Err = ModelError;

    /// Reads a set by its name; refuses one that does not run here.
    fn from_str(name: &str) -> Result<Self> {
        let set = Self::ALL.into_iter().find(|set| set.to_string() == name);
        set.filter(|set| set.runs_here()).ok_or_else(|| {
            let here = Self::here().map(|set| set.to_string()).collect::<Vec<_>>().join(", ");
            ModelError::Option {
                option: VARIABLE,
                expected: format!("one that runs here: {here}"),
                found: name.to_owned(),
            }
        })
    }
}

impl fmt::Display for KernelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::AmxInSoftware => "amx-software",
            Self::Neon => "neon",
            Self::NeonBf16 => "neon-bf16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_had_by_its_name_when_the_processor_has_it_and_refused_in_words_when_not() {
        for set in KernelSet::ALL {
            match set.to_string().parse::<KernelSet>() {
                Ok(found) => assert!(found == set && set.runs_here()),
                Err(error) => assert!(!set.runs_here() && error.to_string().contains("portable"), "{error}"),
            }
        }
        assert!("sse".parse::<KernelSet>().is_err());
        assert!(KernelSet::best().runs_here());
    }
}
