//! Answers of other machines: their checksum, and what is checked before they become sound.

use heartstream_messages::{Flow, FlowAnswer, FlowOrder, Numbers};
use heartstream_models::{heartcodec::LATENTS_PER_FRAME, weights::Fnv1a};

/// Euler steps of an order, at most: ten times the usual, for a window of more keeps a worker busy for longer than its
/// deadline.
const MOST_STEPS: usize = 100;
/// Guidance of an order, at most: eighty times the usual.
const MOST_GUIDANCE: f32 = 100.0;

/// Whether a worker takes orders with these options.
pub fn is_orderable(flow: Flow) -> bool {
    (1..=MOST_STEPS).contains(&flow.steps) && (1.0..=MOST_GUIDANCE).contains(&flow.guidance)
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongAnswer {
    /// The window has other latents.
    #[error("its answer has {found} numbers where the window has {expected}")]
    Length {
        /// Numbers of the window's latents.
        expected: usize,
        /// Numbers of the answer.
        found: usize,
    },
    /// The checksum is not that of the order and the latents.
    #[error("its answer has a wrong checksum")]
    Checksum,
    /// There is an infinite number, or none.
    #[error("its answer has numbers that are not finite")]
    NotFinite,
    /// The in-context latents came back changed.
    #[error("its answer does not begin with the latents that it was given")]
    InContext,
    /// The latents of the proof window are not those that this machine computes.
    #[error("its latents are not those of this machine: its kernels or its weights differ")]
    OtherBits,
}

/// The checksum of an answer: FNV-1a of 64 bits over all of the order and the latents.
///
/// It finds what was mixed up, cut or damaged on the way or in a memory. It is no signature: a worker that computes other
/// latents can give them the right checksum.
pub fn checksum(order: &FlowOrder, latents: &Numbers) -> u64 {
    let mut hash = Fnv1a::default();
    let FlowOrder { kind, codes, noise_key, first_latent, flow, known } = order;
    for text in [&kind.engine, &kind.codec, &kind.kernels] {
        hash.add(&(text.len() as u64).to_le_bytes());
        hash.add(text.as_bytes());
    }
    for number in [*noise_key, *first_latent, flow.steps as u64, codes.len() as u64, known.0.len() as u64] {
        hash.add(&number.to_le_bytes());
    }
    hash.add(&flow.guidance.to_le_bytes());
    codes.iter().for_each(|code| hash.add(&code.to_le_bytes()));
    known.0.iter().chain(&latents.0).for_each(|number| hash.add(&number.to_le_bytes()));
    hash.value()
}

/// The latents of an answer, if it can be one to `order`: frames of `codebooks` codes, latents of `channels` numbers.
///
/// # Errors
/// When it cannot.
pub fn checked(
    order: &FlowOrder,
    answer: FlowAnswer,
    (codebooks, channels): (usize, usize),
) -> Result<Vec<f32>, WrongAnswer> {
    let expected = order.codes.len() / codebooks.max(1) * LATENTS_PER_FRAME * channels;
    let found = answer.latents.0.len();
    if found != expected {
        return Err(WrongAnswer::Length { expected, found });
    }
    if checksum(order, &answer.latents) != answer.checksum {
        return Err(WrongAnswer::Checksum);
    }
    if !answer.latents.0.iter().all(|number| number.is_finite()) {
        return Err(WrongAnswer::NotFinite);
    }
    let same = |(one, other): (&f32, &f32)| one.to_bits() == other.to_bits();
    if !order.known.0.iter().zip(&answer.latents.0).all(same) {
        return Err(WrongAnswer::InContext);
    }
    Ok(answer.latents.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartstream_messages::{Flow, FlowKind};

    fn order() -> FlowOrder {
        let kind = FlowKind { engine: "0".to_owned(), codec: "c".to_owned(), kernels: "k".to_owned() };
        let flow = Flow { steps: 2, guidance: 1.25 };
        FlowOrder { kind, codes: vec![1, 2, 3], noise_key: 1, first_latent: 4, flow, known: Numbers(vec![0.5, -0.5]) }
    }

    fn answer(order: &FlowOrder, latents: Vec<f32>) -> FlowAnswer {
        let latents = Numbers(latents);
        FlowAnswer { checksum: checksum(order, &latents), latents }
    }

    fn good() -> Vec<f32> {
        [vec![0.5, -0.5], vec![1.0; 10]].concat()
    }

    #[test]
    fn an_answer_to_the_order_is_taken() {
        assert_eq!(checked(&order(), answer(&order(), good()), (1, 2)), Ok(good()));
    }

    #[test]
    fn an_answer_that_is_garbage_is_refused_by_what_is_wrong_with_it() {
        let refused = |answer| checked(&order(), answer, (1, 2)).expect_err("a refusal");
        for length in [0, 11, 13, 1 << 20] {
            let found = refused(answer(&order(), vec![0.5; length]));
            assert_eq!(found, WrongAnswer::Length { expected: 12, found: length });
        }
        let other = FlowAnswer { checksum: 7, ..answer(&order(), good()) };
        assert_eq!(refused(other), WrongAnswer::Checksum);
        for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut latents = good();
            latents[5] = number;
            assert_eq!(refused(answer(&order(), latents)), WrongAnswer::NotFinite);
        }
        let mut latents = good();
        latents[0] = 0.25;
        assert_eq!(refused(answer(&order(), latents)), WrongAnswer::InContext);
    }

    #[test]
    fn the_answer_to_one_order_is_none_to_another() {
        type Change = fn(&mut FlowOrder);
        let changes: [Change; 8] = [
            |order| order.kind.kernels.push('x'),
            |order| order.kind.codec.push('x'),
            |order| order.codes[2] = 4,
            |order| order.noise_key = 2,
            |order| order.first_latent = 5,
            |order| order.flow.steps = 3,
            |order| order.flow.guidance = 1.5,
            |order| order.known.0[1] = 0.0,
        ];
        for change in changes {
            let mut other = order();
            change(&mut other);
            let moved = checked(&other, answer(&order(), good()), (1, 2)).expect_err("another order");
            assert_eq!(moved, WrongAnswer::Checksum);
        }
    }
}
