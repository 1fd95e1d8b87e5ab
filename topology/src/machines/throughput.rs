//! Throughput of workers: how fast those of other machines decode windows, all of them together.

use std::time::{Duration, Instant};

use heartstream_messages::{Flow, FlowOrder, Numbers, units::Seconds};
use heartstream_models::signal::ReferenceWindows;
use tokio::task::JoinSet;

use super::{Machines, MachinesError};
use crate::{Decoder, EngineError};

/// How long machines that were named are waited for, and how often it is looked whether they are there.
const WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// What workers did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Workers that took part.
    pub workers: usize,
    /// Windows of the reference's length, decoded in the usual steps with the usual guidance.
    pub windows: usize,
    /// Time for all of them, with the way there and back.
    pub time: Seconds,
    /// New music in them.
    pub music: Seconds,
}

impl Machines {
    /// Has the workers decode `windows` windows, each at least one before the time begins. This machine decodes none.
    ///
    /// # Errors
    /// When there are no workers, or one of them has a fault.
    pub async fn measure(&self, decoder: &Decoder, windows: usize) -> Result<Throughput, EngineError> {
        let workers = self.workers_for(decoder).await?;
        let all_named = async {
            while workers.count() < self.0.named {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(WAIT, all_named).await; // who does not join is not measured
        let (count, plan) = (workers.count(), ReferenceWindows::default());
        if count == 0 {
            return Err(MachinesError::Worker("none has joined".to_owned()).into());
        }
        let codes = (0..plan.window * workers.sizes().0).map(|place| (place % 256) as u16).collect();
        let (kind, flow, known) = (workers.kind().clone(), Flow::default(), Numbers::default());
        let order = FlowOrder { kind, codes, noise_key: 1, first_latent: 0, flow, known };
        let mut since = Instant::now();
        for (timed, windows) in [(false, count), (true, windows)] {
            if timed {
                since = Instant::now();
            }
            let mut decoding = JoinSet::new();
            for _ in 0..windows {
                workers.free().await;
                if let Some(lease) = workers.lease() {
                    decoding.spawn(lease.decode(order.clone()));
                }
            }
            for decoded in decoding.join_all().await {
                decoded.map_err(|fault| MachinesError::Worker(fault.to_string()))?;
            }
        }
        let music = Seconds(windows as f64 * plan.hop as f64 / 12.5); // frames of 80 ms
        Ok(Throughput { workers: count, windows, time: Seconds(since.elapsed().as_secs_f64()), music })
    }
}
