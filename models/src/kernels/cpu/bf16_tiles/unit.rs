//! The unit that multiplies tiles: the processor's, or the same in software.

use super::{
    arrange::Order,
    parts::{PartTile, RowParts, SumTile},
    software,
};
use crate::kernels::cpu::KernelSet;

/// What multiplies tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels::cpu) enum Unit {
    /// The instructions of AMX.
    Amx,
    /// The same sums, number by number.
    Software,
    /// `bfmmla` of ARM64.
    Bfmmla,
}

/// Shapes of strips: row tiles and panels. The first is for one row tile and as many panels as there are tiles for, the
/// second for many of both; what is left of an odd number of row tiles has the third.
pub(super) const WIDE: [usize; 2] = [1, 4];
pub(super) const SQUARE: [usize; 2] = [2, 2];
pub(super) const LEFT: [usize; 2] = [1, 2];

/// The shape of a strip, for a group of `group` panels with `tiles` row tiles still to do.
pub(super) fn shape(group: usize, tiles: usize) -> [usize; 2] {
    match (group, tiles) {
        (4, _) => WIDE,
        (_, 1) => LEFT,
        _ => SQUARE,
    }
}

/// One or two tiles of rows times a group of panels over some steps.
///
/// Of each step and each weight, the low part of the weight is multiplied with the high part of the row, then high with
/// high, then high with low; low with low is left out. That order is the same in every shape.
pub(super) struct Strip<'a> {
    /// Row tiles and panels: one of the shapes.
    pub shape: [usize; 2],
    /// Of each row tile, the parts of all steps; of one tile, it is there twice.
    pub rows: [&'a [RowParts]; 2],
    /// How many rows are there; the others' sums are arbitrary.
    pub count: usize,
    /// \[step, part, panel\].
    pub weights: &'a [PartTile],
    /// Parts of a weight: 1 or 2, the high one first.
    pub parts: usize,
}

impl Strip<'_> {
    pub fn steps(&self) -> usize {
        self.rows[0].len()
    }
}

impl Unit {
    /// The unit of a kernel set that has one.
    pub fn of(set: KernelSet) -> Option<Self> {
        match set {
            KernelSet::Amx => Some(Self::Amx),
            KernelSet::AmxInSoftware => Some(Self::Software),
            KernelSet::NeonBf16 => Some(Self::Bfmmla),
            _ => None,
        }
    }

    /// The order in which it takes weights.
    pub(super) fn order(self) -> Order {
        match self {
            Self::Amx => Order::PairsInAvx512,
            Self::Software => Order::Pairs,
            Self::Bfmmla => Order::Fours,
        }
    }

    /// The unit, ready for the calling thread. Nothing that may go on with other work on this thread may be called
    /// before it is dropped.
    pub(super) fn ready(self) -> Ready {
        Ready {
            unit: self,
            #[cfg(target_arch = "x86_64")]
            _tiles: (self == Self::Amx).then(super::amx::Configured::new),
        }
    }
}

/// A unit that was made ready.
pub(super) struct Ready {
    unit: Unit,
    #[cfg(target_arch = "x86_64")]
    _tiles: Option<super::amx::Configured>,
}

impl Ready {
    /// Adds the products of a strip to `sums`, \[row tile, panel\].
    pub fn multiply(&self, strip: &Strip<'_>, sums: &mut [SumTile]) {
        let [tiles, panels] = strip.shape;
        assert!([WIDE, SQUARE, LEFT].contains(&strip.shape) && matches!(strip.parts, 1 | 2), "shape of a strip");
        assert!(sums.len() == tiles * panels && strip.rows[1].len() == strip.steps(), "rows of a strip");
        assert_eq!(strip.weights.len(), strip.steps() * strip.parts * panels, "weights of a strip");
        match self.unit {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: tiles are configured as long as `self` lives, and there is what the strip says.
            Unit::Amx => unsafe { super::amx::multiply(strip, sums) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the set runs here, as the product made sure.
            Unit::Bfmmla => unsafe { super::bfmmla::multiply(strip, sums) },
            _ => software::multiply(strip, sums),
        }
    }
}
