//! A thread that looks after files with servers, and after names: looking names up may block for seconds.

use super::House;
use super::config::{Servers, UpstreamError};
use super::core::Core;
use super::roster;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

/// How often the thread looks whether it is still wanted, and whether something is due.
const LOOK: Duration = Duration::from_millis(100);

/// A file as it was: by its time and its length.
type Stamp = Option<(SystemTime, u64)>;

/// What was seen of one upstream.
struct Seen {
    core: Weak<Core>,
    file: Stamp,
    file_at: Instant,
    names_at: Instant,
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Starts the thread; it ends within a moment of the last upstream.
pub(super) fn start(house: &Arc<House>) -> std::io::Result<()> {
    let house = Arc::downgrade(house);
    std::thread::Builder::new().name("lf-upstreams".into()).spawn(move || run(&house)).map(drop)
}

fn run(house: &Weak<House>) {
    let mut seen: HashMap<usize, Seen> = HashMap::new();
    loop {
        let Some(alive) = house.upgrade() else { return };
        let poll = alive.options.file_poll;
        for core in alive.cores() {
            // By its address, which `Seen::core` keeps from being given to another one.
            let seen = seen.entry(Arc::as_ptr(&core) as usize).or_insert_with(|| {
                let now = Instant::now();
                // Read once more at first: it may have changed since the upstream was made.
                Seen { core: Arc::downgrade(&core), file: None, file_at: now, names_at: now }
            });
            look(&core, seen, poll);
        }
        drop(alive);
        seen.retain(|_, seen| seen.core.strong_count() > 0);
        std::thread::sleep(LOOK.min(poll));
    }
}

fn look(core: &Arc<Core>, seen: &mut Seen, poll: Duration) {
    let now = Instant::now();
    let mut again = false;
    if let Servers::File(path) = &core.config.servers
        && now >= seen.file_at
    {
        seen.file_at = now + poll;
        let found = stamp(path);
        if found != seen.file {
            seen.file = found;
            match roster::specs(&core.name, &core.config.servers) {
                // Who writes a file anew empties it first.
                Ok(specs) if specs.is_empty() => {
                    tracing::warn!(upstream = %core.name, "the file with its servers is empty; they stay as they are");
                }
                Ok(specs) => {
                    again = specs != *core.specs.lock();
                    *core.specs.lock() = specs;
                }
                Err(error) => tracing::warn!(%error, "the servers stay as they are"),
            }
        }
    }
    let specs = core.specs.lock().clone();
    if let Some(refresh) = core.config.dns_refresh.filter(|_| roster::has_names(&specs)) {
        again |= now >= seen.names_at + refresh;
    }
    if !again {
        return;
    }
    let old = Arc::clone(&core.roster.read());
    match roster::muster(&core.name, &specs, &old) {
        Ok(roster) => core.set_roster(&roster),
        Err(error @ UpstreamError::Server { .. }) => tracing::warn!(%error, "the servers stay as they are"),
        Err(error) => tracing::error!(%error, "the servers stay as they are"),
    }
    seen.names_at = Instant::now();
}
