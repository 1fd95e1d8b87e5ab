//! The machine code of a trampoline: a jump to a function whose address is looked up at the first call.
//!
//! A trampoline does not know its function's arguments, so it changes none of the registers that hold arguments, nor the
//! stack. Before the first call it saves them all, as the ABI of each architecture lists them.

/// Defines functions of a library under their own names, each a trampoline to the library's function.
macro_rules! entry_points {
    ($library:ident, $($name:ident)*) => {$(
        mod $name {
            use crate::kernels::gpu::lazy_link::Entry;
            use std::ffi::CStr;

            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            };
            pub static ENTRY: Entry = Entry::new(&crate::kernels::gpu::lazy_link::$library, NAME);
        }

        // SAFETY: the only definition of this C function in the program; it hands every call on unchanged.
        // The crate's own tests are linked with the crate itself, which the tools bring along: that one defines it there.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[cfg_attr(test, allow(dead_code, reason = "called by the name that it has outside tests"))]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                "lea r11, [rip + {entry}]",
                "cmp qword ptr [r11], 0",
                "je 2f",
                "jmp qword ptr [r11]",
                "2: jmp {first_call}",
                entry = sym $name::ENTRY,
                first_call = sym super::trampoline::first_call,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                "adrp x17, {entry}",
                "add x17, x17, :lo12:{entry}",
                "ldr x16, [x17]",
                "cbz x16, 2f",
                "br x16",
                "2: b {first_call}",
                entry = sym $name::ENTRY,
                first_call = sym super::trampoline::first_call,
            );
        }
    )*};
}
pub(super) use entry_points;

/// Looks up the entry whose address is in r11 with every argument saved, then jumps to what was found.
///
/// # Safety
/// Only the trampolines jump here.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn first_call() {
    core::arch::naked_asm!(
        // Arguments in general registers (System V ABI); rax counts the vector registers of a variadic call. Seven
        // pushes behind the return address leave the stack aligned to 16 bytes.
        "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
        "sub rsp, 128",
        "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
        "mov rdi, r11",
        "call {resolve}",
        "mov r11, rax",
        "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
        "add rsp, 128",
        "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
        "jmp r11",
        resolve = sym super::Entry::resolve,
    )
}

/// Looks up the entry whose address is in x17 with every argument saved, then jumps to what was found.
///
/// # Safety
/// Only the trampolines jump here.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn first_call() {
    core::arch::naked_asm!(
        // Arguments in general and vector registers (AAPCS64), the address of a returned structure in x8, and the frame.
        "sub sp, sp, 224",
        "stp x0, x1, [sp]", "stp x2, x3, [sp, 16]", "stp x4, x5, [sp, 32]", "stp x6, x7, [sp, 48]",
        "stp x8, x30, [sp, 64]", "str x29, [sp, 80]",
        "stp q0, q1, [sp, 96]", "stp q2, q3, [sp, 128]", "stp q4, q5, [sp, 160]", "stp q6, q7, [sp, 192]",
        "mov x0, x17",
        "bl {resolve}",
        "mov x16, x0",
        "ldp q0, q1, [sp, 96]", "ldp q2, q3, [sp, 128]", "ldp q4, q5, [sp, 160]", "ldp q6, q7, [sp, 192]",
        "ldr x29, [sp, 80]", "ldp x8, x30, [sp, 64]",
        "ldp x0, x1, [sp]", "ldp x2, x3, [sp, 16]", "ldp x4, x5, [sp, 32]", "ldp x6, x7, [sp, 48]",
        "add sp, sp, 224",
        "br x16",
        resolve = sym super::Entry::resolve,
    )
}
