//! Timeouts of a pull: how long a server may take to answer, and over which span its speed is measured.

use std::time::Duration;

/// How long a server may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// Of a connection, and of the first byte of a response.
    pub response: Duration,
    /// Between two parts of a response.
    pub part: Duration,
    /// The span in which a response must bring the least that it may.
    pub speed: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let [response, part, speed] = [10, 30, 20].map(Duration::from_secs);
        Self { response, part, speed }
    }
}
