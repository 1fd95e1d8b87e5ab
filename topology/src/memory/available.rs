//! Available memory of the machine.

use super::MemorySize;

impl MemorySize {
    /// What Linux estimates that programs can be given without swapping (`MemAvailable` of `/proc/meminfo`); `None`
    /// where no such file is.
    pub fn available() -> Option<Self> {
        read(&std::fs::read_to_string("/proc/meminfo").ok()?)
    }
}

fn read(text: &str) -> Option<MemorySize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(MemorySize(kibibytes.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_read_and_what_is_none_is_not() {
        let text = "MemTotal:       24605264 kB\nMemFree: 1 kB\nMemAvailable:   23001234 kB\nBuffers: 2 kB\n";
        assert_eq!(read(text), Some(MemorySize(23_001_234 * 1024)));
        for text in ["", "MemAvailable: 5", "MemAvailable: x kB", "MemFree: 5 kB"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
