//! Tile of a product: a few rows times one to four panels over one block of inputs.

use half::{bf16, f16};

use super::{
    KernelSet,
    lhs_packing::QUAD,
    packed::{PANEL, WeightDtype},
};

/// The dtypes as constants that a kernel is compiled for.
pub(super) mod dtype {
    pub const F32: u8 = 0;
    pub const F16: u8 = 1;
    pub const BF16: u8 = 2;

    /// Bytes of a number.
    pub const fn bytes(dtype: u8) -> usize {
        if dtype == F32 { 4 } else { 2 }
    }
}

/// Contiguous inputs of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Numbers from the row's beginning to the first of them.
    pub place: usize,
    /// How many there are: a multiple of [`QUAD`], but for the last run of a tile.
    pub inputs: usize,
}

/// Where a tile reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// The first row; of packed rows their first input.
    pub x: *const f32,
    /// Numbers from a row to the next; of no meaning for packed rows.
    pub x_stride: usize,
    /// Where the inputs of a row are, in their order; of no meaning for packed rows.
    pub runs: &'a [Run],
    /// First weight of the first panel at the first input.
    pub w: *const u8,
    /// Bytes from a panel to the next.
    pub w_stride: usize,
    /// Inputs: those of all runs.
    pub inputs: usize,
    /// First output of the first row.
    pub out: *mut f32,
    /// Numbers from a row of outputs to the next.
    pub out_stride: usize,
    /// Whether the product is added to what is there, or takes its place.
    pub add: bool,
}

/// The kernels of one set.
///
/// Each output's products are added in the order of the inputs, from zero, in one accumulator of its own, and only the
/// sum of the block is added to what was there. So results do not depend on the shape of a tile.
pub(super) struct Tiles {
    /// Rows (at most) and panels of the tiles for few rows, the fewest rows first: all rows in one tile, so that
    /// weights are read once, and as many panels as there are registers for.
    pub few: &'static [(usize, usize)],
    /// Rows (at most) and panels of the tile that computes most for what it loads.
    pub many: (usize, usize),
    /// Computes a tile of (dtype, rows, panels), which are at most those of `many` or of one of `few`.
    ///
    /// # Safety
    /// The set must run here. For every row, panel and input of the tile, the row's runs, `w` and `out` must be there to
    /// be read and (`out`) written, `PANEL` outputs for each panel, and no other thread may touch `out` meanwhile.
    pub compute: Compute,
    /// As `compute`, of rows that [`super::Rows::pack`] has laid out.
    ///
    /// # Safety
    /// As `compute`; `x` must be there as that writes it.
    pub packed: Compute,
    /// How weights of 16 bits are widened beforehand, and the inputs of a block up to which that is faster, for many
    /// rows, than widening in registers.
    pub widen: (Widen, usize),
}

/// Computes a tile of (dtype, rows, panels).
///
/// # Safety
/// That of the field of [`Tiles`] that it stands in.
pub(super) type Compute = unsafe fn(u8, usize, usize, &Tile<'_>);

/// Widens `PANEL · inputs` numbers of a 16-bit dtype: (dtype, from, to, inputs).
///
/// # Safety
/// The set must run here; these numbers must be there at both places.
pub(super) type Widen = unsafe fn(u8, *const u16, *mut f32, usize);

impl Tiles {
    /// Rows (at most) and panels of the tiles that a product of `rows` rows is made of.
    pub fn shape(&self, rows: usize) -> (usize, usize) {
        self.few.iter().copied().find(|few| rows <= few.0).unwrap_or(self.many)
    }

    /// The most rows that one tile takes.
    pub fn few_rows(&self) -> usize {
        self.few.last().map_or(0, |few| few.0)
    }
}

/// Where input `k` of a run lies in row `row` of a tile, whose first row has the run at `x`.
///
/// # Safety
/// It must be there.
#[inline(always)]
pub(super) unsafe fn left<const PACKED: bool, const R: usize>(
    x: *const f32,
    x_stride: usize,
    row: usize,
    k: usize,
) -> *const f32 {
    let place = if PACKED { k / QUAD * QUAD * R + row * QUAD + k % QUAD } else { row * x_stride + k };
    // SAFETY: as the caller guarantees.
    unsafe { x.add(place) }
}

/// The runs of a tile's rows: packed rows are one, which is put into `one`.
#[inline(always)]
pub(super) fn runs_of<'a, const PACKED: bool>(tile: &Tile<'a>, one: &'a mut [Run; 1]) -> &'a [Run] {
    if !PACKED {
        return tile.runs;
    }
    *one = [Run { place: 0, inputs: tile.inputs }];
    one
}

/// The kernels of `set`, which must run here.
pub(super) fn tiles(set: KernelSet) -> &'static Tiles {
    match set.of_vectors() {
        #[cfg(target_arch = "x86_64")]
        KernelSet::Avx2 => &super::tile_avx2::TILES,
        #[cfg(target_arch = "x86_64")]
        KernelSet::Avx512 => &super::tile_avx512::TILES,
        #[cfg(target_arch = "aarch64")]
        KernelSet::Neon => &super::tile_neon::TILES,
        _ => &PORTABLE,
    }
}

pub(super) fn dtype_code(dtype: WeightDtype) -> u8 {
    match dtype {
        WeightDtype::F32 => dtype::F32,
        WeightDtype::F16 => dtype::F16,
        WeightDtype::Bf16 => dtype::BF16,
    }
}

const PORTABLE: Tiles = Tiles {
    few: &[(4, 1)],
    many: (4, 1),
    compute: compute::<false>,
    packed: compute::<true>,
    widen: (widen, usize::MAX),
};

/// Calls `$kernel::<dtype, packed, rows, panels>($tile)` for the values that `$dtype`, `$rows` and `$panels` have, out
/// of those listed; every other one is a mistake of the caller.
macro_rules! tile_of {
    ($kernel:ident, $packed:ident, $tile:expr, $dtype:expr, $rows:expr, $panels:expr, { $($p:literal: $($r:literal)*;)* }) => {
        match ($dtype, $panels, $rows) {
            $($(
                ($crate::kernels::cpu::tile::dtype::F32, $p, $r) => {
                    $kernel::<{ $crate::kernels::cpu::tile::dtype::F32 }, $packed, $r, $p>($tile)
                }
                ($crate::kernels::cpu::tile::dtype::F16, $p, $r) => {
                    $kernel::<{ $crate::kernels::cpu::tile::dtype::F16 }, $packed, $r, $p>($tile)
                }
                ($crate::kernels::cpu::tile::dtype::BF16, $p, $r) => {
                    $kernel::<{ $crate::kernels::cpu::tile::dtype::BF16 }, $packed, $r, $p>($tile)
                }
            )*)*
            (dtype, panels, rows) => unreachable!("no tile of dtype {dtype}, {rows} rows and {panels} panels"),
        }
    };
}
pub(super) use tile_of;

/// # Safety
/// As [`Tiles::compute`].
unsafe fn compute<const PACKED: bool>(dtype: u8, rows: usize, panels: usize, tile: &Tile<'_>) {
    // SAFETY: the caller guarantees the places; portable code runs everywhere.
    unsafe { tile_of!(portable, PACKED, tile, dtype, rows, panels, { 1: 1 2 3 4; }) }
}

/// # Safety
/// As [`Tiles::compute`].
unsafe fn portable<const DTYPE: u8, const PACKED: bool, const R: usize, const P: usize>(tile: &Tile<'_>) {
    let mut sums = [[0f32; PANEL]; R];
    let mut w = tile.w;
    for run in runs_of::<PACKED>(tile, &mut [Run { place: 0, inputs: 0 }]) {
        for k in 0..run.inputs {
            // SAFETY: input k of the run is there in each row, and so are its weights.
            unsafe {
                let weights = match DTYPE {
                    dtype::F32 => *w.cast::<[f32; PANEL]>().add(k),
                    dtype::F16 => (*w.cast::<[u16; PANEL]>().add(k)).map(|bits| f16::from_bits(bits).to_f32()),
                    _ => (*w.cast::<[u16; PANEL]>().add(k)).map(|bits| f32::from_bits(u32::from(bits) << 16)),
                };
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = *left::<PACKED, R>(tile.x.add(run.place), tile.x_stride, row, k);
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
                }
            }
        }
        // SAFETY: as above.
        w = unsafe { w.add(run.inputs * PANEL * dtype::bytes(DTYPE)) };
    }
    for (row, sums) in sums.iter().enumerate() {
        for (column, sum) in sums.iter().enumerate() {
            // SAFETY: each row of the tile has a panel's outputs.
            unsafe {
                let out = tile.out.add(row * tile.out_stride + column);
                *out = if tile.add { *out + sum } else { *sum };
            }
        }
    }
}

/// # Safety
/// As [`Widen`].
unsafe fn widen(dtype: u8, from: *const u16, to: *mut f32, inputs: usize) {
    for place in 0..inputs * PANEL {
        // SAFETY: the caller guarantees these numbers at both places.
        unsafe {
            let bits = *from.add(place);
            *to.add(place) =
                if dtype == dtype::F16 { f16::from_bits(bits).to_f32() } else { bf16::from_bits(bits).to_f32() };
        }
    }
}
