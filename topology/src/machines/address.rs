//! Addresses of machines: HOST:PORT, as people write them.

use std::{fmt, net::SocketAddr, str::FromStr};

use libp2p::{
    Multiaddr,
    multiaddr::{Protocol, multiaddr},
};

use super::MachinesError;

/// The address of a machine, by its number or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineAddress(String);

impl FromStr for MachineAddress {
    type Err = MachinesError;

    fn from_str(text: &str) -> Result<Self, MachinesError> {
        let is_host = |host: &str| match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').is_some_and(|number| number.parse::<std::net::Ipv6Addr>().is_ok()),
            None => {
                let letters =
                    host.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_'));
                (1..=253).contains(&host.len()) && letters
            }
        };
        match text.rsplit_once(':') {
            Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(MachinesError::Address(heartstream_models::foreign_text::shown(text))),
        }
    }
}

impl fmt::Display for MachineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl MachineAddress {
    /// Where it is now: names are looked up each time.
    pub(super) async fn resolve(&self) -> Result<Multiaddr, String> {
        let mut found = tokio::net::lookup_host(&self.0).await.map_err(|error| error.to_string())?;
        found.next().map(of_socket).ok_or_else(|| "the name has no address".to_owned())
    }
}

/// The address of a TCP socket, as libp2p has it.
pub(super) fn of_socket(address: SocketAddr) -> Multiaddr {
    let port = address.port();
    match address {
        SocketAddr::V4(address) => multiaddr!(Ip4(*address.ip()), Tcp(port)),
        SocketAddr::V6(address) => multiaddr!(Ip6(*address.ip()), Tcp(port)),
    }
}

/// An address of libp2p as people write it; as it is where it has no TCP port.
pub(super) fn shown(address: &Multiaddr) -> String {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) => format!("{ip}:{port}"),
        (Some(Protocol::Ip6(ip)), Some(Protocol::Tcp(port))) => format!("[{ip}]:{port}"),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_ports_are_addresses_and_other_text_is_none() {
        for good in ["10.0.0.2:7979", "gpu-box:7979", "box.example:1", "[::1]:7979", "[fe80::1]:65535"] {
            assert!(good.parse::<MachineAddress>().is_ok(), "{good}");
        }
        for bad in
            ["", ":7979", "box", "box:", "box:0", "box:65536", "::1:7979", "[::1]", "a b:1", "http://box:80", "[x]:1"]
        {
            assert!(bad.parse::<MachineAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sockets_are_shown_as_they_were_written() {
        for text in ["10.0.0.2:7979", "[::1]:7979"] {
            assert_eq!(shown(&of_socket(text.parse().expect("a socket"))), text);
        }
    }
}
