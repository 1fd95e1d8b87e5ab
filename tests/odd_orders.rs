//! Promise: parallel windows may be decoded in any order, by any number of workers, and it is one song.

mod support;

use heartstream::{
    Continuity, Outcome, SongRequest,
    faults::{Faults, Hold},
};
use support::{assert_same, engine, request, sung, tiny_model};

/// Four windows, 48, 96, 192 and 372 frames long, that overlap, and a rest.
const FRAMES: u64 = 620;

#[tokio::test(flavor = "multi_thread")]
async fn results_out_of_order_make_the_same_song() {
    let model = tiny_model();
    let song = SongRequest { continuity: Continuity::Parallel, ..request(FRAMES, 7) };
    let (expected, _) = sung(&engine(&model, 1, 1).await, song.clone()).await;
    for workers in [2, 4] {
        let engine = engine(&model, workers, 1).await;
        // The worker of the first segment holds it until others have done later ones.
        for later in 1..workers as u64 {
            let faults = Faults::holding([Hold { item: 1, until_segments: later }]);
            let (again, report) = sung(&engine.with_faults(faults.clone()), song.clone()).await;
            assert_eq!(report.outcome, Outcome::Finished);
            assert_eq!(faults.left(), 0, "a segment was held");
            assert_same(&format!("{workers} workers, the first segment after {later} others"), &again, &expected);
        }
    }
}
