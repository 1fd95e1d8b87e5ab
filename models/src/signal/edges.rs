//! Fades at the beginning and the end of a song: short ones, so that neither clicks.

use std::f64::consts::PI;

/// Fades what lies within `fade` samples of the song's beginning or of its `end`: half a cosine each. `sound` is
/// interleaved, and begins at sample `start` of each channel.
///
/// `end` is `u64::MAX` where it is not known yet. In a song of less than two fades both meet in the middle.
pub fn fade_edges(sound: &mut [f32], start: u64, end: u64, fade: usize) {
    let fade = (fade as u64).min(end / 2);
    let behind = start + (sound.len() / 2) as u64;
    if fade == 0 || (start >= fade && behind <= end - fade) {
        return;
    }
    for (place, pair) in (start..).zip(sound.chunks_mut(2)) {
        // Half a sample off, so that neither end is silent and both fades are each other's mirror image.
        let from_edge = (place as f64 + 0.5).min(end as f64 - place as f64 - 0.5);
        if from_edge < fade as f64 {
            let gain = 0.5 - 0.5 * (PI * from_edge.max(0.0) / fade as f64).cos();
            pair.iter_mut().for_each(|sample| *sample = (f64::from(*sample) * gain) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_song_comes_in_and_goes_out_alike_however_it_is_cut_into_pieces() {
        let mut whole = vec![1.0f32; 2 * 1000];
        fade_edges(&mut whole, 0, 1000, 100);
        let left: Vec<f32> = whole.iter().step_by(2).copied().collect();
        assert!(left[..100].is_sorted() && left[0] < 1e-3 && left[99] > 0.999);
        assert!(left[100..900].iter().all(|sample| *sample == 1.0));
        assert!(left.iter().zip(left.iter().rev()).all(|(a, b)| (a - b).abs() < 1e-6));
        for piece in [1, 7, 99, 500] {
            let mut pieces = vec![1.0f32; 2 * 1000];
            for (index, part) in pieces.chunks_mut(2 * piece).enumerate() {
                fade_edges(part, (index * piece) as u64, 1000, 100);
            }
            assert_eq!(pieces, whole, "pieces of {piece}");
        }
    }

    #[test]
    fn a_short_song_has_short_fades_and_none_is_none() {
        let mut short = vec![1.0f32; 2 * 10];
        fade_edges(&mut short, 0, 10, 100);
        assert!(short.iter().all(|sample| (0.0..1.0).contains(sample)) && short[8] > 0.9, "{short:?}");
        let mut plain = vec![1.0f32; 20];
        fade_edges(&mut plain, 0, 10, 0);
        fade_edges(&mut plain, 1000, u64::MAX, 100);
        assert_eq!(plain, vec![1.0f32; 20]);
    }
}
