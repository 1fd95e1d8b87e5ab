//! Small checkpoints for the tests of this crate.

use heartstream_tools::synth::{SynthSize, synthesise};

use crate::{ModelDirectory, weights::Checkpoint};

/// The smallest checkpoint, and the folder that it is in.
pub(crate) fn tiny() -> (tempfile::TempDir, ModelDirectory) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // The tools know this crate as it is without tests, whose types are others: a file is what both can read.
    synthesise(SynthSize::Tiny, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
    let checkpoint = Checkpoint::open(folder.path()).expect("a directory");
    (folder, ModelDirectory::open(checkpoint).expect("configs"))
}
