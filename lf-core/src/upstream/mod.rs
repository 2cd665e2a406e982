//! Back ends: calls to other servers, over connections that live in the groups of this one.
//!
//! An [`Upstreams`] is made with the server's builder; [`Upstreams::add`] names a set of servers that answer the same calls,
//! and [`Upstream::call`] asks one of them. Nothing here blocks, apart from looking up names in `add`. The outcome of
//! a call comes once, to a closure, mostly on a worker of the group that the call was made in.
//!
//! Read `core` first (the way of a call), then `flight` (a call and its requests), `pool` (who gets which connection), `link`
//! (a connection). `balance`, `health` and `limit` decide; `wire` writes and reads; `keeper`, `probe` and `watch` look after
//! what no call brings.

mod balance;
mod call;
mod config;
mod core;
mod exhibit;
mod flight;
mod health;
mod keeper;
mod limit;
mod link;
mod pool;
mod probe;
mod roster;
mod stats;
mod watch;
mod wire;

pub use call::{Answer, Call, CallError, HttpRequest, Place};
pub use config::{Balance, Limit, Probe, Protocol, Servers, UpstreamConfig, UpstreamError, UpstreamsOptions};
pub use wire::resp::RespValue;

use self::core::{Base, Core};
use crate::codec::Raw;
use crate::remote::Remote;
use crate::server::Builder;
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// All upstreams of a server.
pub(crate) struct House {
    base: Arc<Base>,
    options: UpstreamsOptions,
    cores: Mutex<Vec<Arc<Core>>>,
    watches: Mutex<bool>,
}

impl House {
    fn cores(&self) -> Vec<Arc<Core>> {
        self.cores.lock().clone()
    }
}

/// The upstreams of a server. Cheap to clone.
#[derive(Clone)]
pub struct Upstreams {
    house: Arc<House>,
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.house.cores().iter().map(|core| Arc::clone(&core.name))).finish()
    }
}

impl Upstreams {
    /// Makes room for upstreams in a server that is being built. The connections count towards
    /// [`Builder::outgoing_max`]; so does one task for each group.
    #[must_use]
    pub fn new(builder: &mut Builder, options: UpstreamsOptions) -> Self {
        let links = builder.dialer(wire::Wire, link::Client);
        let chores = builder.dialer(Raw, keeper::Chores);
        let base = Arc::new(Base { links, chores, bound: OnceLock::new() });
        let house = Arc::new(House { base, options, cores: Mutex::default(), watches: Mutex::new(false) });
        builder.exhibit(Arc::<House>::clone(&house));
        Self { house }
    }

    /// Says which server is running, so that probes begin before the first call. Calls do the same.
    pub fn bind(&self, remote: &Remote) {
        if let Some(bound) = self.house.base.bind(remote) {
            self.house.cores().iter().for_each(|core| core.begin(bound));
        }
    }

    /// Adds an upstream, or replaces the one of that name: its calls come to their end, its connections are not kept. One that
    /// has the same settings stays. May be called while the server runs. Blocks while names are looked up.
    ///
    /// # Errors
    /// If a setting is out of range, or a server cannot be understood or looked up.
    pub fn add(&self, name: &str, config: UpstreamConfig) -> Result<Upstream, UpstreamError> {
        if let Some(same) = self.get(name).filter(|upstream| upstream.core.config == config) {
            return Ok(same);
        }
        config.validate(name)?;
        let (specs, roster) = roster::first(name, &config)?;
        let watched = matches!(config.servers, Servers::File(_)) || roster::has_names(&specs);
        let core = Core::new(name, config, &self.house.base, specs, roster);
        if let Some(bound) = self.house.base.bound.get() {
            core.begin(bound);
        }
        let old = {
            let mut cores = self.house.cores.lock();
            match cores.iter_mut().find(|core| &*core.name == name) {
                Some(place) => Some(std::mem::replace(place, Arc::clone(&core))),
                None => {
                    cores.push(Arc::clone(&core));
                    None
                }
            }
        };
        if let Some(old) = old {
            old.retire();
        }
        if watched {
            self.watch(name)?;
        }
        Ok(Upstream { core })
    }

    fn watch(&self, name: &str) -> Result<(), UpstreamError> {
        let mut watches = self.house.watches.lock();
        if !std::mem::replace(&mut *watches, true) {
            watch::start(&self.house).map_err(|source| {
                *watches = false;
                UpstreamError::Thread { upstream: name.to_owned(), source }
            })?;
        }
        Ok(())
    }

    /// The upstream of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Upstream> {
        let cores = self.house.cores.lock();
        cores.iter().find(|core| &*core.name == name).map(|core| Upstream { core: Arc::clone(core) })
    }

    /// Removes an upstream: its calls come to their end, further ones fail. `false` if there is none of that name.
    pub fn remove(&self, name: &str) -> bool {
        let removed = {
            let mut cores = self.house.cores.lock();
            cores.iter().position(|core| &*core.name == name).map(|index| cores.remove(index))
        };
        removed.inspect(Core::retire).is_some()
    }
}

/// Servers that answer the same calls. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    core: Arc<Core>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("name", &self.core.name).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Its servers now, as they are named in answers and metrics.
    #[must_use]
    pub fn servers(&self) -> Vec<Arc<str>> {
        self.core.roster.read().iter().map(|server| Arc::clone(&server.name)).collect()
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.core.limiter.in_flight()
    }

    /// Asks one of the servers, over a connection of `group` of the server that `remote` reaches. `done` hears of the outcome
    /// exactly once: on a worker of that group; what fails at once, on this thread, before `call` returns; and what the
    /// end of the server cuts short, on the thread that ends it. It must not block: other calls may wait for its connection.
    pub fn call(
        &self,
        remote: &Remote,
        group: usize,
        call: Call,
        done: impl FnOnce(Result<Answer, CallError>) + Send + 'static,
    ) {
        self.core.call(remote, group, call, Box::new(done));
    }
}
