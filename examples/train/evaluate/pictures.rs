//! Pictures of songs: spectrogram and chromagram, generated above the real render.

use std::{fs::File, io::BufWriter, path::Path};

use candle_core::{Device, Tensor};

use super::chroma::chroma;
use crate::{
    error::{Result, TrainError, at},
    feed::Song,
    spectral::Analyser,
};

const WIDTH: usize = 720;
/// Rows of a spectrogram, one for each mel band, and of a pitch class.
const BANDS: usize = 128;
const CLASS: usize = 6;
const GAP: usize = 6;

/// Draws, from the top: spectrogram of `ours`, of `real`, chromagram of `ours`, of `real`, all to the same scale of
/// time.
pub fn draw(ours: &Song, real: &Song, path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let longest = ours.left.len().max(real.left.len());
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for song in [ours, real] {
        let (columns, width) = (spectrogram(&song.left)?, WIDTH * song.left.len() / longest.max(1));
        rows.extend((0..BANDS).rev().map(|band| line(&columns, width, |column| column[band])));
        rows.extend(vec![vec![255; WIDTH]; GAP]);
    }
    for song in [ours, real] {
        let (columns, width) = (chromagram(&song.left)?, WIDTH * song.left.len() / longest.max(1));
        rows.extend((0..12 * CLASS).rev().map(|row| line(&columns, width, |column| column[row / CLASS])));
        rows.extend(vec![vec![255; WIDTH]; GAP]);
    }
    let failed = |error: png::EncodingError| TrainError::Order(format!("{}: {error}", path.display()));
    let file = BufWriter::new(File::create(path).map_err(at(path))?);
    let mut encoder = png::Encoder::new(file, WIDTH as u32, rows.len() as u32);
    encoder.set_color(png::ColorType::Grayscale);
    // Sixteen greys tell as much, and the file is a third as large.
    encoder.set_depth(png::BitDepth::Four);
    encoder.set_compression(png::Compression::High);
    let packed = rows.iter().flat_map(|row| row.chunks_exact(2).map(|two| (two[0] & 0xF0) | (two[1] >> 4)));
    let packed: Vec<u8> = packed.collect();
    encoder.write_header().map_err(failed)?.write_image_data(&packed).map_err(failed)
}

/// A row of pixels from columns of numbers between 0 and 1: 1 is black.
fn line<T>(columns: &[T], width: usize, value: impl Fn(&T) -> f64) -> Vec<u8> {
    let mut row = vec![255u8; WIDTH];
    for (x, pixel) in row.iter_mut().take(width).enumerate() {
        if let Some(column) = columns.get(x * columns.len() / width.max(1)) {
            *pixel = (255.0 * (1.0 - value(column).clamp(0.0, 1.0))) as u8;
        }
    }
    row
}

/// Log-mel spectra between 90 dB under full scale, 0, and full scale, 1.
fn spectrogram(sound: &[f32]) -> Result<Vec<Vec<f64>>> {
    let analyser = Analyser::new(2048, 512, BANDS, &Device::Cpu)?;
    if analyser.spectra(sound.len()) == 0 {
        return Ok(Vec::new());
    }
    let sound = Tensor::from_slice(sound, (1, sound.len()), &Device::Cpu)?;
    let spectra = analyser.log_mel(&analyser.magnitudes(&sound)?)?.squeeze(0)?.to_vec2::<f32>()?;
    let scaled = |value: &f32| 1.0 + f64::from(*value) / (90.0 / 20.0 * std::f64::consts::LN_10);
    Ok(spectra.iter().map(|spectrum| spectrum.iter().map(scaled).collect()).collect())
}

/// The share of each pitch class in a spectrum, the strongest at 1, quiet spectra paler.
fn chromagram(sound: &[f32]) -> Result<Vec<[f64; 12]>> {
    let spectra = chroma(sound)?;
    let strongest = |spectrum: &[f64; 12]| spectrum.iter().copied().fold(0.0, f64::max);
    let loudest = spectra.iter().map(strongest).fold(f64::MIN_POSITIVE, f64::max);
    let scaled = |spectrum: &[f64; 12]| {
        let paleness = (strongest(spectrum) / loudest).powf(0.15);
        spectrum.map(|energy| paleness * (energy / strongest(spectrum).max(f64::MIN_POSITIVE)).sqrt())
    };
    Ok(spectra.iter().map(scaled).collect())
}
