//! SoundFont of the corpus, cut down to the instruments and the keys that are played.

mod cut;
mod tables;
#[cfg(test)]
pub mod toy;

use std::{fs, io::Cursor, path::Path, sync::Arc};

use super::error::{CorpusError, Result};
use tables::Font;

/// Where Debian's package fluid-soundfont-gm puts the whole SoundFont (MIT license, 148 MB).
pub const DEBIAN: &str = "/usr/share/sounds/sf2/FluidR3_GM.sf2";

/// Cuts the SoundFont in the file `whole` and writes what is left to `out`.
///
/// # Errors
/// When `whole` cannot be read, is no SoundFont or lacks an instrument, or `out` cannot be written.
pub fn cut(whole: &Path, out: &Path) -> Result<()> {
    let font = Font::read(&read(whole)?)?;
    let bytes = cut::cut(&font)?.write();
    fs::write(out, bytes).map_err(|error| CorpusError::File {
        path: out.to_owned(),
        problem: error.to_string(),
        remedy: "Give a file that can be written",
    })
}

/// Loads a SoundFont, cut or whole.
///
/// # Errors
/// When the file cannot be read or is no SoundFont.
pub fn load(path: &Path) -> Result<Arc<rustysynth::SoundFont>> {
    parse(&read(path)?)
}

/// A SoundFont from its bytes.
pub(super) fn parse(bytes: &[u8]) -> Result<Arc<rustysynth::SoundFont>> {
    let unusable = |error| CorpusError::SoundFont { problem: format!("{error}") };
    Ok(Arc::new(rustysynth::SoundFont::new(&mut Cursor::new(bytes)).map_err(unusable)?))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| CorpusError::File {
        path: path.to_owned(),
        problem: error.to_string(),
        remedy: "Install Debian's package fluid-soundfont-gm, or give a SoundFont cut from it",
    })
}
