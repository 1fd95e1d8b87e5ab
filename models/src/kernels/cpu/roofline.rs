//! Limits of this machine: memory bandwidth and arithmetic throughput, one of which bounds every stage.

use std::{hint::black_box, time::Instant};

use rayon::prelude::*;

use super::{KernelSet, vector::for_each_set};

/// Bytes that are read to measure how fast reading is: far more than the cache of an ordinary machine, and little
/// beside a model.
const READ: usize = 1 << 28;
/// Times that they are read in one measurement: some 15 ms, beside which the wake-up of threads is negligible.
const TURNS: usize = 3;
/// Places that a thread reads from at the same time: as many as the products with few rows do.
const STREAMS: usize = 4;
/// Cache lines of prefetch distance; the best on this machine counts.
const AHEAD: [usize; 4] = [0, 16, 32, 64];
/// Fused multiply-adds of one register in one measurement, for each of [`CHAINS`] chains: some 30 ms.
const ROUNDS: usize = 4_000_000;
/// Independent chains of multiply-adds: two units times a latency of four or five cycles need ten.
const CHAINS: usize = 12;
/// The best of so many measurements counts: others run on the machine too.
const TRIES: usize = 4;

/// What the threads of a pool can do together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of memory read in a second.
    pub read_bytes: f64,
    /// Floating-point operations in a second, two for each f32 multiply-add, with the kernel set's own instructions.
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
    let lines = vec![[1u64; 8]; READ / size_of::<Line>()];
    let times = AHEAD.map(|ahead| {
        best(|| {
            rayon::broadcast(|thread| {
                let (index, count) = (thread.index(), thread.num_threads());
                let part = &lines[lines.len() * index / count..lines.len() * (index + 1) / count];
                for _ in 0..TURNS {
                    black_box(read_through(set, black_box(part), ahead));
                }
            });
        })
    });
    (TURNS * READ) as f64 / times.into_iter().fold(f64::INFINITY, f64::min)
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
    let threads = rayon::current_num_threads();
    let lanes = match set {
        KernelSet::Avx512 => 16,
        KernelSet::Avx2 => 8,
        KernelSet::Neon | KernelSet::Portable => 4,
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
