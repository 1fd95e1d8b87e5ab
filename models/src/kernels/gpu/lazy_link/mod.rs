//! CUDA's libraries, opened at the first call instead of at the program's start.
//!
//! candle links `libcuda`, `libcublas` and their like by name, so a program built with CUDA would not start where one of
//! them is missing. This module defines their functions itself, each as a trampoline: the first call opens the library and
//! looks the function up, every call jumps to what was found. A linker takes the first definition it sees and drops the
//! shared libraries, as nothing needs them any more. Where a library is missing its functions return an error code, so
//! [`crate::device::DeviceName::open`] reports a missing driver like any other refusal.
//!
//! The CUDA runtime (`libcudart`) is never opened: only candle's kernels for quantised weights use it, and nothing here
//! calls those. Its functions only fail.

mod names;
mod trampoline;

use std::{
    ffi::CStr,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use libloading::Library;

/// Error codes that stand for a missing library: `CUDA_ERROR_NO_DEVICE`, `CUBLAS_STATUS_NOT_INITIALIZED`,
/// `CURAND_STATUS_INITIALIZATION_FAILED`, `NVRTC_ERROR_INTERNAL_ERROR`.
const NO_DEVICE: i32 = 100;
const CUBLAS_NOT_INITIALIZED: i32 = 1;
const CURAND_NOT_INITIALIZED: i32 = 203;
const NVRTC_INTERNAL: i32 = 11;

static DRIVER: Lazy = Lazy::new(&["libcuda.so.1"], missing::<NO_DEVICE>);
static CUBLAS: Lazy = Lazy::new(&["libcublas.so.13", "libcublas.so.12"], missing::<CUBLAS_NOT_INITIALIZED>);
static CUBLAS_LT: Lazy = Lazy::new(&["libcublasLt.so.13", "libcublasLt.so.12"], missing::<CUBLAS_NOT_INITIALIZED>);
static CURAND: Lazy = Lazy::new(&["libcurand.so.10"], missing::<CURAND_NOT_INITIALIZED>);
static NVRTC: Lazy = Lazy::new(&["libnvrtc.so.13", "libnvrtc.so.12"], missing::<NVRTC_INTERNAL>);
static RUNTIME: Lazy = Lazy::new(&[], missing::<NO_DEVICE>);

/// The libraries that a GPU needs and this machine lacks, by the names they were looked for under.
pub fn missing_libraries() -> Vec<&'static str> {
    let needed = [&DRIVER, &CUBLAS, &CUBLAS_LT, &CURAND];
    needed
        .into_iter()
        .filter(|library| library.open().is_none())
        .filter_map(|library| library.files.first().copied())
        .collect()
}

/// A shared library that is opened when it is first needed.
struct Lazy {
    /// File names, tried one after the other.
    files: &'static [&'static str],
    /// What stands for a function that is not there.
    missing: extern "C" fn() -> i32,
    opened: OnceLock<Option<Library>>,
}

impl Lazy {
    const fn new(files: &'static [&'static str], missing: extern "C" fn() -> i32) -> Self {
        Self { files, missing, opened: OnceLock::new() }
    }

    fn open(&self) -> Option<&Library> {
        // SAFETY: these are NVIDIA's libraries, whose initialisers have no conditions.
        let open = || self.files.iter().find_map(|file| unsafe { Library::new(*file) }.ok());
        self.opened.get_or_init(open).as_ref()
    }
}

/// One function of a library.
#[repr(C)]
struct Entry {
    /// Where the function is; 0 before the first call. First in memory: the trampolines read it.
    address: AtomicUsize,
    library: &'static Lazy,
    name: &'static CStr,
}

impl Entry {
    const fn new(library: &'static Lazy, name: &'static CStr) -> Self {
        Self { address: AtomicUsize::new(0), library, name }
    }

    /// Looks the function up, and keeps its address.
    extern "C" fn resolve(&self) -> usize {
        // SAFETY: the symbol is taken as an address only; the trampoline's caller knows the signature.
        let found = self
            .library
            .open()
            .and_then(|library| unsafe { library.get::<*const ()>(self.name.to_bytes_with_nul()) }.ok());
        let address = found.map_or(self.library.missing as usize, |symbol| *symbol as usize);
        self.address.store(address, Ordering::Release);
        address
    }
}

/// What is called instead of a function that is not there.
extern "C" fn missing<const CODE: i32>() -> i32 {
    CODE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_a_missing_library_return_its_error_code_at_every_call() {
        static NOWHERE: Lazy = Lazy::new(&["libheartstream-has-no-such-library.so"], missing::<NO_DEVICE>);
        static ENTRY: Entry = Entry::new(&NOWHERE, c"cuInit");
        assert!(NOWHERE.open().is_none());
        let address = ENTRY.resolve();
        let expected = missing::<NO_DEVICE> as *const () as usize;
        assert_eq!((address, ENTRY.address.load(Ordering::Acquire)), (expected, address));
        assert_eq!(missing::<NO_DEVICE>(), 100);
    }

    #[test]
    fn a_missing_library_is_named_by_its_file() {
        for library in missing_libraries() {
            assert!(library.starts_with("libcu") && library.contains(".so."), "{library}");
        }
    }
}
