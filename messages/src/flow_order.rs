//! Flow order: a window that another machine decodes, and its answer.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Flow;

/// What the bits of latents depend on beside the window itself. Two workers of one kind give the same bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowKind {
    /// Version of the engine.
    pub engine: String,
    /// Fingerprint of the codec's files.
    pub codec: String,
    /// Kernel family, and the dtype that it has the weights in.
    pub kernels: String,
}

/// A window to decode: all that its latents are a function of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowOrder {
    /// What the worker must be.
    pub kind: FlowKind,
    /// Codes, frame after frame.
    pub codes: Vec<u16>,
    /// Key of the song's noise.
    pub noise_key: u64,
    /// The place in the song of the first latent. Places before the song are counted down from the largest.
    pub first_latent: u64,
    /// Steps and guidance.
    pub flow: Flow,
    /// In-context latents at the beginning of the window.
    pub known: Numbers,
}

/// Latents of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowAnswer {
    /// Latent frame after latent frame.
    pub latents: Numbers,
    /// Over the order and the latents, so that an answer fits one order alone.
    pub checksum: u64,
}

/// Why a worker does not decode a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FlowRefusal {
    /// The worker is of another kind.
    #[error("it has the codec {} with {} of version {}", .0.codec, .0.kernels, .0.engine)]
    OtherKind(FlowKind),
    /// The order is not one of a song.
    #[error("it refuses the window: {0}")]
    Order(String),
    /// The worker could not compute it.
    #[error("it could not compute the window: {0}")]
    Failed(String),
}

/// Numbers that travel as bytes, four for each, the lowest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers(pub Vec<f32>);

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|number| number.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesOfNumbers)
    }
}

struct BytesOfNumbers;

impl de::Visitor<'_> for BytesOfNumbers {
    type Value = Numbers;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes, four for each number")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Numbers, E> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(Numbers(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{BytesDeserializer, Error};

    #[test]
    fn numbers_are_read_from_whole_fours_of_bytes_and_from_nothing_else() {
        let read = |bytes: &[u8]| Numbers::deserialize(BytesDeserializer::<Error>::new(bytes));
        assert_eq!(read(&[0, 0, 128, 63, 0, 0, 0, 192]), Ok(Numbers(vec![1.0, -2.0])));
        assert_eq!(read(&[]), Ok(Numbers::default()));
        assert!(read(&[0, 0, 128]).is_err());
    }
}
