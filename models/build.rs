//! Compiles our kernels for NVIDIA GPUs to PTX, which the driver turns into the machine code of the GPU that is there.
//! Nothing happens without the feature `cuda`.

use std::{env, path::PathBuf, process::Command};

/// The oldest GPUs that the kernels are for: compute capability 7.5, the oldest that CUDA 13 knows.
const ARCHITECTURE: &str = "compute_75";
const SOURCE: &str = "src/kernels/gpu/kernels.cu";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    placeholders();
    let home = ["CUDA_HOME", "CUDA_PATH"].iter().find_map(env::var_os);
    let beside = home.map(|home| PathBuf::from(home).join("bin").join("nvcc"));
    let compiler = env::var_os("NVCC").map(PathBuf::from).or(beside).unwrap_or_else(|| PathBuf::from("nvcc"));
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("kernels.ptx");
    // `-fmad` is on by default, as candle's own kernels have it; no fast mathematics.
    let arguments = ["-ptx", "-O3", "-std=c++17", "-arch", ARCHITECTURE, SOURCE, "-o"];
    let status = Command::new(&compiler).args(arguments).arg(&target).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} could not compile {SOURCE}: {status}", compiler.display()),
        Err(error) => panic!(
            "the feature `cuda` needs CUDA's compiler, and {} could not be started ({error}): set NVCC, CUDA_HOME or PATH",
            compiler.display()
        ),
    }
}

/// Gives the linker an empty archive for each of CUDA's libraries, as candle names them and this machine may lack them:
/// `src/kernels/gpu/lazy_link` defines their functions.
fn placeholders() {
    const EMPTY_ARCHIVE: &str = "!<arch>\n";
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("link");
    let write = |library: &str| std::fs::write(folder.join(format!("lib{library}.a")), EMPTY_ARCHIVE);
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        ["cuda", "cudart", "cublas", "cublasLt", "curand", "nvrtc"].iter().try_for_each(|library| write(library))
    });
    if let Err(error) = written {
        panic!("{} could not be written: {error}", folder.display());
    }
    println!("cargo::rustc-link-search=native={}", folder.display());
}
