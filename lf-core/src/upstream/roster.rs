//! The servers of an upstream: how they are written, looked up, and kept when the list changes.

use super::config::{Servers, UpstreamConfig, UpstreamError};
use super::health::Health;
use super::stats::ServerStats;
use crate::listener::Address;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Servers of one upstream at most; a list that is longer is a slip.
const SERVERS_MAX: usize = 4096;
const WEIGHT_MAX: u32 = 1000;

/// A server, for as long as it is in the list.
#[derive(Debug)]
pub(super) struct Server {
    /// As written, and where a name was found.
    pub(super) name: Arc<str>,
    pub(super) address: Address,
    pub(super) weight: AtomicU32,
    /// Of its address, for consistent hashing.
    pub(super) hash: u64,
    /// Calls that it works on.
    pub(super) in_flight: AtomicUsize,
    pub(super) health: Health,
    pub(super) stats: ServerStats,
    /// It is in the list no more: its connections are not kept.
    pub(super) retired: AtomicBool,
}

impl Server {
    fn new(name: &str, address: Address, weight: u32) -> Self {
        Self {
            name: name.into(),
            hash: super::balance::hash_of(address.to_string().as_bytes()),
            address,
            weight: AtomicU32::new(weight),
            in_flight: AtomicUsize::new(0),
            health: Health::default(),
            stats: ServerStats::default(),
            retired: AtomicBool::new(false),
        }
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }
}

/// The servers that there are now.
pub(super) type Roster = Arc<[Arc<Server>]>;

/// A server as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    name: String,
    /// `None`: a name that has to be looked up.
    address: Option<Address>,
    weight: u32,
}

impl Spec {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let name = words.next().ok_or("the server is empty")?.to_owned();
        let mut weight = 1;
        for word in words {
            let value = word.strip_prefix("weight=").ok_or_else(|| format!("{word:?} is not known"))?;
            weight = value
                .parse()
                .ok()
                .filter(|weight| (1..=WEIGHT_MAX).contains(weight))
                .ok_or_else(|| format!("weight {value:?} is not a number from 1 to {WEIGHT_MAX}"))?;
        }
        let address = if name.starts_with("unix:") {
            Some(name.parse::<Address>().map_err(|error| error.to_string())?)
        } else if let Ok(at) = name.parse::<SocketAddr>() {
            Some(Address::Tcp(at))
        } else {
            let (host, port) = name.rsplit_once(':').ok_or("the port is missing")?;
            port.parse::<u16>().map_err(|error| format!("port {port:?}: {error}"))?;
            if host.is_empty() || host.contains([':', '[', ']', '/']) {
                return Err(format!("{host:?} is no name of a host"));
            }
            None
        };
        Ok(Self { name, address, weight })
    }

    /// Where it is. Blocks while a name is looked up.
    fn look_up(&self) -> io::Result<Vec<Address>> {
        match &self.address {
            Some(address) => Ok(vec![address.clone()]),
            None => Ok(self.name.to_socket_addrs()?.map(Address::Tcp).collect()),
        }
    }
}

/// The specs of an upstream, from its list or its file.
pub(super) fn specs(upstream: &str, servers: &Servers) -> Result<Vec<Spec>, UpstreamError> {
    let text;
    let lines: Vec<&str> = match servers {
        Servers::List(list) => list.iter().map(String::as_str).collect(),
        Servers::File(path) => {
            text = std::fs::read_to_string(path).map_err(|source| UpstreamError::File {
                upstream: upstream.to_owned(),
                path: path.clone(),
                source,
            })?;
            let bare = |line| str::trim(str::split(line, '#').next().unwrap_or_default());
            text.lines().map(bare).filter(|line| !line.is_empty()).collect()
        }
    };
    let wrong = |input: &str, reason: String| UpstreamError::Server {
        upstream: upstream.to_owned(),
        input: input.to_owned(),
        reason,
    };
    if lines.len() > SERVERS_MAX {
        return Err(wrong("", format!("{} servers are more than {SERVERS_MAX}", lines.len())));
    }
    lines.into_iter().map(|line| Spec::parse(line).map_err(|reason| wrong(line, reason))).collect()
}

/// Looks names up. Who is in `old` stays who it is; of a name that cannot be looked up now, the old addresses stay.
pub(super) fn muster(upstream: &str, specs: &[Spec], old: &[Arc<Server>]) -> Result<Roster, UpstreamError> {
    let mut roster: Vec<Arc<Server>> = Vec::new();
    for spec in specs {
        let found = spec.look_up().map_err(|error| error.to_string());
        let found = found.and_then(|found| if found.is_empty() { Err("it has no address".into()) } else { Ok(found) });
        let addresses = match found {
            Ok(addresses) => addresses,
            Err(reason) => {
                let kept: Vec<_> =
                    old.iter().filter(|server| is_of(server, spec)).map(|server| server.address.clone()).collect();
                if kept.is_empty() {
                    let (upstream, input) = (upstream.to_owned(), spec.name.clone());
                    return Err(UpstreamError::Server { upstream, input, reason });
                }
                tracing::warn!(
                    upstream,
                    server = spec.name,
                    reason,
                    "the name cannot be looked up; its addresses stay"
                );
                kept
            }
        };
        for address in addresses {
            if roster.iter().any(|server| server.address == address) {
                continue;
            }
            roster.push(match old.iter().find(|server| server.address == address) {
                Some(server) => {
                    server.weight.store(spec.weight, Ordering::Relaxed);
                    Arc::clone(server)
                }
                None => {
                    let name =
                        if spec.address.is_some() { spec.name.clone() } else { format!("{} {address}", spec.name) };
                    Arc::new(Server::new(&name, address, spec.weight))
                }
            });
        }
    }
    Ok(roster.into())
}

fn is_of(server: &Server, spec: &Spec) -> bool {
    server.name.strip_prefix(spec.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The first roster of an upstream.
pub(super) fn first(upstream: &str, config: &UpstreamConfig) -> Result<(Vec<Spec>, Roster), UpstreamError> {
    let specs = specs(upstream, &config.servers)?;
    let roster = muster(upstream, &specs, &[])?;
    Ok((specs, roster))
}

/// Whether names have to be looked up again now and then.
pub(super) fn has_names(specs: &[Spec]) -> bool {
    specs.iter().any(|spec| spec.address.is_none())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_with_their_weights() {
        let spec = |text| Spec::parse(text).unwrap();
        assert_eq!(spec("127.0.0.1:80 weight=3").weight, 3);
        assert_eq!(spec("[::1]:80").address, Some(Address::Tcp("[::1]:80".parse().unwrap())));
        assert_eq!(spec("unix:/x").address, Some(Address::Unix("/x".into())));
        assert_eq!(spec("be.example:80").address, None);
        for wrong in ["", "127.0.0.1", "be.example:x", ":80", "a:1 weight=0", "a:1 weight=x", "a:1 b", "unix:", "a:b:1"]
        {
            assert!(Spec::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn who_stays_in_the_list_stays_who_it_is() {
        let specs = |list: &[&str]| list.iter().map(|text| Spec::parse(text).unwrap()).collect::<Vec<_>>();
        let old = muster("be", &specs(&["127.0.0.1:1", "127.0.0.1:2"]), &[]).unwrap();
        let new = muster("be", &specs(&["127.0.0.1:2 weight=5", "127.0.0.1:3", "127.0.0.1:3"]), &old).unwrap();
        assert_eq!(new.len(), 2);
        assert!(Arc::ptr_eq(&old[1], &new[0]));
        assert_eq!(new[0].weight(), 5);
    }

    #[test]
    fn a_name_that_cannot_be_looked_up_keeps_its_addresses() {
        let name = Spec::parse("no-such-host.invalid:80").unwrap();
        assert!(muster("be", std::slice::from_ref(&name), &[]).is_err());
        let address = Address::Tcp("127.0.0.9:80".parse().unwrap());
        let old = [Arc::new(Server::new("no-such-host.invalid:80 127.0.0.9:80", address, 1))];
        let kept = muster("be", &[name], &old).unwrap();
        assert!(Arc::ptr_eq(&old[0], &kept[0]));
    }
}
