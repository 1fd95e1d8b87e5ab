//! AMX: permission to use it, the tiles' configuration, and the instructions.
//!
//! Stable Rust has no intrinsics for it, so they are written in assembly.

use std::{
    arch::{asm, x86_64::__cpuid_count},
    marker::PhantomData,
    sync::OnceLock,
};

use super::{
    parts::SumTile,
    unit::{LEFT, SQUARE, Strip, WIDE},
};

/// Whether the processor multiplies tiles of bf16 and the operating system lets this process do so. It is asked once.
pub(in crate::kernels::cpu) fn is_permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| has_tiles() && permission())
}

/// Bits of EDX of CPUID's leaf 7: bf16 products of tiles, and tiles.
const BF16: u32 = 1 << 22;
const TILE: u32 = 1 << 24;

fn has_tiles() -> bool {
    // The highest leaf is in EAX of leaf 0.
    __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).edx & (BF16 | TILE) == BF16 | TILE
}

/// Asks the kernel for the state of tiles, which each thread of the process may then have.
#[cfg(target_os = "linux")]
fn permission() -> bool {
    const ARCH_PRCTL: i64 = 158; // arch/x86/entry/syscalls/syscall_64.tbl
    const REQUEST: i64 = 0x1023; // ARCH_REQ_XCOMP_PERM, asm/prctl.h
    const TILE_DATA: i64 = 18; // XFEATURE_XTILEDATA, asm/fpu/types.h
    let mut answer = ARCH_PRCTL;
    // SAFETY: the call changes what instructions this process may use, and no memory.
    unsafe {
        asm!(
            "syscall", inlateout("rax") answer, in("rdi") REQUEST, in("rsi") TILE_DATA, lateout("rcx") _,
            lateout("r11") _, options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permission() -> bool {
    false
}

/// What `ldtilecfg` reads: palette 1, and for each of eight tiles the bytes of a row and the rows.
#[repr(C, align(64))]
struct Layout([u8; 64]);

static LAYOUT: Layout = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Layout(bytes)
};

/// The tiles of this thread, configured: eight of 16 rows of 64 bytes. They are released at its end.
pub(super) struct Configured(PhantomData<*mut ()>);

impl Configured {
    /// # Panics
    /// When this process may not use tiles.
    pub fn new() -> Self {
        assert!(is_permitted(), "tiles do not run here");
        // SAFETY: this process may, and 64 bytes are there. The compiler itself never uses tiles.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &LAYOUT, options(nostack, readonly, preserves_flags)) };
        Self(PhantomData)
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: tiles were configured, and hold nothing that is still needed.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// Multiplications and additions of one round of [`multiply_zeros`].
pub(in crate::kernels::cpu) const ROUND: usize = 4 * 2 * 16 * 16 * 32;

/// Multiplies tiles of zeros, four independent sums in a round: as fast as this core can.
pub(in crate::kernels::cpu) fn multiply_zeros(rounds: usize) {
    let _tiles = Configured::new();
    // SAFETY: tiles are configured, and no memory is touched.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds.max(1) => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, nomem),
        );
    }
}

/// Loads sums, goes through the steps, stores the sums: `tmm0` to `tmm3`. `one` and `two` are the rows of a step, `w` its
/// weights, of which there are `$size` bytes; `s` are the 64 bytes from line to line.
macro_rules! strip {
    ($strip:ident, $sums:ident, $size:literal, [$($load:literal)*], [$($step:literal)*], [$($store:literal)*]) => {
        asm!(
            $($load,)*
            "2:",
            $($step,)*
            "add {one}, 2048",
            "add {two}, 2048",
            "add {w}, {size}",
            "dec {steps}",
            "jnz 2b",
            $($store,)*
            sums = in(reg) $sums.as_mut_ptr(),
            s = in(reg) 64usize,
            one = inout(reg) $strip.rows[0].as_ptr() => _,
            two = inout(reg) $strip.rows[1].as_ptr() => _,
            w = inout(reg) $strip.weights.as_ptr() => _,
            steps = inout(reg) $strip.steps() => _,
            size = const $size,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// The same with four tiles of sums.
macro_rules! strip_of_four {
    ($strip:ident, $sums:ident, $size:literal, [$($step:literal)*]) => {
        strip!($strip, $sums, $size, [
            "tileloadd tmm0, [{sums} + {s}]"
            "tileloadd tmm1, [{sums} + {s} + 1024]"
            "tileloadd tmm2, [{sums} + {s} + 2048]"
            "tileloadd tmm3, [{sums} + {s} + 3072]"
        ], [$($step)*], [
            "tilestored [{sums} + {s}], tmm0"
            "tilestored [{sums} + {s} + 1024], tmm1"
            "tilestored [{sums} + {s} + 2048], tmm2"
            "tilestored [{sums} + {s} + 3072], tmm3"
        ])
    };
}

/// The same with two tiles of sums.
macro_rules! strip_of_two {
    ($strip:ident, $sums:ident, $size:literal, [$($step:literal)*]) => {
        strip!($strip, $sums, $size, [
            "tileloadd tmm0, [{sums} + {s}]"
            "tileloadd tmm1, [{sums} + {s} + 1024]"
        ], [$($step)*], [
            "tilestored [{sums} + {s}], tmm0"
            "tilestored [{sums} + {s} + 1024], tmm1"
        ])
    };
}

/// Adds the products of a strip to `sums`.
///
/// # Safety
/// Tiles must be configured on this thread. Of rows, weights and sums there must be what shape, steps and parts say,
/// and at least one step.
pub(super) unsafe fn multiply(strip: &Strip<'_>, sums: &mut [SumTile]) {
    // SAFETY: as the caller guarantees. Each instruction reads or writes 16 lines of 64 bytes of a tile that is there.
    unsafe {
        match (strip.shape, strip.parts) {
            (SQUARE, 1) => strip_of_four!(strip, sums, 2048, [
                "tileloadd tmm4, [{one} + {s}]"
                "tileloadd tmm5, [{two} + {s}]"
                "tileloadd tmm6, [{w} + {s}]"
                "tileloadd tmm7, [{w} + {s} + 1024]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tdpbf16ps tmm3, tmm5, tmm7"
                "tileloadd tmm4, [{one} + {s} + 1024]"
                "tileloadd tmm5, [{two} + {s} + 1024]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tdpbf16ps tmm3, tmm5, tmm7"
            ]),
            (SQUARE, 2) => strip_of_four!(strip, sums, 4096, [
                "tileloadd tmm4, [{one} + {s}]"
                "tileloadd tmm5, [{two} + {s}]"
                "tileloadd tmm6, [{w} + {s} + 2048]"
                "tileloadd tmm7, [{w} + {s} + 3072]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tdpbf16ps tmm3, tmm5, tmm7"
                "tileloadd tmm6, [{w} + {s}]"
                "tileloadd tmm7, [{w} + {s} + 1024]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tdpbf16ps tmm3, tmm5, tmm7"
                "tileloadd tmm4, [{one} + {s} + 1024]"
                "tileloadd tmm5, [{two} + {s} + 1024]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tdpbf16ps tmm3, tmm5, tmm7"
            ]),
            (WIDE, 1) => strip_of_four!(strip, sums, 4096, [
                "tileloadd tmm4, [{one} + {s}]"
                "tileloadd tmm5, [{one} + {s} + 1024]"
                "tileloadd tmm6, [{w} + {s}]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tileloadd tmm7, [{w} + {s} + 1024]"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tileloadd tmm6, [{w} + {s} + 2048]"
                "tdpbf16ps tmm2, tmm4, tmm6"
                "tileloadd tmm7, [{w} + {s} + 3072]"
                "tdpbf16ps tmm3, tmm4, tmm7"
                "tileloadd tmm6, [{w} + {s}]"
                "tdpbf16ps tmm0, tmm5, tmm6"
                "tileloadd tmm7, [{w} + {s} + 1024]"
                "tdpbf16ps tmm1, tmm5, tmm7"
                "tileloadd tmm6, [{w} + {s} + 2048]"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tileloadd tmm7, [{w} + {s} + 3072]"
                "tdpbf16ps tmm3, tmm5, tmm7"
            ]),
            (WIDE, 2) => strip_of_four!(strip, sums, 8192, [
                "tileloadd tmm4, [{one} + {s}]"
                "tileloadd tmm5, [{one} + {s} + 1024]"
                "tileloadd tmm6, [{w} + {s} + 4096]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tileloadd tmm7, [{w} + {s} + 5120]"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tileloadd tmm6, [{w} + {s} + 6144]"
                "tdpbf16ps tmm2, tmm4, tmm6"
                "tileloadd tmm7, [{w} + {s} + 7168]"
                "tdpbf16ps tmm3, tmm4, tmm7"
                "tileloadd tmm6, [{w} + {s}]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tileloadd tmm7, [{w} + {s} + 1024]"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tileloadd tmm6, [{w} + {s} + 2048]"
                "tdpbf16ps tmm2, tmm4, tmm6"
                "tileloadd tmm7, [{w} + {s} + 3072]"
                "tdpbf16ps tmm3, tmm4, tmm7"
                "tileloadd tmm6, [{w} + {s}]"
                "tdpbf16ps tmm0, tmm5, tmm6"
                "tileloadd tmm7, [{w} + {s} + 1024]"
                "tdpbf16ps tmm1, tmm5, tmm7"
                "tileloadd tmm6, [{w} + {s} + 2048]"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tileloadd tmm7, [{w} + {s} + 3072]"
                "tdpbf16ps tmm3, tmm5, tmm7"
            ]),
            (LEFT, 1) => strip_of_two!(strip, sums, 2048, [
                "tileloadd tmm4, [{one} + {s}]"
                "tileloadd tmm5, [{one} + {s} + 1024]"
                "tileloadd tmm6, [{w} + {s}]"
                "tileloadd tmm7, [{w} + {s} + 1024]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm0, tmm5, tmm6"
                "tdpbf16ps tmm1, tmm5, tmm7"
            ]),
            (LEFT, 2) => strip_of_two!(strip, sums, 4096, [
                "tileloadd tmm4, [{one} + {s}]"
                "tileloadd tmm5, [{one} + {s} + 1024]"
                "tileloadd tmm6, [{w} + {s} + 2048]"
                "tileloadd tmm7, [{w} + {s} + 3072]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tileloadd tmm6, [{w} + {s}]"
                "tileloadd tmm7, [{w} + {s} + 1024]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm0, tmm5, tmm6"
                "tdpbf16ps tmm1, tmm5, tmm7"
            ]),
            _ => unreachable!("no strip of {:?} and {} parts", strip.shape, strip.parts),
        }
    }
}
