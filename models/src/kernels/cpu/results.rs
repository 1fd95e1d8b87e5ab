//! Results of a product: where its tasks write them, and what is done to them at last.

use std::{marker::PhantomData, ops::Range};

use super::{KernelSet, packed::PANEL, vector::for_each_set};

/// Operations fused behind a product, in this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProductEpilogue<'a> {
    /// A bias for each output is added.
    pub bias: Option<&'a [f32]>,
    /// Where they are not positive, they are multiplied by this: a parametric ReLU.
    pub slope: Option<f32>,
    /// These are added, one for each result.
    pub add: Option<&'a [f32]>,
}

/// The results \[rows, outputs\] of a product, shared by its tasks, which write disjoint ranges.
pub(super) struct Results<'a> {
    set: KernelSet,
    outputs: usize,
    finish: ProductEpilogue<'a>,
    out: *mut f32,
    numbers: PhantomData<&'a mut [f32]>,
}

// SAFETY: only tasks of one product share it, and their rows and columns are disjoint.
unsafe impl Send for Results<'_> {}
// SAFETY: as above.
unsafe impl Sync for Results<'_> {}

impl<'a> Results<'a> {
    /// Results in `out`, finished with the kernels of `set`.
    pub fn new(set: KernelSet, outputs: usize, finish: ProductEpilogue<'a>, out: &'a mut [f32]) -> Self {
        Self { set, outputs, finish, out: out.as_mut_ptr(), numbers: PhantomData }
    }

    /// Where the results of a row begin in a panel.
    ///
    /// # Safety
    /// Row and panel must be there.
    pub unsafe fn place(&self, row: usize, panel: usize) -> *mut f32 {
        // SAFETY: as the caller guarantees.
        unsafe { self.out.add(row * self.outputs + panel * PANEL) }
    }

    /// The results of a row in a range of panels.
    ///
    /// # Safety
    /// They must be there and the calling task's own, and no other reference to them may be there.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn row(&self, row: usize, panels: Range<usize>) -> &mut [f32] {
        let columns = panels.start * PANEL..self.outputs.min(panels.end * PANEL);
        // SAFETY: as the caller guarantees.
        unsafe { std::slice::from_raw_parts_mut(self.out.add(row * self.outputs + columns.start), columns.len()) }
    }

    /// Finishes the results of `rows` in `panels` panels from `first` on.
    ///
    /// # Safety
    /// As [`Results::row`], for each of the rows.
    pub unsafe fn finish(&self, rows: Range<usize>, first: usize, panels: usize) {
        let ProductEpilogue { bias, slope, add } = self.finish;
        if bias.is_none() && slope.is_none() && add.is_none() {
            return;
        }
        let columns = first * PANEL..self.outputs.min((first + panels) * PANEL);
        let bias = bias.map(|bias| &bias[columns.clone()]);
        let finish = |places: Range<usize>| {
            // SAFETY: these places are results of the caller's rows, and the references to the last ones are gone.
            let out = unsafe { std::slice::from_raw_parts_mut(self.out.add(places.start), places.len()) };
            finish_rows(self.set, out, columns.len(), bias, slope, add.map(|add| &add[places]));
        };
        if columns.len() == self.outputs {
            return finish(rows.start * self.outputs..rows.end * self.outputs); // rows follow each other
        }
        rows.for_each(|row| finish(row * self.outputs + columns.start..row * self.outputs + columns.end));
    }
}

for_each_set! {
    fn finish_rows<FMA>(out: &mut [f32], width: usize, bias: Option<&[f32]>, slope: Option<f32>, add: Option<&[f32]>) {
        if let Some(bias) = bias {
            for out in out.chunks_exact_mut(width) {
                out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        }
        if let Some(slope) = slope {
            out.iter_mut().for_each(|out| *out = if *out > 0.0 { *out } else { slope * *out });
        }
        if let Some(add) = add {
            out.iter_mut().zip(add).for_each(|(out, add)| *out += add);
        }
    }
}
