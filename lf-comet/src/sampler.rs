//! The last minutes in figures, a sample a second, for the status page.

use crate::hub::Hub;
use crate::stats::Transport;
use lf_core::Remote;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Samples that are kept: ten minutes.
const SAMPLES: usize = 600;
const EVERY: Duration = Duration::from_secs(1);

/// Totals at one moment, of which differences are rates.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    logins: u64,
    logouts: u64,
    published: u64,
    handed_over: u64,
    dropped: u64,
}

/// A second, as the status page shows it.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    /// Seconds since the start.
    t: u64,
    /// Subscribers by transport, in the order of `transports`.
    connected: [u64; Transport::ALL.len()],
    logins: u64,
    logouts: u64,
    published: u64,
    delivered: u64,
    dropped: u64,
    queued_bytes: u64,
    backlog: usize,
    history_bytes: usize,
    resident_bytes: u64,
}

/// Takes a sample a second while it lives.
#[derive(Debug)]
pub struct Sampler {
    hub: Arc<Hub>,
    remote: Remote,
    samples: Mutex<(Totals, VecDeque<Sample>)>,
    started: Instant,
}

impl Sampler {
    /// Watches `hub` and the server that `remote` reaches.
    #[must_use]
    pub fn new(hub: Arc<Hub>, remote: Remote) -> Arc<Self> {
        Arc::new(Self { hub, remote, samples: Mutex::default(), started: Instant::now() })
    }

    /// Starts the thread that takes the samples; it ends with the sampler.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let sampler: Weak<Self> = Arc::downgrade(self);
        std::thread::Builder::new().name("sampler".into()).spawn(move || {
            while let Some(alive) = sampler.upgrade() {
                alive.sample();
                drop(alive);
                std::thread::sleep(EVERY);
            }
        })
    }

    fn sample(&self) {
        let stats = self.hub.stats();
        let dropped = [&stats.dropped_full, &stats.dropped_newest, &stats.dropped_oldest, &stats.dropped_disconnected];
        let now = Totals {
            logins: stats.logins.get(),
            logouts: stats.logouts.get(),
            published: stats.published.get(),
            handed_over: stats.handed_over.get(),
            dropped: dropped.iter().map(|counter| counter.get()).sum(),
        };
        let server_queued = self.remote.stats().map_or(0, |server| server.queued_bytes());
        let mut samples = self.samples.lock();
        let before = std::mem::replace(&mut samples.0, now);
        samples.1.push_back(Sample {
            t: self.started.elapsed().as_secs(),
            connected: Transport::ALL.map(|transport| stats.connected(transport).get()),
            logins: now.logins - before.logins,
            logouts: now.logouts - before.logouts,
            published: now.published - before.published,
            delivered: now.handed_over - before.handed_over,
            dropped: now.dropped - before.dropped,
            queued_bytes: stats.waiting_bytes.get() + server_queued,
            backlog: self.hub.backlog(),
            history_bytes: self.hub.history_bytes(),
            resident_bytes: lf_core::resident_bytes(),
        });
        if samples.1.len() > SAMPLES {
            samples.1.pop_front();
        }
    }

    /// The samples, those after second `after` or all, and the totals, for the status page.
    pub(crate) fn json(&self, after: Option<u64>) -> String {
        let transports = Transport::ALL.map(Transport::label);
        let counters: serde_json::Map<_, _> =
            self.hub.stats().counters().map(|(name, _, value)| (name.to_owned(), value.into())).collect();
        let help: serde_json::Map<_, _> =
            self.hub.stats().counters().map(|(name, help, _)| (name.to_owned(), help.into())).collect();
        let samples = self.samples.lock();
        let newer: Vec<_> = samples.1.iter().filter(|sample| after.is_none_or(|after| sample.t > after)).collect();
        let page = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "draining": self.remote.is_draining(),
            "uptime_s": self.started.elapsed().as_secs(),
            "transports": transports,
            "subscriptions": self.hub.subscriptions().edges(),
            "names": self.hub.names().len(),
            "counters": counters,
            "help": help,
            "samples": newer,
        });
        page.to_string()
    }
}
