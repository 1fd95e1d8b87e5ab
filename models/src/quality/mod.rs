//! How good is a song that was decoded in a cheaper or earlier way? Distances to a better one, and seams of its own.
//!
//! Three measures, none of which knows of models:
//! - [`signal_to_noise`]: how much of the waveform is the same, in dB
//! - [`mel_distances`]: how different it sounds, as the mean difference of log-mel spectra, frame by frame
//! - [`measure_seams`]: whether the places where windows were joined can be told from all other places
//!
//! [`seams_of`] says where a plan joins its windows.

mod mel;
mod ratio;
mod seam;
mod seam_places;
mod spectrum;

pub use mel::{LogMel, MEL_BANDS, MelAnalyser, mel_distances};
pub use ratio::signal_to_noise;
pub use seam::{SeamMeasure, SeamReport, measure_seams};
pub use seam_places::{Seam, seams_of};
pub use spectrum::{SPECTRUM_HOP, SPECTRUM_WINDOW, Spectrum};
