//! Conversion of a published checkpoint to the dtypes that it is computed with: once, piece by piece.
//!
//! The result is a checkpoint in the published layout: the language model's matrices in bf16, the codec without its
//! encoder in f16 or f32, everything small in f32. A song of it is bit for bit the song of the original, loaded with
//! the same types: a number is rounded in the same way whether that is done once or whenever it is read.

use std::{fs, path::Path};

use heartstream_models::{
    CARD_FILE, CODEC_PART, LM_PARTS, ModelDirectory, ModelError, Result, TOKENIZER, WeightDtype, heartcodec, heartmula,
    text::TAGS_FILE,
    weights::{Expected, Storage, TensorData, TensorStore, is_matrix},
};

use crate::part_writer::PartWriter;

/// Bytes of weights in one file, at most; as in the published checkpoints.
const LARGEST_FILE: u64 = 5_000_000_000;

/// Writes the checkpoint of `directory` into `out`, which must not be there yet, with the codec's matrices as `codec`.
/// `progress` receives the bytes of weights that are written, and their total. `out` has its name only once all of it
/// is there.
///
/// # Errors
/// When the checkpoint is not whole, when `out` is there already, or cannot be written.
pub fn convert(
    directory: &ModelDirectory,
    out: &Path,
    codec: WeightDtype,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    directory.check_codes()?;
    directory.check_tensors()?;
    let unwritable = |reason: String, remedy: &str| ModelError::Unwritable {
        path: out.to_owned(),
        reason,
        remedy: remedy.to_owned(),
    };
    if out.exists() {
        return Err(unwritable("it is there already".to_owned(), "Give a directory that is not there yet"));
    }
    let failed = |error: std::io::Error| ModelError::unwritable(out, &error);
    let name = out.file_name().ok_or_else(|| unwritable("it has no name".to_owned(), "Give a new directory"))?;
    let unfinished = out.with_file_name(format!("{}.unfinished", name.to_string_lossy()));
    let unfinished = Unfinished(&unfinished);
    unfinished.remove(); // of a conversion that was killed
    fs::create_dir_all(unfinished.0).map_err(failed)?;
    write(directory, unfinished.0, codec, progress)?;
    fs::rename(unfinished.0, out).map_err(failed)
}

/// A folder that is removed unless it has got its own name.
struct Unfinished<'a>(&'a Path);

impl Unfinished<'_> {
    fn remove(&self) {
        let _ = fs::remove_dir_all(self.0); // most often it is not there
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

fn write(directory: &ModelDirectory, out: &Path, codec: WeightDtype, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    for part in [LM_PARTS[0], CODEC_PART] {
        fs::create_dir_all(out.join(part)).map_err(|error| ModelError::unwritable(&out.join(part), &error))?;
    }
    // The copy has the published names, whatever those of the original are.
    let configs = [(&directory.lm_part, LM_PARTS[0]), (&directory.codec_part, CODEC_PART)];
    let configs = configs.map(|(from, to)| (format!("{from}/config.json"), format!("{to}/config.json")));
    let others = [TOKENIZER, "gen_config.json", TAGS_FILE, CARD_FILE].map(|file| (file.to_owned(), file.to_owned()));
    for (file, name) in configs.iter().chain(&others) {
        // A model without `gen_config.json` has the usual ids, and so has its copy; few list their tags or have a card.
        if directory.checkpoint.has(file) {
            let path = out.join(name);
            fs::write(&path, &*directory.checkpoint.file(file)?)
                .map_err(|error| ModelError::unwritable(&path, &error))?;
        }
    }
    let parts = [
        Part::new(out, LM_PARTS[0], directory.lm_store()?, heartmula::expected_tensors(&directory.lm), BF16)?,
        Part::new(out, CODEC_PART, directory.codec_store()?, heartcodec::expected_tensors(&directory.codec), codec)?,
    ];
    let all = parts.iter().map(|part| part.writer.bytes()).sum();
    let mut done = 0;
    for Part { writer, numbers } in &parts {
        writer.write(&|tensor, first, to| numbers[tensor].read(first, to), &mut |bytes| {
            done += bytes;
            progress(done, all);
        })?;
    }
    Ok(())
}

const BF16: WeightDtype = WeightDtype::Bf16;

/// The tensors of one part, and where they go.
struct Part {
    writer: PartWriter,
    numbers: Vec<TensorData>,
}

impl Part {
    fn new(out: &Path, part: &str, store: TensorStore, tensors: Vec<Expected>, kind: WeightDtype) -> Result<Self> {
        let store = store.stored_as(Storage::As(kind));
        let numbers = tensors.iter().map(|tensor| store.numbers(&tensor.name, &tensor.shape)).collect::<Result<_>>()?;
        let kind_of = |tensor: &Expected| if is_matrix(&tensor.name, &tensor.shape) { kind } else { WeightDtype::F32 };
        let tensors = tensors.into_iter().map(|tensor| (kind_of(&tensor), tensor)).map(|(kind, tensor)| (tensor, kind));
        Ok(Self { writer: PartWriter::new(out.join(part), tensors.collect(), LARGEST_FILE), numbers })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use heartstream_models::{heartmula::PromptTokens, signal::KeyedNoise, weights::Checkpoint};

    use super::*;
    use crate::synth::{SynthSize, random_model};

    /// Logits of three frames, and the sound of ten latents: everything that the weights have a say in.
    fn outcome(directory: &ModelDirectory) -> (Vec<f32>, [Vec<f32>; 2]) {
        struct Kept(Vec<f32>);
        impl heartmula::CodeSampler for Kept {
            fn sample(&mut self, frame: u64, codebook: usize, logits: &[f32]) -> Result<u32> {
                self.0.extend_from_slice(logits);
                Ok((5 * frame as u32 + 3 * codebook as u32) % 32)
            }
        }
        let lm = directory.load_lm(&Device::Cpu).expect("a language model");
        let prompt = PromptTokens { tags: vec![1, 50, 2], lyrics: vec![1, 60, 70, 2] };
        let mut state = lm.start(&prompt, 1.5, 3).expect("a prompt that fits");
        let mut kept = Kept(Vec::new());
        for _ in 0..3 {
            lm.next_frame(&mut state, &mut kept).expect("a frame");
        }
        let codec = directory.load_codec(&Device::Cpu).expect("a codec");
        let mut noise = vec![0f32; 10 * codec.flow.channels()];
        KeyedNoise::new(2).fill_latent(0, &mut noise);
        let codes: Vec<u16> = (0..5 * 8).map(|place| place * 7 % 32).collect();
        let options = heartcodec::Flow { steps: 2, guidance: 1.25 };
        let job = heartcodec::FlowJob { codes: &codes, noise: &noise, in_context: &[], options };
        let latents = codec.flow.solve(job, &|| false).expect("latents").expect("not cancelled");
        (kept.0, codec.vocoder.decode(&latents).expect("sound"))
    }

    #[test]
    fn a_converted_model_computes_what_the_original_computes_in_the_same_types_bit_for_bit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for codec in [WeightDtype::F16, WeightDtype::F32] {
            let original = random_model(SynthSize::Tiny, 11).expect("configs");
            let out = folder.path().join(format!("converted-{codec}"));
            let mut told = (0, 1);
            convert(&original, &out, codec, &mut |done, all| told = (done, all)).expect("a conversion");
            assert_eq!(told.0, told.1);
            let converted = ModelDirectory::open(Checkpoint::open(&out).expect("a directory")).expect("configs");
            converted.check_tensors().expect("all tensors");
            assert!(converted.codec_store().expect("files").names().all(|name| !name.contains("encoder")));
            let original = original.stored_as(Storage::As(WeightDtype::Bf16), Storage::As(codec));
            let (there, here) = (outcome(&converted), outcome(&original));
            assert!(there == here, "codec in {codec}");
            let wide = outcome(&original.stored_as(Storage::Stored, Storage::Stored));
            assert!(wide.0 != here.0 && (wide.1 != here.1) == (codec == WeightDtype::F16), "rounding is seen");
            assert_eq!(
                fs::read_dir(folder.path()).expect("a folder").filter(|entry| entry.is_ok()).count(),
                match codec {
                    WeightDtype::F16 => 1,
                    _ => 2,
                }
            );
        }
    }

    #[test]
    fn what_is_there_is_not_written_over_and_a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let original = random_model(SynthSize::Tiny, 11).expect("configs");
        let error = convert(&original, folder.path(), WeightDtype::F16, &mut |_, _| ()).expect_err("it is there");
        assert!(error.to_string().contains("it is there already"), "{error}");
        let file = folder.path().join("file");
        fs::write(&file, "no directory").expect("a file");
        convert(&original, &file.join("out"), WeightDtype::F16, &mut |_, _| ()).expect_err("inside of a file");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
