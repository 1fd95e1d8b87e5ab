//! Connections between machines: libp2p's private network over TCP, in it noise, in it yamux.

use std::{error::Error, time::Duration};

use libp2p::{
    Swarm, SwarmBuilder, Transport, core::upgrade::Version, identity::Keypair, noise, pnet::PnetConfig,
    swarm::NetworkBehaviour, tcp, yamux,
};

use super::SharedSecret;

/// Time in which a connection must have come about, secret and all.
const SETUP_TIME: Duration = Duration::from_secs(10);
/// Connections stay while nothing is said: a song may begin at any time.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// A swarm with an identity of its own, of machines that have the secret.
pub(super) fn swarm<B: NetworkBehaviour>(
    token: SharedSecret,
    behaviour: impl FnOnce(&Keypair) -> Result<B, Box<dyn Error + Send + Sync>>,
) -> Result<Swarm<B>, Box<dyn Error>> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(move |identity| {
            let noise = noise::Config::new(identity)?;
            let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
            let private = tcp.and_then(move |socket, _| PnetConfig::new(token.key()).handshake(socket));
            let muxed = private.upgrade(Version::V1).authenticate(noise).multiplex(yamux::Config::default());
            Ok(muxed.timeout(SETUP_TIME).boxed())
        })?
        .with_behaviour(behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    Ok(swarm)
}
