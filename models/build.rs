//! Compiles our kernels for NVIDIA GPUs to machine code, and to PTX, which the driver turns into that of any other GPU.
//! Nothing happens without the feature `cuda`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Kernels that a model is trained with, as PTX for the oldest GPUs that CUDA 13 knows.
const TRAINING: &str = "src/kernels/gpu/kernels.cu";
const OLDEST: &str = "compute_75";
/// Kernels that songs are made with, as machine code: those of the language model and those of the codec.
const KERNELS: [&str; 5] =
    ["lm/lm", "tensor_cores/rows", "tensor_cores/euler", "tensor_cores/attend", "tensor_cores/convolve"];
/// What they include.
const INCLUDED: [&str; 7] = [
    "lm/attention.cuh",
    "lm/common.cuh",
    "lm/draw.cuh",
    "lm/embed.cuh",
    "lm/product.cuh",
    "tensor_cores/span.cuh",
    "tensor_cores/split.cuh",
];
/// Compute capabilities that these are compiled for; the first (bf16 on tensor cores) and the last also as PTX, for those
/// between and behind them. From 9.0 on dependent kernels can overlap.
const CAPABILITIES: [&str; 6] = ["80", "86", "89", "90", "100", "120"];

fn main() {
    println!("cargo::rerun-if-changed={TRAINING}");
    let sources = KERNELS.iter().map(|kernels| format!("{kernels}.cu"));
    let read = sources.chain(INCLUDED.iter().map(|file| (*file).to_owned()));
    read.for_each(|file| println!("cargo::rerun-if-changed=src/kernels/gpu/{file}"));
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
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    compile(&compiler, TRAINING, &["-ptx".into(), "-arch".into(), OLDEST.into()], &folder.join("kernels.ptx"));
    let mut options = vec!["-fatbin".to_owned(), "--threads=2".to_owned()];
    let mut code = |arch: &str, code: String| options.push(format!("-gencode=arch=compute_{arch},code={code}"));
    CAPABILITIES.iter().for_each(|capability| code(capability, format!("sm_{capability}")));
    [CAPABILITIES[0], CAPABILITIES[3], CAPABILITIES[5]].iter().for_each(|ptx| code(ptx, format!("compute_{ptx}")));
    for kernels in KERNELS {
        let name = Path::new(kernels).with_extension("fatbin").file_name().map(PathBuf::from).unwrap_or_default();
        compile(&compiler, &format!("src/kernels/gpu/{kernels}.cu"), &options, &folder.join(name));
    }
}

fn compile(compiler: &Path, source: &str, options: &[String], target: &Path) {
    // `-fmad` is on by default, as candle's own kernels have it; no fast mathematics.
    let status =
        Command::new(compiler).args(["-O3", "-std=c++17"]).args(options).arg(source).arg("-o").arg(target).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} could not compile {source}: {status}", compiler.display()),
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
