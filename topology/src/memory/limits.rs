//! Memory limits: of the machine and of each GPU.

use std::{fmt, str::FromStr};

use heartstream_models::{DeviceName, Devices, ModelError};

use super::{MemoryPlan, MemorySize};

/// The most bytes that may be taken: of each device's memory, and of single ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryLimits {
    each: Option<MemorySize>,
    of: Vec<(DeviceName, MemorySize)>,
}

impl From<MemorySize> for MemoryLimits {
    /// The same limit for the machine and for each GPU.
    fn from(each: MemorySize) -> Self {
        Self { each: Some(each), of: Vec::new() }
    }
}

impl MemoryLimits {
    /// What may be taken of the memory of `device`, the processor's being the machine's; `None` where nothing limits
    /// it.
    pub fn of(&self, device: DeviceName) -> Option<MemorySize> {
        let own = self.of.iter().find(|(name, _)| *name == device).map(|(_, limit)| *limit);
        own.or(self.each)
    }

    /// The same, where of each GPU no more may be taken than is free.
    ///
    /// # Errors
    /// When a GPU does not open.
    pub fn or_what_is_free(mut self, devices: Devices) -> Result<Self, ModelError> {
        for gpu in devices.gpus() {
            if let Some(free) = gpu.free_memory()? {
                // What the context of this program has taken to look is part of what is estimated.
                let free = free + MemoryPlan::CUDA_CONTEXT;
                let limit = self.of(gpu).map_or(free, |limit| limit.0.min(free));
                self.of.retain(|(name, _)| *name != gpu);
                self.of.push((gpu, MemorySize(limit)));
            }
        }
        Ok(self)
    }
}

impl FromStr for MemoryLimits {
    type Err = String;

    /// Reads a size, or sizes of devices, or both: `8GB`, `cuda:0=8GB`, `16GB,cuda:0=8GB`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        for part in text.split(',') {
            let twice = |what: String| format!("it has two sizes for {what}");
            match part.split_once('=') {
                None if limits.each.is_some() => return Err(twice("each device".to_owned())),
                None => limits.each = Some(part.parse()?),
                Some((device, size)) => {
                    let device = device.trim().parse()?;
                    if limits.of.iter().any(|(name, _)| *name == device) {
                        return Err(twice(device.to_string()));
                    }
                    limits.of.push((device, size.parse()?));
                }
            }
        }
        Ok(limits)
    }
}

impl fmt::Display for MemoryLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.each.iter().map(MemorySize::to_string);
        let of = self.of.iter().map(|(device, limit)| format!("{device}={limit}"));
        f.write_str(&each.chain(of).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_of_each_device_or_of_single_ones() {
        let limits: MemoryLimits = "16GB,cuda:1=8GB".parse().expect("limits");
        assert_eq!(limits.of(DeviceName::Cpu), Some(MemorySize(16_000_000_000)));
        assert_eq!(limits.of(DeviceName::Cuda(0)), Some(MemorySize(16_000_000_000)));
        assert_eq!(limits.of(DeviceName::Cuda(1)), Some(MemorySize(8_000_000_000)));
        let limits: MemoryLimits = "cuda:0=900MB".parse().expect("limits");
        assert_eq!((limits.of(DeviceName::Cpu), limits.of(DeviceName::Cuda(0))), (None, Some(MemorySize(900_000_000))));
        assert_eq!(limits.to_string(), "cuda:0=900.0 MB");
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in ["", "8", "gpu=8GB", "cuda:0=", "cuda:0=8GB,cuda:0=9GB", "8GB,9GB", "8GB,"] {
            assert!(text.parse::<MemoryLimits>().is_err(), "{text}");
        }
    }
}
