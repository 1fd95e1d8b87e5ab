//! Tensors of a checkpoint part, checked against its config.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

use super::{
    Checkpoint, Expected, FakeQuant, FileBytes, FlowPrecision, RowTable, SeededNumbers, Storage, TensorData,
    WORTH_NARROWING,
    foreign_files::{self, Kind},
    is_matrix,
    shard_index::file_names,
    tensor_data::bytes_per_number,
};
use crate::{
    error::{Found, ModelError, Result, TensorProblem, TensorProblems},
    foreign_text::shown,
    kernels::cpu::{PANEL, WeightDtype},
};

/// All tensors of one part of a checkpoint: safetensors files, their headers read, their data untouched; tensors that
/// are computed from a seed; or tensors that are held in memory, as they are while a model is trained.
#[derive(Debug)]
pub struct TensorStore {
    /// The first file, named when a tensor is in none of them.
    first: PathBuf,
    files: Vec<(PathBuf, FileBytes)>,
    tensors: BTreeMap<String, TensorEntry>,
    pub(super) in_memory: BTreeMap<String, Tensor>,
    matrices: Option<WeightDtype>,
    /// The fake quantisation of the matrices of products.
    fake_quant: Option<FakeQuant>,
    flow_precision: FlowPrecision,
    /// Buffers on the way to a GPU; there once a large tensor was read onto one.
    #[cfg(feature = "cuda")]
    pub(super) uploads: std::sync::Mutex<Option<crate::kernels::Uploads>>,
}

/// Where a tensor's numbers are.
#[derive(Debug, Clone)]
struct TensorEntry {
    origin: Origin,
    dtype: Dtype,
    shape: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Origin {
    /// Which file, and which of its bytes.
    File(usize, std::ops::Range<usize>),
    Seeded(SeededNumbers),
}

impl TensorStore {
    /// Opens the files of `part` (a folder of the checkpoint) and reads their headers.
    ///
    /// # Errors
    /// When the index names a file that is not there (all such files at once), or a file is no safetensors file.
    pub fn open(checkpoint: &Checkpoint, part: &str) -> Result<Self> {
        if let Checkpoint::Seeded(seeded) = checkpoint {
            let place = |(tensor, numbers): (Expected, SeededNumbers)| {
                let place = TensorEntry { origin: Origin::Seeded(numbers), dtype: Dtype::F32, shape: tensor.shape };
                (tensor.name, place)
            };
            let tensors = seeded.tensors(part).into_iter().map(place).collect();
            return Ok(Self { tensors, ..Self::empty(checkpoint.path_of(part)) });
        }
        let names = file_names(checkpoint, part)?;
        let mut store = Self::empty(checkpoint.path_of(&format!("{part}/{}", names[0])));
        for name in &names {
            let file = format!("{part}/{name}");
            store.add(checkpoint.path_of(&file), checkpoint.file(&file)?)?;
        }
        Ok(store)
    }

    /// Opens a single safetensors file, whatever its name.
    ///
    /// # Errors
    /// When it is not there or is no safetensors file.
    pub fn open_file(checkpoint: &Checkpoint, file: &str) -> Result<Self> {
        let path = checkpoint.path_of(file);
        let mut store = Self::empty(path.clone());
        store.add(path, checkpoint.file(file)?)?;
        Ok(store)
    }

    /// Tensors in memory. A model that is loaded from them computes with these very tensors, so with variables it can
    /// be trained.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        let in_memory = tensors.into_iter().collect();
        Self { in_memory, ..Self::empty(PathBuf::from("<tensors in memory>")) }
    }

    fn empty(first: PathBuf) -> Self {
        Self {
            first,
            files: Vec::new(),
            tensors: BTreeMap::new(),
            in_memory: BTreeMap::new(),
            matrices: None,
            fake_quant: None,
            flow_precision: FlowPrecision::F32,
            #[cfg(feature = "cuda")]
            uploads: std::sync::Mutex::default(),
        }
    }

    /// Whether the tensors are held in memory.
    pub fn are_in_memory(&self) -> bool {
        !self.in_memory.is_empty()
    }

    /// Names each tensor `PREFIX.X` as `X`.
    ///
    /// # Errors
    /// When a tensor is there under both names: nothing says which of the two is meant.
    pub fn without_prefix(mut self, prefix: &str) -> Result<Self> {
        let plain = |name: &String| Some((name.clone(), name.strip_prefix(prefix)?.to_owned()));
        for (name, plain) in self.tensors.keys().filter_map(plain).collect::<Vec<_>>() {
            let Some(place) = self.tensors.remove(&name) else { continue };
            if self.tensors.contains_key(&plain) {
                let shown = shown(&plain);
                return Err(ModelError::Damaged {
                    path: self.file_of(&place).clone(),
                    reason: format!("one tensor is there under two names, `{shown}` and `{prefix}{shown}`"),
                    remedy: "Remove one of the two, or give the checkpoint from before it was saved again".to_owned(),
                });
            }
            self.tensors.insert(plain, place);
        }
        Ok(self)
    }

    /// Sets the dtype of the weight matrices when a model is loaded, in the place of the file's. Embedding tables stay
    /// in the file, and are rounded when they are read.
    #[must_use]
    pub fn with_matrices_as(mut self, dtype: WeightDtype) -> Self {
        self.matrices = Some(dtype);
        self
    }

    /// Fake-quantises the matrices of products when a model is loaded. Embedding tables stay as they are.
    #[must_use]
    pub fn fake_quantised(self, fake_quant: FakeQuant) -> Self {
        Self { fake_quant: Some(fake_quant), ..self }
    }

    /// Stores the weight matrices as `storage` says; [`Storage::Auto`] is for a language model.
    #[must_use]
    pub fn stored_as(self, storage: Storage) -> Self {
        match storage {
            Storage::Stored => self,
            Storage::As(dtype) => self.with_matrices_as(dtype),
            Storage::Auto => {
                let wide = self
                    .tensors
                    .iter()
                    .filter(|(name, place)| place.dtype == Dtype::F32 && is_matrix(name, &place.shape));
                let bytes: u64 = wide.map(|(_, place)| 4 * place.shape.iter().product::<usize>() as u64).sum();
                if bytes > WORTH_NARROWING { self.with_matrices_as(WeightDtype::Bf16) } else { self }
            }
        }
    }

    /// Sets the accuracy of flow matching's products on a GPU.
    #[must_use]
    pub fn with_flow_precision(self, flow_precision: FlowPrecision) -> Self {
        Self { flow_precision, ..self }
    }

    /// The accuracy of flow matching's products on a GPU.
    pub fn flow_precision(&self) -> FlowPrecision {
        self.flow_precision
    }

    /// How the weight matrix `name` is to be stored when a model is loaded.
    pub fn matrix_type(&self, name: &str) -> WeightDtype {
        self.matrices.unwrap_or_else(|| match self.tensors.get(name).map(|place| place.dtype) {
            Some(Dtype::F16) => WeightDtype::F16,
            Some(Dtype::BF16) => WeightDtype::Bf16,
            _ => WeightDtype::F32,
        })
    }

    fn add(&mut self, path: PathBuf, bytes: FileBytes) -> Result<()> {
        // The header's length, every offset and every shape are compared with the file's size in here.
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
            if let Some(kind) = foreign_files::of_file(&bytes) {
                return ModelError::Foreign { path: path.clone(), what: kind.what, remedy: kind.remedy };
            }
            let error = shown(&error.to_string());
            ModelError::Damaged {
                path: path.clone(),
                reason: format!("its safetensors header does not fit the {} bytes of the file ({error})", bytes.len()),
                remedy: "The download was probably cut short: download the file again".to_owned(),
            }
        })?;
        let start = 8 + header; // 8 bytes say how long the header is
        let file = self.files.len();
        for (name, info) in metadata.tensors() {
            let origin = Origin::File(file, start + info.data_offsets.0..start + info.data_offsets.1);
            self.tensors.insert(name, TensorEntry { origin, dtype: info.dtype, shape: info.shape.clone() });
        }
        self.files.push((path, bytes));
        Ok(())
    }

    /// Checks every tensor of `expected` and reports all problems at once. Further tensors are ignored.
    ///
    /// # Errors
    /// One [`TensorProblems`] with everything that is missing, of another shape, or not of a float type.
    pub fn check(&self, expected: &[Expected]) -> Result<()> {
        let problems: Vec<TensorProblem> = expected.iter().filter_map(|tensor| self.problem(tensor)).collect();
        if problems.is_empty() {
            return Ok(());
        }
        // One sentence about the kind says more than a list of shapes that follow from it.
        let tensors = self.tensors.iter().map(|(name, place)| (name.as_str(), place.dtype));
        Err(match foreign_files::of_weights(tensors) {
            Some(Kind { what, remedy }) => ModelError::Quantised { path: self.first.clone(), what, remedy },
            None => TensorProblems { problems }.into(),
        })
    }

    fn problem(&self, Expected { name, shape }: &Expected) -> Option<TensorProblem> {
        if self.in_memory.get(name).is_some_and(|tensor| tensor.dims() == shape) {
            return None;
        }
        let (file, found) = match self.tensors.get(name) {
            None => (&self.first, Found::Missing),
            Some(place) if place.shape != *shape => (self.file_of(place), Found::Shape(place.shape.clone())),
            Some(place) if bytes_per_number(place.dtype).is_none() => {
                (self.file_of(place), Found::Type(format!("{:?}", place.dtype)))
            }
            Some(_) => return None,
        };
        Some(TensorProblem { file: file.clone(), name: name.clone(), expected: shape.clone(), found })
    }

    /// Reads the numbers of all `expected` tensors, and keeps none of them.
    ///
    /// # Errors
    /// When a tensor is missing, or has numbers that are not finite, or that are not once they are stored as they will
    /// be.
    pub fn check_numbers(&self, expected: &[Expected]) -> Result<()> {
        expected.par_iter().try_for_each(|Expected { name, shape }| self.numbers(name, shape)?.check())
    }

    /// The data of a float tensor, not read yet; a matrix is rounded to its dtype.
    ///
    /// # Errors
    /// When it is not there with exactly this shape.
    pub fn numbers(&self, name: &str, shape: &[usize]) -> Result<TensorData> {
        if let Some(tensor) = self.in_memory.get(name).filter(|tensor| tensor.dims() == shape) {
            let numbers = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?;
            return Ok(TensorData::in_memory(numbers.to_vec1()?));
        }
        let place = self.place(name, shape)?;
        let numbers = match &place.origin {
            Origin::File(file, bytes) => {
                let (path, file) = &self.files[*file];
                TensorData::in_file((path, name), file, bytes.clone(), place.dtype)
            }
            Origin::Seeded(numbers) => TensorData::seeded(*numbers, shape.iter().product()),
        };
        let kind = self.matrices.filter(|_| is_matrix(name, shape));
        let numbers = numbers.stored_as(kind.unwrap_or(WeightDtype::F32));
        let is_table = name.ends_with("embeddings.weight") || name.ends_with("embedding.weight");
        Ok(match self.fake_quant.filter(|_| is_matrix(name, shape) && !is_table) {
            Some(fake_quant) => numbers.fake_quantised(fake_quant),
            None => numbers,
        })
    }

    /// A table whose rows stay in the file and are read one by one.
    ///
    /// # Errors
    /// When it is not there with exactly this shape.
    pub fn row_table(&self, name: &str, rows: usize, width: usize) -> Result<RowTable> {
        Ok(RowTable::new(self.numbers(name, &[rows, width])?, rows, width))
    }

    /// Reads a float tensor as f32 into host memory, whatever its shape.
    ///
    /// # Errors
    /// When it is not there, or not of a float type.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let shape = self.shape(name).unwrap_or_default().to_vec();
        self.numbers(name, &shape)?.read_all()
    }

    /// Reads a tensor of i64 into host memory, whatever its shape.
    ///
    /// # Errors
    /// When it is not there, or of another type.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>> {
        let place = self.tensors.get(name).ok_or_else(|| self.missing(name, &[]))?;
        if place.dtype != Dtype::I64 {
            return Err(ModelError::shape(
                "type of a tensor of ids",
                "I64",
                format!("{:?} in {}", place.dtype, shown(name)),
            ));
        }
        let Origin::File(file, bytes) = &place.origin else { return Err(self.missing(name, &[])) };
        let (numbers, _) = self.files[*file].1[bytes.clone()].as_chunks::<8>();
        Ok(numbers.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let in_memory = self.in_memory.get(name).map(Tensor::dims);
        in_memory.or_else(|| self.tensors.get(name).map(|place| place.shape.as_slice()))
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Dtype in the file, count of numbers, and count of bytes of a tensor.
    pub fn stored(&self, name: &str) -> Option<(String, u64, u64)> {
        let place = self.tensors.get(name)?;
        let numbers = place.shape.iter().product::<usize>() as u64;
        let bytes = match &place.origin {
            Origin::File(_, bytes) => bytes.len() as u64,
            Origin::Seeded(_) => 4 * numbers,
        };
        Some((format!("{:?}", place.dtype).to_lowercase(), numbers, bytes))
    }

    /// Bytes that a tensor takes in memory once a model is loaded: nothing for a table that stays in its file, 4 for
    /// each number of what is small, and a matrix as it is packed, filled up to whole panels of outputs.
    pub fn bytes_in_memory(&self, name: &str, shape: &[usize]) -> u64 {
        if name.ends_with("embeddings.weight") || name.ends_with("embedding.weight") || name == "muq_linear.weight" {
            return 0;
        }
        let numbers = shape.iter().product::<usize>() as u64;
        match (is_matrix(name, shape), shape) {
            (false, _) => 4 * numbers,
            // Convolutions are packed in f32: their weights are computed from what is stored.
            (true, [_, _, _]) if name != "audio_head" => 4 * numbers,
            (true, _) => {
                // The heads are stored [inputs, outputs], every other matrix [outputs, inputs].
                let outputs = if name == "audio_head" { shape[2] } else { shape[0] } as u64;
                let size = self.matrix_type(name).bytes() as u64;
                numbers / outputs.max(1) * outputs.next_multiple_of(PANEL as u64) * size
            }
        }
    }

    /// The files, in the order of their names.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.files.iter().map(|(path, bytes)| (path.as_path(), bytes.len() as u64))
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<&TensorEntry> {
        if let Some(problem) = self.problem(&Expected::new(name, shape)) {
            return Err(TensorProblems { problems: vec![problem] }.into());
        }
        self.tensors.get(name).ok_or_else(|| self.missing(name, shape))
    }

    fn file_of(&self, place: &TensorEntry) -> &PathBuf {
        match &place.origin {
            Origin::File(file, _) => &self.files[*file].0,
            Origin::Seeded(_) => &self.first,
        }
    }

    fn missing(&self, name: &str, shape: &[usize]) -> ModelError {
        let problem = TensorProblem {
            file: self.first.clone(),
            name: name.to_owned(),
            expected: shape.to_vec(),
            found: Found::Missing,
        };
        TensorProblems { problems: vec![problem] }.into()
    }
}
