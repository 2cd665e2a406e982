//! Who is at the other end.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of a connection, in 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    ip: Option<IpAddr>,
    port: u16,
}

impl Peer {
    pub(crate) const NONE: Self = Self { ip: None, port: 0 };

    pub(crate) fn new(address: Option<SocketAddr>) -> Self {
        Self { ip: address.map(|address| address.ip()), port: address.map_or(0, |address| address.port()) }
    }

    /// The peer's address and port; `None` over a unix socket. IPv4 peers of an IPv6 listener are IPv4.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// The peer's address; `None` over a unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("unix"),
        }
    }
}
