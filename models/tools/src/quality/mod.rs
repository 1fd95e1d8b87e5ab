//! Quality measures of cheaper or earlier decoding: distances to a better song, and seams.
//!
//! Five measures, none of which knows of models:
//! - [`signal_to_noise`]: how much of the waveform is the same, in dB
//! - [`spectral_convergence`]: how far the magnitudes of its spectra are from the better one's
//! - [`mel_distances`]: how different it sounds, as the mean difference of log-mel spectra, frame by frame
//! - [`measure_seams`]: whether the places where windows were joined can be told from all other places, by a click or a
//!   change of timbre
//! - [`listen`]: whether they can be told by a thump, and the beginning and the end by a burst; [`Heard`] judges many
//!   songs
//!
//! [`seams_of`] says where a plan joins its windows.

mod artefacts;
mod band;
mod convergence;
mod mel;
mod ratio;
mod seam;
mod seam_places;
mod spectrum;

pub use artefacts::{Heard, Listening, THUMP_BANDS, Thumps, listen};
pub use convergence::spectral_convergence;
pub use mel::{LogMel, MEL_BANDS, MelAnalyser, MelBand, mel_bands, mel_distances};
pub use ratio::signal_to_noise;
pub use seam::{SeamMeasure, SeamReport, measure_seams};
pub use seam_places::{Seam, seams_of};
pub use spectrum::{SPECTRUM_HOP, SPECTRUM_WINDOW, Spectrum};

/// Samples of a second at the rate of all models.
const SECOND: usize = 48_000;
