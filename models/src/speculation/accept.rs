//! Acceptance of drafted codes: the longest prefix that the target draws itself.
//!
//! The target draws its own code at every place, with the noise that belongs to the place, and a draft is right where
//! it is that code. So the codes that stand, and the one that corrects the first wrong draft, are those of the plain
//! song, whatever the drafts were: Daliri, Musco and Suresh, "Coupling without communication and drafter-invariant
//! speculative decoding", <https://arxiv.org/abs/2408.07978>.

use super::target::Frame;

/// Result of a comparison: the accepted prefix of the drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Number of frames that are right as a whole.
    pub frames: usize,
    /// Number of codes of the frame after them that are known: the right ones and the correction. 0 if there is no such frame.
    pub codes: usize,
}

/// Compares what was drafted with what the target drew for it: each of `drawn` under the drafts before it.
pub fn accept(drafted: &[Frame], drawn: &[Frame]) -> Verdict {
    let difference = |(drafted, drawn): (&Frame, &Frame)| drafted.iter().zip(drawn).position(|(a, b)| a != b);
    let differences = drafted.iter().zip(drawn).map(difference);
    for (frames, difference) in differences.enumerate() {
        if let Some(place) = difference {
            return Verdict { frames, codes: place + 1 };
        }
    }
    Verdict { frames: drafted.len().min(drawn.len()), codes: 0 }
}

/// The first frame whose code 0 the target draws otherwise, or the one after the drafts.
pub fn first_unmatched(drafted: &[Frame], first_codes: &[u32]) -> usize {
    let matches = drafted.iter().zip(first_codes).take_while(|(frame, code)| frame.first() == Some(code));
    matches.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_up_to_and_with_the_first_correction() {
        let drafted = [vec![1, 2, 3], vec![4, 5, 6]];
        let verdict = |drawn: [Frame; 2]| {
            let Verdict { frames, codes } = accept(&drafted, &drawn);
            (frames, codes)
        };
        assert_eq!(verdict([vec![1, 2, 3], vec![4, 5, 6]]), (2, 0));
        assert_eq!(verdict([vec![9, 2, 3], vec![4, 5, 6]]), (0, 1));
        assert_eq!(verdict([vec![1, 2, 9], vec![4, 5, 6]]), (0, 3));
        assert_eq!(verdict([vec![1, 2, 3], vec![4, 9, 9]]), (1, 2), "what is behind the correction counts for nothing");
        assert_eq!(accept(&[], &[]), Verdict { frames: 0, codes: 0 });
    }

    #[test]
    fn the_first_codes_are_compared_up_to_the_frame_after_the_drafts() {
        let drafted = [vec![1, 0], vec![2, 0]];
        assert_eq!(first_unmatched(&drafted, &[1, 2, 7]), 2);
        assert_eq!(first_unmatched(&drafted, &[1, 3, 7]), 1);
        assert_eq!(first_unmatched(&drafted, &[5, 2, 7]), 0);
        assert_eq!(first_unmatched(&[], &[5]), 0);
    }
}
