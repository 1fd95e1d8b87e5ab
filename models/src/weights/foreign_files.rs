//! Foreign files: contents that do not match the name, and weights of unsupported formats, each with its remedy.

use safetensors::Dtype;

/// What a file or its weights are, in words, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub what: &'static str,
    pub remedy: &'static str,
}

const ORIGINAL: &str =
    "Download the original checkpoint (`heartstream pull`), or convert the weights to f32, f16 or bf16";

/// Kind of a file by its first bytes, where it is a known format other than weights.
pub(crate) fn of_file(bytes: &[u8]) -> Option<Kind> {
    let kind = |what, remedy| Some(Kind { what, remedy });
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return kind(
            "a pointer of Git LFS and not the file itself",
            "Run `git lfs pull` in the clone it came from, or download the file itself (`heartstream pull`)",
        );
    }
    let page = bytes.trim_ascii_start();
    let begins = |tag: &[u8]| page.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    if [&b"<!doctype"[..], b"<html", b"<head", b"<?xml", b"<error"].into_iter().any(begins) {
        return kind(
            "a web page and not the file itself: a server that asks to log in, or that does not have the file, sends one",
            "Open the file's address in a browser, log in or accept the terms, and download it again",
        );
    }
    let magics: [(&[u8], &str, &str); 6] = [
        (b"GGUF", "a GGUF file, and only safetensors files are read", ORIGINAL),
        (b"GGML", "a GGML file, and only safetensors files are read", ORIGINAL),
        (b"PK\x03\x04", "a zip archive, as PyTorch saves weights, and only safetensors files are read", ORIGINAL),
        (b"\x80\x02", "a pickle of PyTorch, and only safetensors files are read", ORIGINAL),
        (b"\x1f\x8b", "compressed with gzip", "Unpack it with `gunzip`"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd", "Unpack it with `unzstd`"),
    ];
    if let Some((_, what, remedy)) = magics.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return kind(what, remedy);
    }
    if bytes.len() >= 8 && bytes.iter().take(1 << 12).all(|byte| *byte == 0) {
        return kind(
            "zeros at its beginning: room for the download was made, and nothing came",
            "Download the file again",
        );
    }
    None
}

/// The format of weights by the names and dtypes of their tensors, where it is a known one that is not read.
pub(crate) fn of_weights<'a>(tensors: impl Iterator<Item = (&'a str, Dtype)>) -> Option<Kind> {
    let (mut found, mut scales, mut packed) = (None, false, false);
    for (name, dtype) in tensors {
        let what = match (name.rsplit('.').next().unwrap_or(name), dtype) {
            ("absmax" | "quant_map" | "bitsandbytes__nf4" | "bitsandbytes__fp4", _) => {
                "quantised to 4 bits by bitsandbytes"
            }
            ("SCB", _) => "quantised to 8 bits by bitsandbytes",
            ("qweight" | "qzeros" | "g_idx", _) => "quantised by GPTQ or AWQ",
            ("weight_packed" | "weight_shape", _) => "quantised by compressed-tensors",
            (_, Dtype::F8_E4M3 | Dtype::F8_E5M2 | Dtype::F8_E8M0 | Dtype::F4) => "of 8 bits or fewer (fp8)",
            (_, Dtype::F64) => "of 64 bits (f64)",
            (last, dtype) => {
                scales |= last == "scales";
                packed |= dtype == Dtype::U32;
                continue;
            }
        };
        // Beside f64 and fp8, which may be scales, the name of a quantiser says more.
        if found.is_none() || !what.contains("of ") {
            found = Some(what);
        }
    }
    let found = found.or((scales && packed).then_some("quantised by MLX"))?;
    Some(Kind { what: found, remedy: ORIGINAL })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_kinds_are_known_by_their_beginning() {
        for (bytes, what) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"[..], "Git LFS"),
            (b"\xef\xbb\xbf\n <!DOCTYPE HTML>", "web page"),
            (b"<html>", "web page"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"PK\x03\x04....", "zip"),
            (&[0; 64], "zeros"),
        ] {
            assert!(of_file(bytes).is_some_and(|kind| kind.what.contains(what)), "{what}");
        }
        for bytes in [&b""[..], b"{", b"\x10\0\0\0\0\0\0\0{\"a\":{}}", &[0; 4]] {
            assert_eq!(of_file(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn weights_of_other_formats_are_known_by_names_and_dtypes() {
        let kind = |tensors: &[(&'static str, Dtype)]| of_weights(tensors.iter().copied()).map(|kind| kind.what);
        assert_eq!(kind(&[("a.weight", Dtype::F32), ("b.weight", Dtype::BF16)]), None);
        assert_eq!(kind(&[("a.weight", Dtype::F64)]), Some("of 64 bits (f64)"));
        assert_eq!(kind(&[("a.weight", Dtype::F8_E4M3)]), Some("of 8 bits or fewer (fp8)"));
        let four = [("a.weight", Dtype::U8), ("a.weight.absmax", Dtype::F32), ("a.norm", Dtype::F64)];
        assert_eq!(kind(&four), Some("quantised to 4 bits by bitsandbytes"));
        assert_eq!(
            kind(&[("a.weight", Dtype::I8), ("a.SCB", Dtype::F32)]),
            Some("quantised to 8 bits by bitsandbytes")
        );
        let mlx = [("a.weight", Dtype::U32), ("a.scales", Dtype::BF16), ("a.biases", Dtype::BF16)];
        assert_eq!(kind(&mlx), Some("quantised by MLX"));
    }
}
