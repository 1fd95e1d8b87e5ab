//! Autovectorised kernels: one body of plain Rust, compiled for every kernel set.
//!
//! The compiler turns loops over slices into whatever vector instructions a function may use. So each kernel here is
//! written once, as a body that is inlined into one function for each set. Sums are kept in [`LANES`] parts whatever
//! the set, so a row's result depends on the row alone.

use rayon::prelude::*;

/// Parts that a sum is kept in: one AVX-512 register.
pub(super) const LANES: usize = 16;
/// Numbers of element-wise work that are worth another thread: some ten microseconds.
const WORTH_A_THREAD: usize = 32_768;

/// Defines a function that takes a [`super::KernelSet`] before its own arguments and runs its body as compiled for that
/// set. The constant named in `< >` says in the body whether a product and a sum may be one instruction.
macro_rules! for_each_set {
    (
        $(#[$attribute:meta])*
        $vis:vis fn $name:ident<$fma:ident>($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(set: $crate::kernels::cpu::KernelSet, $($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<const $fma: bool>($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($argument: $type),*) $(-> $result)? {
                body::<true>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($argument: $type),*) $(-> $result)? {
                body::<true>($($argument),*)
            }

            assert!(set.runs_here(), "the kernels {set} do not run here");
            match set.of_vectors() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor has these instructions, as the line above makes sure.
                $crate::kernels::cpu::KernelSet::Avx2 => unsafe { avx2($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::kernels::cpu::KernelSet::Avx512 => unsafe { avx512($($argument),*) },
                // Every ARM64 processor has NEON and fused products, so the plain compilation uses them.
                $crate::kernels::cpu::KernelSet::Neon => body::<true>($($argument),*),
                _ => body::<false>($($argument),*),
            }
        }
    };
}
pub(super) use for_each_set;

/// `a · b + c`, rounded once where the set has an instruction for it.
#[inline(always)]
pub(super) fn product_and<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `eˣ` to about one unit of the last place, subnormal results included; what is no number stays none.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding this rounds to whole numbers, which then stand in the lowest bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    // ln 2 in two parts, the first so short that its products with exponents are exact (Cephes, expf.c).
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // (eʳ - 1 - r) / r² for |r| up to ln 2 / 2, highest power first (the same source).
    const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // Beyond these the result is infinite or zero anyhow.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let rounded = product_and::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let whole = rounded - ROUND;
    let r = product_and::<FMA>(whole, -LN_2[0], x);
    let r = product_and::<FMA>(whole, -LN_2[1], r);
    let mut sum = POLYNOMIAL[0];
    let mut power = 1;
    while power < POLYNOMIAL.len() {
        sum = product_and::<FMA>(sum, r, POLYNOMIAL[power]);
        power += 1;
    }
    let sum = product_and::<FMA>(sum, r * r, r) + 1.0;
    // Two factors, as the whole power of two can be outside the normal numbers where the result is not.
    let exponent = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = exponent >> 1;
    let power_of_two = |exponent: i32| f32::from_bits((exponent.wrapping_add(127) as u32) << 23);
    sum * power_of_two(half) * power_of_two(exponent.wrapping_sub(half))
}

/// The sum of `term(sum, number)` chains over `xs`, in [`LANES`] parts.
#[inline(always)]
pub(super) fn sum_of(xs: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = xs.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] = term(sums[lane], chunk[lane]);
        }
    }
    sums.iter_mut().zip(rest).for_each(|(sum, x)| *sum = term(*sum, *x));
    total(sums)
}

/// The sum of all lanes, halves first.
#[inline(always)]
pub(super) fn total(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Calls `work` with the first row and the place in `out` of runs of rows, on several threads when that pays. `cost` is
/// the work for a number of the result, 1 for a sum or two.
pub(super) fn by_rows(out: &mut [f32], width: usize, cost: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = out.len() / width.max(1);
    let tasks = (rayon::current_num_threads() * 2).min(out.len() * cost / WORTH_A_THREAD).min(rows);
    if tasks < 2 {
        if rows > 0 {
            work(0, out);
        }
        return;
    }
    let run = rows.div_ceil(tasks);
    out.par_chunks_mut(run * width).enumerate().for_each(|(task, out)| work(task * run, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::KernelSet;

    for_each_set! {
        fn exps<FMA>(xs: &[f32], out: &mut [f32]) {
            out.iter_mut().zip(xs).for_each(|(out, x)| *out = exp::<FMA>(*x));
        }
    }

    /// How many representable numbers lie between two.
    fn steps(a: f32, b: f32) -> u32 {
        (a.to_bits() as i32).abs_diff(b.to_bits() as i32)
    }

    #[test]
    fn the_exponential_is_right_to_two_units_of_the_last_place_wherever_it_is_a_number() {
        let xs: Vec<f32> = (0..400_000).map(|place| -105.0 + place as f32 * 4.85e-4).collect();
        for set in KernelSet::here() {
            let mut found = vec![0f32; xs.len()];
            exps(set, &xs, &mut found);
            for (x, found) in xs.iter().zip(&found) {
                let expected = f64::from(*x).exp() as f32;
                assert!(steps(*found, expected) <= 2, "{set}: exp {x} is {expected:e}, found {found:e}");
            }
        }
    }

    #[test]
    fn the_exponential_of_what_is_not_finite_is_what_it_should_be() {
        let xs = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1000.0, -1000.0, 0.0, -0.0, f32::MIN_POSITIVE / 4.0];
        for set in KernelSet::here() {
            let mut found = [0f32; 8];
            exps(set, &xs, &mut found);
            assert!(found[0].is_nan(), "{set}");
            assert_eq!(found[1..], [f32::INFINITY, 0.0, f32::INFINITY, 0.0, 1.0, 1.0, 1.0], "{set}");
        }
    }
}
