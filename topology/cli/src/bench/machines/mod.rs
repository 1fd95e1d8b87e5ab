//! `bench machines`: plans with 1 to 1000 workers on other machines, played without any; or workers that there are,
//! measured.

mod scene;
mod simulation;

use std::fmt::Write;

use serde_json::json;

use self::{
    scene::{Scene, SceneResult},
    simulation::play,
};
use super::args::MachinesArgs;
use crate::{Failed, machines};

/// Plays the plans, and says what came of each.
pub(super) fn machines(args: &MachinesArgs) -> Result<(), Failed> {
    if !args.measure.is_empty() {
        return machines::measured(args);
    }
    let scene = scene(args)?;
    let rows: Vec<(usize, SceneResult)> =
        args.workers.iter().map(|workers| (*workers, play(&scene, *workers))).collect();
    if args.json {
        out!("{}", serde_json::Value::from_iter(rows.iter().map(|(workers, outcome)| json_of(*workers, outcome))));
    } else {
        out!("{}", table(&rows).trim_end());
    }
    Ok(())
}

fn scene(args: &MachinesArgs) -> Result<Scene, Failed> {
    let refuse = |what: &str, expected: &str| Failed::Usage(format!("{what} must be {expected}"));
    let positive = [args.lm, args.flow, args.vocoder, args.worker_speed, args.bandwidth, args.lifetime];
    if !positive.into_iter().all(|number| number.is_finite() && number > 0.0) {
        return Err(refuse("--lm, --flow, --vocoder, --worker-speed, --bandwidth and --lifetime", "above 0"));
    }
    if !(0.0..1.0).contains(&args.loss) || !(0.0..=1.0).contains(&args.further_song) {
        return Err(refuse("--loss and --further-song", "from 0 to 1"));
    }
    if args.workers.iter().any(|workers| *workers > 10_000) || args.songs > 10_000 || args.seconds > 3600.0 {
        return Err(refuse("--workers and --songs", "at most 10000, and --seconds at most an hour"));
    }
    Ok(Scene {
        lm: args.lm,
        flow: args.flow,
        vocoder: args.vocoder,
        songs: args.songs,
        further_song: args.further_song,
        seconds: args.seconds,
        first_window: args.first_window,
        worker_speed: args.worker_speed,
        round_trip: args.round_trip,
        bandwidth: args.bandwidth * 1e6 / 8.0,
        loss: args.loss,
        lifetime: args.lifetime * 3600.0,
        restart: args.restart,
    })
}

fn table(rows: &[(usize, SceneResult)]) -> String {
    let mut text = format!(
        "{:>8}{:>14}{:>14}{:>18}{:>10}  {}\n",
        "workers", "first sound", "of the last", "music a second", "wasted", "busiest"
    );
    for (workers, outcome) in rows {
        let (part, load) = outcome.bottleneck();
        let _ = writeln!(
            text,
            "{workers:>8}{:>12.1} s{:>12.1} s{:>16.2} s{:>8.1} %  {}, {:.0} % of the time",
            outcome.first_sound,
            outcome.last_first_sound,
            outcome.speed,
            100.0 * outcome.wasted,
            part.name(),
            100.0 * load,
        );
    }
    text
}

fn json_of(workers: usize, outcome: &SceneResult) -> serde_json::Value {
    let loads: serde_json::Map<_, _> =
        outcome.loads.iter().map(|(part, load)| (part.name().to_owned(), json!(load))).collect();
    json!({
        "workers": workers,
        "first_sound_s": outcome.first_sound,
        "last_first_sound_s": outcome.last_first_sound,
        "music_per_s": outcome.speed,
        "wasted": outcome.wasted,
        "loads": loads,
        "bottleneck": outcome.bottleneck().0.name(),
    })
}
