//! Errors of meeting other machines.

/// Why this machine cannot work with others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachinesError {
    /// The shared secret is too short to be one.
    #[error(
        "the shared secret has {found} characters, and must have at least {least}: every machine has the same file, made once by \
         `openssl rand -hex 32`"
    )]
    Token {
        /// The least number of characters.
        least: usize,
        /// Characters that were found.
        found: usize,
    },
    /// An address is none.
    #[error("an address of a machine must be HOST:PORT, such as 10.0.0.2:7979, but is {0}")]
    Address(String),
    /// It cannot listen there.
    #[error("cannot listen on {address}: {reason}. Choose another port, or an address of this machine")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The process offers workers already, or the engine's machines are another's.
    #[error("a process offers workers once, and its `Machines` work for one engine: start another process for another")]
    Twice,
    /// A worker cannot be measured.
    #[error("the workers cannot be measured: {0}")]
    Worker(String),
    /// The connections cannot be set up.
    #[error(
        "connections to other machines cannot be set up: {0}. Without mdns no multicast is needed; else look at the limit of open \
         files and at the firewall"
    )]
    Setup(String),
}
