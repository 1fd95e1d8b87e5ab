//! Arrangement of weights with AVX-512, the same as in `arrange`: a pair of inputs is one register for each part.

use std::arch::x86_64::*;

use super::{
    super::packed::{Narrow, PanelRows},
    arrange::{PanelPlace, group_of},
    parts::{HALF, PartTile, UPPER},
};

/// Prefetch distance of weights, in bytes: that of the products with few rows.
const AHEAD: usize = 4096;

/// Lays out the pairs of `rows`, an even number, among the tiles of the group.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
pub(super) fn arrange(rows: PanelRows<'_>, place: PanelPlace, to: &mut [PartTile]) {
    match rows {
        PanelRows::Wide(rows) => {
            for (pair, [one, other]) in rows.as_chunks::<2>().0.iter().enumerate() {
                ahead(one);
                ahead(other);
                // SAFETY: a row has sixteen numbers.
                let rows = unsafe { [_mm512_loadu_ps(one.0.as_ptr()), _mm512_loadu_ps(other.0.as_ptr())] };
                put_parts::<false>(rows, pair, place, to);
            }
        }
        PanelRows::Half(rows) => {
            for (pair, both) in rows.as_chunks::<2>().0.iter().enumerate() {
                ahead(both);
                let row = |row: &Narrow| {
                    // SAFETY: a row has sixteen numbers.
                    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(row.0.as_ptr().cast()) })
                };
                put_parts::<true>([row(&both[0]), row(&both[1])], pair, place, to);
            }
        }
        PanelRows::Brain(rows) => {
            // Word 2n of a line is word n, word 2n + 1 is word 16 + n.
            let words = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            let words = _mm512_or_si512(words, _mm512_slli_epi32::<16>(_mm512_add_epi32(words, _mm512_set1_epi32(16))));
            for (pair, both) in rows.as_chunks::<2>().0.iter().enumerate() {
                ahead(both);
                // SAFETY: two rows are contiguous: 32 numbers.
                let both = unsafe { _mm512_loadu_si512(both.as_ptr().cast()) };
                put(_mm512_permutexvar_epi16(words, both), pair, (0, 1), place, to);
            }
        }
    }
}

/// Prefetches what lies so far behind.
#[inline(always)]
fn ahead<T>(place: &T) {
    let place = std::ptr::from_ref(place).cast::<i8>().wrapping_add(AHEAD);
    // SAFETY: it touches nothing, wherever the place is; every x86-64 processor has the instruction.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place) };
}

/// Splits two rows of weights into parts, and puts each where it belongs. The low parts of f16 are exact as they are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn put_parts<const EXACT: bool>(rows: [__m512; 2], pair: usize, place: PanelPlace, to: &mut [PartTile]) {
    let (upper, half) = (_mm512_set1_epi32(UPPER.cast_signed()), _mm512_set1_epi32(HALF.cast_signed()));
    let rounded = |row: __m512| _mm512_add_epi32(_mm512_castps_si512(row), half);
    // What is below the upper bits is cut off here, by the shift or by the mask.
    let together =
        |[one, other]: [__m512i; 2]| _mm512_or_si512(_mm512_srli_epi32::<16>(one), _mm512_and_si512(other, upper));
    let high = rows.map(rounded);
    let lacking = |row: __m512, high: __m512i| _mm512_sub_ps(row, _mm512_castsi512_ps(_mm512_and_si512(high, upper)));
    // What is no number may be lost in the high part, and is not in the low one.
    let rounded_number = |row: __m512| {
        let (bits, numbers) = (_mm512_castps_si512(row), _mm512_cmp_ps_mask::<_CMP_ORD_Q>(row, row));
        _mm512_mask_add_epi32(bits, numbers, bits, half)
    };
    let low = [lacking(rows[0], high[0]), lacking(rows[1], high[1])];
    let low = if EXACT { low.map(|row| _mm512_castps_si512(row)) } else { low.map(rounded_number) };
    put(together(high), pair, (0, 2), place, to);
    put(together(low), pair, (1, 2), place, to);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn put(line: __m512i, pair: usize, (part, parts): (usize, usize), place: PanelPlace, to: &mut [PartTile]) {
    let group = group_of::<2>(pair, part, parts, place, to);
    // SAFETY: a pair of inputs has 32 numbers, 64 bytes that begin at one of the tile's lines.
    unsafe { _mm512_store_si512(group.as_mut_ptr().cast(), line) };
}
