//! Memory sizes as text: a number and a unit, such as 8GB, 11.5GiB, 900MB.

use std::{fmt, str::FromStr};

/// Units by their names, longest first where one ends like another.
const UNITS: [(&str, f64); 13] = [
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("b", 1.0),
    // As a shell's `ulimit` and `dd` have them, but read as the smaller of the two that may be meant.
    ("k", 1e3),
    ("m", 1e6),
    ("g", 1e9),
    ("t", 1e12),
];

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(pub u64);

impl FromStr for MemorySize {
    type Err = String;

    /// Reads a size as people write it.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("it must be a size above 0 with a unit, such as 8GB, 11.5GiB or 900MB, but is {text:?}");
        let lower = text.trim().to_ascii_lowercase();
        let unit = UNITS.into_iter().find_map(|(name, bytes)| Some((lower.strip_suffix(name)?, bytes)));
        let (number, unit) = unit.ok_or_else(refuse)?;
        // Only digits and a point: a number can also be read from "inf", "1e9" and "-1".
        let plain = number.trim_end();
        if !plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(refuse());
        }
        let bytes = plain.parse::<f64>().map_err(|_| refuse())? * unit;
        // 2⁶³ bytes are more than any machine has, and f64 rounds what is near 2⁶⁴ beyond it.
        if !(1.0..9.2e18).contains(&bytes) {
            return Err(refuse());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        if bytes >= 1e9 { write!(f, "{:.2} GB", bytes / 1e9) } else { write!(f, "{:.1} MB", bytes / 1e6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_a_unit_of_tens_or_of_twos() {
        for (text, bytes) in [
            ("8GB", 8_000_000_000),
            ("11.5GiB", 12_348_030_976),
            ("900MB", 900_000_000),
            ("900 mb", 900_000_000),
            ("1TiB", 1 << 40),
            ("512KiB", 1 << 19),
            ("4096B", 4096),
            (".5kB", 500),
            ("8G", 8_000_000_000),
            ("900 m", 900_000_000),
        ] {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_one_looks_like() {
        for text in
            ["", "8", "GB", "0GB", "0.1B", "-8GB", "8 GB B", "1e3MB", "infGB", "NaNGB", "8.5.1GB", "9999999999TB", "."]
        {
            let error = text.parse::<MemorySize>().expect_err(text);
            assert!(error.contains("such as 8GB") && error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
