//! Writer of a checkpoint part that does not fit into memory: piece by piece, in the published layout.

use std::{
    fs::{self, File},
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use heartstream_models::{ModelError, Result, WeightDtype, weights::Expected};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

/// Numbers that are in memory at once.
const PIECE: usize = 1 << 22;
/// Numbers that one thread makes at once.
const SHARE: usize = 1 << 16;

/// The tensors of one part and the files they go into.
#[derive(Debug)]
pub(crate) struct PartWriter {
    folder: PathBuf,
    tensors: Vec<(Expected, WeightDtype)>,
    /// The tensors of each file.
    files: Vec<Range<usize>>,
}

/// Writes the numbers of a tensor (by its place in the list) from a place on.
pub(crate) type ReadNumbers<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) -> Result<()> + Sync);

impl PartWriter {
    /// The plan for `tensors` in `folder`, in files of at most `largest` bytes of weights; one that is larger by itself
    /// has its own file.
    pub(crate) fn new(folder: PathBuf, tensors: Vec<(Expected, WeightDtype)>, largest: u64) -> Self {
        let mut files: Vec<Range<usize>> = Vec::new();
        let mut room = 0;
        for (place, tensor) in tensors.iter().enumerate() {
            let bytes = bytes(tensor);
            match files.last_mut().filter(|_| bytes <= room) {
                Some(file) => file.end = place + 1,
                None => {
                    files.push(place..place + 1);
                    room = largest.max(bytes);
                }
            }
            room -= bytes;
        }
        Self { folder, tensors, files }
    }

    /// Bytes of all weights.
    pub(crate) fn bytes(&self) -> u64 {
        self.tensors.iter().map(bytes).sum()
    }

    /// Writes all files, and an index where there are several; `wrote` receives the bytes of each piece.
    ///
    /// # Errors
    /// When a file cannot be written, or `read` fails.
    pub(crate) fn write(&self, read: ReadNumbers<'_>, wrote: &mut dyn FnMut(u64)) -> Result<()> {
        let mut weight_map = Map::new();
        let count = self.files.len();
        fs::create_dir_all(&self.folder).map_err(unwritable(&self.folder))?;
        for (place, tensors) in self.files.iter().enumerate() {
            let name = match count {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", place + 1),
            };
            let path = self.folder.join(&name);
            self.write_file(&path, tensors.clone(), read, wrote)?;
            weight_map
                .extend(self.tensors[tensors.clone()].iter().map(|(tensor, _)| (tensor.name.clone(), json!(name))));
        }
        if count > 1 {
            let index = json!({ "metadata": { "total_size": self.bytes() }, "weight_map": weight_map });
            let path = self.folder.join("model.safetensors.index.json");
            fs::write(&path, format!("{index:#}\n")).map_err(unwritable(&path))?;
        }
        Ok(())
    }

    fn write_file(
        &self,
        path: &Path,
        tensors: Range<usize>,
        read: ReadNumbers<'_>,
        wrote: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut file = File::create(path).map_err(unwritable(path))?;
        file.write_all(&header(&self.tensors[tensors.clone()])).map_err(unwritable(path))?;
        let (mut numbers, mut bytes) = (vec![0f32; PIECE], vec![0u8; PIECE * 4]);
        for tensor in tensors {
            let (Expected { shape, .. }, kind) = &self.tensors[tensor];
            let count: usize = shape.iter().product();
            for first in (0..count).step_by(PIECE) {
                let numbers = &mut numbers[..PIECE.min(count - first)];
                let bytes = &mut bytes[..numbers.len() * kind.bytes()];
                let shares = numbers.par_chunks_mut(SHARE).zip(bytes.par_chunks_mut(SHARE * kind.bytes()));
                shares.enumerate().try_for_each(|(share, (numbers, bytes))| {
                    read(tensor, first + share * SHARE, numbers)?;
                    narrow(numbers, *kind, bytes);
                    Ok::<_, ModelError>(())
                })?;
                file.write_all(bytes).map_err(unwritable(path))?;
                wrote(bytes.len() as u64);
            }
        }
        file.sync_all().map_err(unwritable(path))
    }
}

fn bytes((Expected { shape, .. }, kind): &(Expected, WeightDtype)) -> u64 {
    (shape.iter().product::<usize>() * kind.bytes()) as u64
}

/// The head of a safetensors file: its length, then names, types, shapes and places as JSON.
fn header(tensors: &[(Expected, WeightDtype)]) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut start = 0;
    for tensor in tensors {
        let (Expected { name, shape }, kind) = tensor;
        let end = start + bytes(tensor);
        let dtype = kind.to_string().to_uppercase();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
        start = end;
    }
    let mut json = Value::Object(header).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' '); // so that the numbers are aligned
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes
}

fn narrow(numbers: &[f32], kind: WeightDtype, bytes: &mut [u8]) {
    match kind {
        WeightDtype::F32 => {
            bytes.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(to, number)| *to = number.to_le_bytes());
        }
        WeightDtype::F16 => bytes
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(numbers)
            .for_each(|(to, number)| *to = f16::from_f32(*number).to_le_bytes()),
        WeightDtype::Bf16 => bytes
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(numbers)
            .for_each(|(to, number)| *to = bf16::from_f32(*number).to_le_bytes()),
    }
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> ModelError {
    move |error| ModelError::unwritable(path, &error)
}
