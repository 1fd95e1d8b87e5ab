//! Packed weights: panels in the order in which a product reads them.

use std::{fmt, ops::Range};

use half::{bf16, f16};
use rayon::prelude::*;

/// Outputs that lie side by side: one AVX-512 register, two of AVX2, four of NEON.
pub const PANEL: usize = 16;

/// Dtype of stored weights. Products accumulate in f32 whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightDtype {
    /// 4 bytes.
    F32,
    /// 2 bytes, 11 bits of precision: enough for a codec, whose weights are small.
    F16,
    /// 2 bytes, 8 bits of precision and the range of f32: what language models are trained in.
    Bf16,
}

impl WeightDtype {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for WeightDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// A row of a panel: one input's weights to [`PANEL`] outputs. The alignment keeps each in one cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Wide(pub [f32; PANEL]);

#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Narrow(pub [u16; PANEL]);

/// Rows of a panel.
#[derive(Clone, Copy)]
pub(super) enum PanelRows<'a> {
    Wide(&'a [Wide]),
    /// In f16.
    Half(&'a [Narrow]),
    /// In bf16.
    Brain(&'a [Narrow]),
}

enum PanelData {
    Wide(Vec<Wide>),
    Narrow(Vec<Narrow>),
}

/// A weight matrix \[outputs, inputs\] as panels of [`PANEL`] outputs. In a panel the inputs follow each other, each
/// with its weights to the panel's outputs; the last panel is filled up with zeros.
pub struct Packed {
    outputs: usize,
    inputs: usize,
    dtype: WeightDtype,
    numbers: PanelData,
}

impl Packed {
    /// Packs a matrix whose row `output` (its weights to all inputs) is written by `read` into the slice given to it.
    /// Rows are read in parallel, once each.
    pub fn new(outputs: usize, inputs: usize, dtype: WeightDtype, read: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let panels = outputs.div_ceil(PANEL);
        let rows = |panel: usize| {
            let mut rows = vec![0f32; PANEL.min(outputs - panel * PANEL) * inputs];
            rows.chunks_exact_mut(inputs.max(1)).enumerate().for_each(|(row, to)| read(panel * PANEL + row, to));
            rows
        };
        let numbers = match dtype {
            WeightDtype::F32 => {
                let mut numbers = vec![Wide([0.0; PANEL]); panels * inputs];
                numbers.par_chunks_mut(inputs.max(1)).enumerate().for_each(|(panel, to)| {
                    for (column, row) in rows(panel).chunks_exact(inputs).enumerate() {
                        to.iter_mut().zip(row).for_each(|(to, number)| to.0[column] = *number);
                    }
                });
                PanelData::Wide(numbers)
            }
            WeightDtype::F16 | WeightDtype::Bf16 => {
                let narrow = |number: f32| match dtype {
                    WeightDtype::F16 => f16::from_f32(number).to_bits(),
                    _ => bf16::from_f32(number).to_bits(),
                };
                let mut numbers = vec![Narrow([0; PANEL]); panels * inputs];
                numbers.par_chunks_mut(inputs.max(1)).enumerate().for_each(|(panel, to)| {
                    for (column, row) in rows(panel).chunks_exact(inputs).enumerate() {
                        to.iter_mut().zip(row).for_each(|(to, number)| to.0[column] = narrow(*number));
                    }
                });
                PanelData::Narrow(numbers)
            }
        };
        Self { outputs, inputs, dtype, numbers }
    }

    /// Rows of the matrix.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the matrix.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Its dtype.
    pub fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    /// Bytes that the panels take.
    pub fn bytes(&self) -> usize {
        self.panels() * self.panel_bytes()
    }

    /// The weights of a panel to `inputs`, an input a row.
    pub(super) fn panel_rows(&self, panel: usize, inputs: Range<usize>) -> PanelRows<'_> {
        let place = panel * self.inputs + inputs.start..panel * self.inputs + inputs.end;
        match (&self.numbers, self.dtype) {
            (PanelData::Wide(numbers), _) => PanelRows::Wide(&numbers[place]),
            (PanelData::Narrow(numbers), WeightDtype::F16) => PanelRows::Half(&numbers[place]),
            (PanelData::Narrow(numbers), _) => PanelRows::Brain(&numbers[place]),
        }
    }

    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    pub(super) fn panel_bytes(&self) -> usize {
        self.inputs * PANEL * self.dtype.bytes()
    }

    /// The first byte of all panels: [`Packed::bytes`] bytes that live as long as `self`.
    pub(super) fn as_ptr(&self) -> *const u8 {
        match &self.numbers {
            PanelData::Wide(numbers) => numbers.as_ptr().cast(),
            PanelData::Narrow(numbers) => numbers.as_ptr().cast(),
        }
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed [{}, {}] {}", self.outputs, self.inputs, self.dtype)
    }
}
