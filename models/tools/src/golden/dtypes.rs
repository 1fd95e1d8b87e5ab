//! Dtypes that a half of a model is held in while it is compared, and whether a wider one would help.

use std::fmt;

use heartstream_models::{
    Result, WeightDtype, heartcodec, heartmula,
    kernels::KvLayer,
    weights::{Expected, Storage, TensorStore, is_matrix},
};

use super::{Goldens, Row};

/// One half of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// The language model.
    LanguageModel,
    /// The codec.
    Codec,
}

impl Half {
    /// Both halves, in the order in which they are compared.
    pub const ALL: [Self; 2] = [Self::LanguageModel, Self::Codec];

    /// What the names of its golden data begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::LanguageModel => "lm.",
            Self::Codec => "codec.",
        }
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LanguageModel => "language model",
            Self::Codec => "codec",
        })
    }
}

/// The dtypes of one half. Norms and biases are f32 always, and so is all arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dtypes {
    /// The dtypes of the weight matrices in the files, widest first.
    pub stored: Vec<WeightDtype>,
    /// The dtypes of the weight matrices in memory, widest first.
    pub weights: Vec<WeightDtype>,
    /// The dtype of keys and values; a codec has none.
    pub kv: Option<WeightDtype>,
    /// Bytes of the weights in memory.
    pub bytes: u64,
    /// Whether a weight is held in another dtype than it is stored in, which is not f32.
    pub narrowed: bool,
}

impl Dtypes {
    fn of(stored: &TensorStore, held: &TensorStore, tensors: &[Expected], kv: Option<WeightDtype>) -> Self {
        let matrices = tensors.iter().filter(|tensor| is_matrix(&tensor.name, &tensor.shape));
        let pairs: Vec<_> =
            matrices.map(|tensor| (stored.matrix_type(&tensor.name), held.matrix_type(&tensor.name))).collect();
        let dtypes = |of: &dyn Fn(&(WeightDtype, WeightDtype)) -> WeightDtype| {
            let all = [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16];
            all.into_iter().filter(|dtype| pairs.iter().any(|pair| of(pair) == *dtype)).collect()
        };
        Self {
            stored: dtypes(&|pair| pair.0),
            weights: dtypes(&|pair| pair.1),
            kv,
            bytes: tensors.iter().map(|tensor| held.bytes_in_memory(&tensor.name, &tensor.shape)).sum(),
            narrowed: pairs.iter().any(|(stored, held)| held != stored && *held != WeightDtype::F32),
        }
    }
}

impl fmt::Display for Dtypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            |dtypes: &[WeightDtype]| dtypes.iter().map(WeightDtype::to_string).collect::<Vec<_>>().join(" and ");
        write!(f, "weights held as {}", names(&self.weights))?;
        if self.weights != self.stored {
            write!(f, " (stored as {})", names(&self.stored))?;
        }
        match self.kv {
            Some(kv) => write!(f, ", keys and values as {kv}"),
            None => Ok(()),
        }
    }
}

/// What a comparison would hold in f32 that it does not hold so now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wider {
    /// The weights.
    pub weights: bool,
    /// Keys and values, beyond what follows from the weights.
    pub kv: bool,
}

impl Goldens {
    /// In which dtypes a half is held.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn dtypes(&self, half: Half) -> Result<Dtypes> {
        let stored = self.directory.clone().stored_as(Storage::Stored, Storage::Stored);
        Ok(match half {
            Half::LanguageModel => {
                let held = self.directory.lm_store()?;
                let kv = self.kv.unwrap_or_else(|| self.directory.kv_dtype(&held));
                let tensors = heartmula::expected_tensors(&self.directory.lm);
                Dtypes::of(&stored.lm_store()?, &held, &tensors, Some(KvLayer::stored_as(kv, &self.device)))
            }
            Half::Codec => {
                let held = self.directory.codec_store_on(&self.device)?;
                let tensors = heartcodec::expected_tensors(&self.directory.codec);
                Dtypes::of(&stored.codec_store()?, &held, &tensors, None)
            }
        })
    }

    /// The wider ways of comparing a half, the cheapest first; none where everything is held as wide as it is stored.
    ///
    /// # Errors
    /// As [`Goldens::dtypes`].
    pub fn wider(&self, half: Half) -> Result<Vec<(Wider, Self)>> {
        let held = self.dtypes(half)?;
        let wide = Storage::As(WeightDtype::F32);
        let mut ways = Vec::new();
        if held.kv.is_some_and(|kv| kv != WeightDtype::F32) {
            let goldens = Self { kv: Some(WeightDtype::F32), ..self.clone() };
            ways.push((Wider { weights: false, kv: true }, goldens));
        }
        if held.narrowed {
            // Where nothing else was asked for, keys and values follow the weights.
            let kv = self.kv.is_some_and(|kv| kv != WeightDtype::F32);
            let goldens = Self {
                directory: self.directory.clone().stored_as(wide, wide),
                kv: Some(WeightDtype::F32),
                ..self.clone()
            };
            ways.push((Wider { weights: true, kv }, goldens));
        }
        Ok(ways)
    }

    /// Whether every row of a half is ok.
    ///
    /// # Errors
    /// As [`Goldens::check`].
    pub fn passes(&self, half: Half) -> Result<bool> {
        let mut ok = true;
        self.check_half(half, &mut |row: Row| ok &= row.ok())?;
        Ok(ok)
    }
}
