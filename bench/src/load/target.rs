//! Where connections go and where they come from.

use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// Ports of one source address. They are chosen here and not by the kernel: no search in a crowded
/// table, no `net.ipv4.ip_local_port_range`, and 50,000 connections of each address instead of 28,000.
pub(crate) const PORTS_PER_SOURCE: u32 = 50_000;
const PORT_FIRST: u32 = 10_000;

/// Loopback addresses 127.0.0.2 ... 127.0.0.251, so that one run never needs more than one last byte.
const SOURCES_MAX: u32 = 250;

/// The server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// TCP, version 4 or 6.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Target::Unix(PathBuf::from(path)));
        }
        let mut found = text
            .to_socket_addrs()
            .with_context(|| format!("target {text:?}: give HOST:PORT, [V6]:PORT or unix:/path"))?;
        match found.next() {
            Some(address) => Ok(Target::Tcp(address)),
            None => bail!("target {text:?}: the name has no address"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => write!(f, "{address}"),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Target {
    fn is_loopback_v4(&self) -> bool {
        matches!(self, Target::Tcp(SocketAddr::V4(address)) if address.ip().is_loopback())
    }

    /// Starts a non-blocking connect; the socket may not be connected yet when this returns.
    pub(crate) fn connect(&self, source: Option<SocketAddrV4>) -> io::Result<Socket> {
        let (domain, address) = match self {
            Target::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Target::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        };
        let socket = Socket::new_raw(domain, Type::STREAM.nonblocking().cloexec(), None)?;
        if let Some(source) = source {
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(source))?;
        }
        match socket.connect(&address) {
            Ok(()) => Ok(socket),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    /// Connects and waits for the answer: a run that cannot work says so before it starts.
    pub(crate) fn probe(&self) -> Result<()> {
        let outcome = match self {
            Target::Tcp(address) => {
                std::net::TcpStream::connect_timeout(address, std::time::Duration::from_secs(3)).map(drop)
            }
            Target::Unix(path) => std::os::unix::net::UnixStream::connect(path).map(drop),
        };
        outcome.with_context(|| format!("no connection to {self}: start the server there, or give another --target"))
    }
}

/// Hands out source addresses and ports, one per connection.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// 0: the kernel chooses.
    addresses: u32,
    next: u32,
    end: u32,
    start: u32,
}

impl Sources {
    /// `count` addresses from 127.0.0.2 on; 0 leaves address and port to the kernel.
    pub(crate) fn new(target: &Target, count: u32) -> Result<Self> {
        if count > SOURCES_MAX {
            bail!("--sources {count}: at most {SOURCES_MAX} loopback addresses are used; give --sources {SOURCES_MAX}");
        }
        if count > 0 && !target.is_loopback_v4() {
            bail!(
                "--sources {count}: source addresses are 127.0.0.2 and on, {target} is not on 127.0.0.0/8; give --sources 0"
            );
        }
        Ok(Sources { addresses: count, next: 0, start: 0, end: count * PORTS_PER_SOURCE })
    }

    /// As many source addresses as the connections need, or what was asked for if that suffices.
    ///
    /// # Errors
    /// If `asked` is too few, or more than there are.
    pub(crate) fn enough(target: &Target, connections: u32, asked: Option<u32>) -> Result<Self> {
        let needed = connections.div_ceil(PORTS_PER_SOURCE);
        let count = match asked {
            Some(0) => 0,
            Some(count) if count < needed => bail!(
                "--sources {count}: {count} addresses have {} ports of {PORTS_PER_SOURCE} each; {connections} connections need --sources {needed}",
                count * PORTS_PER_SOURCE,
            ),
            Some(count) => count,
            None if needed <= SOURCES_MAX && Sources::new(target, needed).is_ok() => needed,
            None => 0,
        };
        Sources::new(target, count)
    }

    /// The share of thread `index` of `threads`; `offset` moves the start, so that runs in succession
    /// do not meet the TIME_WAIT of each other.
    pub(crate) fn share(&self, index: u32, threads: u32, offset: u32) -> Self {
        let all = self.addresses * PORTS_PER_SOURCE;
        let (start, end) = (all / threads * index, all / threads * (index + 1));
        let next = if end > start { start + offset % (end - start) } else { start };
        Sources { addresses: self.addresses, next, start, end }
    }

    /// How many connections can be held at once, if known here.
    pub(crate) fn capacity(&self) -> Option<u32> {
        (self.addresses > 0).then(|| self.end - self.start)
    }

    /// The next address and port; begins again at the start after the last.
    pub(crate) fn advance(&mut self) -> Option<SocketAddrV4> {
        if self.addresses == 0 {
            return None;
        }
        let index = self.next;
        self.next = if index + 1 >= self.end { self.start } else { index + 1 };
        // Neighbours in time differ in address, so each address sees its ports again as late as possible.
        let address = u8::try_from(index % self.addresses + 2).unwrap_or(u8::MAX);
        let port = u16::try_from(PORT_FIRST + index / self.addresses).unwrap_or(u16::MAX);
        Some(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, address), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn targets_are_tcp_or_unix_and_print_as_they_were_given() {
        for text in ["127.0.0.1:9876", "[::1]:80", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert!("nonsense".parse::<Target>().unwrap_err().to_string().contains("HOST:PORT"));
    }

    #[test]
    fn threads_never_share_a_source_port() {
        let all = Sources::new(&"127.0.0.1:1".parse().unwrap(), 2).unwrap();
        let mut seen = HashSet::new();
        for thread in 0..4 {
            let mut share = all.share(thread, 4, 12_345);
            for _ in 0..share.capacity().unwrap() {
                assert!(seen.insert(share.advance().unwrap()));
            }
        }
        assert_eq!(seen.len(), 100_000);
    }

    #[test]
    fn a_million_connections_take_twenty_addresses_unless_told_otherwise() {
        let capacity = |asked| Sources::enough(&"127.0.0.1:1".parse().unwrap(), 1_000_000, asked).unwrap().capacity();
        assert_eq!((capacity(None), capacity(Some(0))), (Some(1_000_000), None));
    }

    #[test]
    fn too_few_addresses_name_how_many_are_needed() {
        let error = Sources::enough(&"127.0.0.1:1".parse().unwrap(), 120_000, Some(2)).unwrap_err().to_string();
        assert!(error.contains("--sources 2") && error.contains("--sources 3"), "{error}");
    }

    #[test]
    fn sources_of_a_distant_target_are_refused_with_the_remedy() {
        let error = Sources::new(&"192.0.2.1:80".parse().unwrap(), 2).unwrap_err().to_string();
        assert!(error.contains("--sources 2") && error.contains("--sources 0"), "{error}");
    }
}
