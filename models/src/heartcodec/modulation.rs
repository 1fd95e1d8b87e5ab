//! AdaLN modulation of the estimator: tables of shift, scale and gate for each Euler step.

use candle_core::{Device, Tensor};

use crate::error::{ModelError, Result};

/// Modulation of both stages.
#[derive(Debug, Clone)]
pub(super) struct Modulation(pub(super) [StageModulation; 2]);

/// Modulation of a stage.
#[derive(Debug, Clone)]
pub(super) struct StageModulation {
    /// Shift, scale and gate of attention, then of feed-forward, \[B, 6, D\] for each block.
    pub(super) blocks: Vec<Tensor>,
    /// Shift and scale behind the last block, \[B, 2, D\].
    pub(super) out: Tensor,
}

impl Modulation {
    /// The same on `device`.
    pub(super) fn on(self, device: &Device) -> Result<Self> {
        let there = |tensor: &Tensor| tensor.to_device(device);
        let stage = |StageModulation { blocks, out }: &StageModulation| {
            let blocks = blocks.iter().map(there).collect::<candle_core::Result<_>>()?;
            Ok::<_, ModelError>(StageModulation { blocks, out: there(out)? })
        };
        Ok(Self([stage(&self.0[0])?, stage(&self.0[1])?]))
    }

    #[cfg(feature = "cuda")]
    fn tables(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter().flat_map(|stage| stage.blocks.iter().chain([&stage.out]))
    }

    /// The numbers of each entry, one table after the other.
    ///
    /// # Shapes
    /// - result \[B, any\]
    ///
    /// # Errors
    /// When the device has no memory for them.
    #[cfg(feature = "cuda")]
    pub(super) fn numbers(&self) -> Result<Tensor> {
        let rows = self.tables().map(|table| table.flatten_from(1)).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&rows, 1)?.contiguous()?)
    }

    /// The same tables as views of `numbers`, one entry: writing there changes the modulation.
    ///
    /// # Shapes
    /// - `numbers` \[1, any\], as many as [`Modulation::numbers`] has of an entry
    ///
    /// # Errors
    /// When they are fewer.
    #[cfg(feature = "cuda")]
    pub(super) fn viewing(&self, numbers: &Tensor) -> Result<Self> {
        let mut place = 0;
        let mut view = |table: &Tensor| {
            let (_, rows, width) = table.dims3()?;
            let view = numbers.narrow(1, place, rows * width)?.reshape((1, rows, width))?;
            place += rows * width;
            Ok::<_, ModelError>(view)
        };
        let mut stage = |stage: &StageModulation| {
            let blocks = stage.blocks.iter().map(&mut view).collect::<Result<_>>()?;
            Ok::<_, ModelError>(StageModulation { blocks, out: view(&stage.out)? })
        };
        Ok(Self([stage(&self.0[0])?, stage(&self.0[1])?]))
    }
}
