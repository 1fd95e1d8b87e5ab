//! Limits of this machine: memory bandwidth and arithmetic throughput, one of which bounds every stage.

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    time::Instant,
};

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::bf16_tiles;
use super::{KernelSet, vector::for_each_set};

/// Bytes that are read at least to measure how fast reading is: far more than the cache of an ordinary machine, and
/// little beside a model.
const LEAST_READ: usize = 1 << 28;
/// Bytes that are read for each byte of the last caches: what stays in them is then a small part. A server's cache of
/// 300 MB holds all of `LEAST_READ`, and reads it at twice the speed of its memory.
const READ_FOR_EACH_CACHED: usize = 4;
/// Bytes that are read at most.
const MOST_READ: usize = 1 << 32;
/// Bytes that one measurement reads at least, in several turns: some 15 ms, beside which the wake-up of threads is
/// negligible.
const MEASURED: usize = 3 * LEAST_READ;
/// Places that a thread reads from at the same time: as many as the products with few rows do.
const STREAMS: usize = 4;
/// Cache lines of prefetch distance; the best on this machine counts.
const AHEAD: [usize; 4] = [0, 16, 32, 64];
/// Fused multiply-adds of one register in one measurement, for each of [`CHAINS`] chains: some 30 ms.
const ROUNDS: usize = 4_000_000;
/// Independent chains of multiply-adds: two units times a latency of four or five cycles need ten.
const CHAINS: usize = 12;
/// Measurements, of which the best counts: others run on the machine too.
const TRIES: usize = 4;

/// What the threads of a pool can do together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of memory read in a second.
    pub read_bytes: f64,
    /// Floating-point operations in a second, two for each f32 multiply-add, with the kernel set's own instructions. With
    /// tiles it is half of their operations: no product takes fewer than two, and one of f16 or f32 weights takes three.
    pub flop: f64,
}

impl Limits {
    /// Measures both on the threads of the pool that it is called in.
    pub fn measure(set: KernelSet) -> Self {
        Self { read_bytes: read_bytes(set), flop: flop(set) }
    }

    /// The better of two measurements, each limit for itself.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { read_bytes: self.read_bytes.max(other.read_bytes), flop: self.flop.max(other.flop) }
    }
}

fn best(mut work: impl FnMut()) -> f64 {
    let times = (0..TRIES).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

/// A cache line, which is also the widest register.
type Line = [u64; 8];

fn read_bytes(set: KernelSet) -> f64 {
    let read = (READ_FOR_EACH_CACHED * last_caches(Path::new("/sys"))).clamp(LEAST_READ, MOST_READ);
    let turns = MEASURED.div_ceil(read);
    let lines = vec![[1u64; 8]; read / size_of::<Line>()];
    let times = AHEAD.map(|ahead| {
        best(|| {
            rayon::broadcast(|thread| {
                let (index, count) = (thread.index(), thread.num_threads());
                let part = &lines[lines.len() * index / count..lines.len() * (index + 1) / count];
                for _ in 0..turns {
                    black_box(read_through(set, black_box(part), ahead));
                }
            });
        })
    });
    (turns * read) as f64 / times.into_iter().fold(f64::INFINITY, f64::min)
}

/// Bytes of all last caches together, as Linux describes them under `sysfs`; 0 where nothing does.
fn last_caches(sysfs: &Path) -> usize {
    let cores = fs::read_dir(sysfs.join("devices/system/cpu")).into_iter().flatten().flatten();
    let last = |core: PathBuf| {
        (0..=4).rev().find_map(|index| {
            let read = |file: &str| fs::read_to_string(core.join(format!("cache/index{index}/{file}"))).ok();
            let size = read("size")?;
            let kilobytes: usize = size.trim().strip_suffix('K')?.parse().ok()?;
            Some((read("shared_cpu_list")?, kilobytes << 10))
        })
    };
    // Cores that share a cache name it by the same list.
    let caches: BTreeMap<String, usize> = cores.filter_map(|core| last(core.path())).collect();
    caches.into_values().sum()
}

for_each_set! {
    /// Reads with arithmetic cheap enough to hide behind the loads.
    fn read_through<FMA>(lines: &[Line], ahead: usize) -> u64 {
        let length = lines.len() / STREAMS;
        let mut found = [[0u64; 8]; STREAMS];
        for place in 0..length {
            for (stream, found) in found.iter_mut().enumerate() {
                let place = stream * length + place;
                if ahead > 0 {
                    prefetch(lines.as_ptr().wrapping_add(place + ahead));
                }
                found.iter_mut().zip(&lines[place]).for_each(|(found, number)| *found |= number);
            }
        }
        let _ = FMA;
        found.iter().flatten().fold(0, |all, part| all | part)
    }
}

/// Prefetches a line, which need not exist.
#[inline(always)]
fn prefetch(line: *const Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it touches nothing, wherever the place is; every x86-64 processor has the instruction.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    let _ = line;
}

fn flop(set: KernelSet) -> f64 {
    match set {
        #[cfg(target_arch = "x86_64")]
        KernelSet::Amx if set.runs_here() => flop_of_tiles(),
        set => flop_of_chains(set),
    }
}

/// Half of what tiles of bf16 do: no product takes fewer than two of them.
#[cfg(target_arch = "x86_64")]
fn flop_of_tiles() -> f64 {
    let threads = rayon::current_num_threads();
    let time = best(|| drop(rayon::broadcast(|_| bf16_tiles::multiply_zeros(ROUNDS / 10))));
    (ROUNDS / 10 * bf16_tiles::ROUND * threads) as f64 / time / 2.0
}

fn flop_of_chains(set: KernelSet) -> f64 {
    let (threads, set) = (rayon::current_num_threads(), set.of_vectors());
    let lanes = match set {
        KernelSet::Avx512 => 16,
        KernelSet::Avx2 => 8,
        _ => 4,
    };
    let time = best(|| {
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
            black_box(match set {
                // SAFETY: the set was found to run here.
                #[cfg(target_arch = "x86_64")]
                KernelSet::Avx512 if set.runs_here() => unsafe { chains_avx512(black_box(0.999)) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                KernelSet::Avx2 if set.runs_here() => unsafe { chains_avx2(black_box(0.999)) },
                // SAFETY: as above.
                #[cfg(target_arch = "aarch64")]
                KernelSet::Neon if set.runs_here() => unsafe { chains_neon(black_box(0.999)) },
                _ => chains_portable(black_box(0.999)),
            });
        });
    });
    (ROUNDS * CHAINS * lanes * 2 * threads) as f64 / time
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn chains_avx512(factor: f32) -> f32 {
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let factor = _mm512_set1_ps(factor);
    let mut chains = [factor; CHAINS];
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, factor, factor);
        }
    }
    let mut sum = chains[0];
    for chain in &chains[1..] {
        sum = _mm512_add_ps(sum, *chain);
    }
    _mm512_reduce_add_ps(sum)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2(factor: f32) -> f32 {
    use std::arch::x86_64::{_mm256_add_ps, _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let factor = _mm256_set1_ps(factor);
    let mut chains = [factor; CHAINS];
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, factor, factor);
        }
    }
    let mut sum = chains[0];
    for chain in &chains[1..] {
        sum = _mm256_add_ps(sum, *chain);
    }
    _mm256_cvtss_f32(sum)
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn chains_neon(factor: f32) -> f32 {
    use std::arch::aarch64::{vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32};
    let factor = vdupq_n_f32(factor);
    let mut chains = [factor; CHAINS];
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            *chain = vfmaq_f32(factor, *chain, factor);
        }
    }
    let mut sum = chains[0];
    for chain in &chains[1..] {
        sum = vaddq_f32(sum, *chain);
    }
    vaddvq_f32(sum)
}

/// A multiplication and an addition, which portable code does one after the other.
fn chains_portable(factor: f32) -> f32 {
    let mut chains = [[factor; 4]; CHAINS];
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            *chain = chain.map(|x| x * factor + factor);
        }
    }
    chains.iter().flatten().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_cores_share_counts_once_and_only_the_last_of_each_core() {
        let sysfs = tempfile::tempdir().expect("a folder");
        let cache = |core: usize, index: usize, size: &str, shared: &str| {
            let folder = sysfs.path().join(format!("devices/system/cpu/cpu{core}/cache/index{index}"));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("size"), size).expect("a file");
            fs::write(folder.join("shared_cpu_list"), shared).expect("a file");
        };
        for core in 0..4 {
            cache(core, 0, "32K\n", &format!("{core}\n"));
            cache(core, 3, "16384K\n", if core < 2 { "0-1\n" } else { "2-3\n" });
        }
        fs::create_dir_all(sysfs.path().join("devices/system/cpu/cpufreq")).expect("a folder");
        assert_eq!(last_caches(sysfs.path()), 2 * (16 << 20));
        assert_eq!(last_caches(&sysfs.path().join("devices")), 0);
    }
}
