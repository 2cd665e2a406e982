//! What a run has found: rates, latencies, errors, and whether the generator itself was the limit.

use super::Plan;
use super::tally::{Faults, Tally, new_histogram};
use crate::account::Use;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Above this share of a core a generator thread may be what is measured.
pub(crate) const BUSY_MAX: f64 = 0.90;
/// Cores that others may use before it is worth a word; ticks of 10 ms blur short runs.
pub(crate) const OTHER_CORES_MAX: f64 = 0.25;
/// Percentiles of the curve that the report draws.
const CURVE: [f64; 22] = [
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.0, 98.0, 99.0, 99.5, 99.9,
    99.95, 99.99, 100.0,
];

/// Latencies in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Percentile and microseconds.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |percentile: f64| micros(histogram.value_at_percentile(percentile));
        Some(Latency {
            mean_us: histogram.mean() / 1e3,
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p999_us: at(99.9),
            max_us: micros(histogram.max()),
            curve: CURVE.iter().map(|percentile| (*percentile, at(*percentile))).collect(),
        })
    }
}

/// The requests of one kind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kind {
    pub(crate) requests: u64,
    pub(crate) latency: Latency,
}

impl Kind {
    /// The kind at `index`, over all threads.
    fn of(tallies: &[Tally], index: usize) -> Self {
        let (mut all, mut requests) = (new_histogram(), 0);
        for kind in tallies.iter().filter_map(|tally| tally.kinds.get(index)) {
            // All histograms have the same bounds.
            let _ = all.add(&kind.latency);
            requests += kind.answered;
        }
        Kind { requests, latency: Latency::of(&all).unwrap_or_default() }
    }
}

/// The generator's own share of the machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ClientUse {
    /// CPU of the busiest thread, 1.0 = a whole core.
    pub(crate) busy_max: f64,
    pub(crate) cpu_us_per_request: f64,
    /// The generator was busy and the server was not: the figures are the generator's.
    pub(crate) is_bottleneck: bool,
}

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) mode: &'static str,
    pub(crate) target: String,
    pub(crate) connections: u32,
    pub(crate) size: usize,
    pub(crate) depth: usize,
    pub(crate) seconds: f64,
    /// Answered while measuring, normal ones.
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) latency: Latency,
    /// `mixed`: the requests that asked for a slow handler.
    pub(crate) slow_requests: u64,
    pub(crate) slow_requests_per_second: f64,
    pub(crate) slow_latency: Option<Latency>,
    /// By kind of request; empty where there is one only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) kinds: Vec<Kind>,
    /// `rate`: due, but never sent before the run ended.
    pub(crate) unsent: u64,
    pub(crate) errors: Faults,
    pub(crate) client: ClientUse,
    pub(crate) server: Option<Use>,
    /// CPU seconds per second that neither the generator nor the server has used.
    pub(crate) other_cores: Option<f64>,
}

/// The measured time, and what the whole machine worked in it.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) time: Duration,
    pub(super) machine: Duration,
}

impl Outcome {
    pub(super) fn new(
        plan: &Plan,
        window: Window,
        (requests, slow_requests): (u64, u64),
        tallies: &[Tally],
        server: Option<Use>,
    ) -> Self {
        let (mut normal, mut slow) = (new_histogram(), new_histogram());
        let mut errors = Faults::default();
        for tally in tallies {
            // All histograms have the same bounds.
            let _ = normal.add(&tally.normal);
            let _ = slow.add(&tally.slow);
            errors.merge(&tally.faults);
        }
        let busy_max = tallies.iter().map(|tally| tally.busy).fold(0.0, f64::max);
        let cpu_us: f64 = tallies.iter().map(|tally| tally.cpu.as_secs_f64() * 1e6).sum();
        let server_is_busy = server.as_ref().is_some_and(|server| server.cores > BUSY_MAX);
        let seconds = window.time.as_secs_f64();
        let own = server.as_ref().map(|server| server.cores + cpu_us / 1e6 / seconds);
        let machine = window.machine.as_secs_f64() / seconds;
        let open_loop = plan.mode.rate().is_some();
        Outcome {
            mode: plan.mode.name(),
            target: plan.target.to_string(),
            connections: plan.connections,
            size: plan.size,
            depth: plan.depth,
            seconds,
            requests,
            requests_per_second: count(requests) / seconds,
            latency: Latency::of(&normal).unwrap_or_default(),
            slow_requests,
            slow_requests_per_second: count(slow_requests) / seconds,
            slow_latency: Latency::of(&slow),
            kinds: (0..tallies.first().map_or(0, |tally| tally.kinds.len())).map(|i| Kind::of(tallies, i)).collect(),
            unsent: tallies.iter().map(|tally| tally.unsent).sum(),
            errors,
            client: ClientUse {
                busy_max,
                cpu_us_per_request: cpu_us / count(requests + slow_requests).max(1.0),
                is_bottleneck: busy_max > BUSY_MAX && !server_is_busy && !open_loop,
            },
            other_cores: own.map(|own| (machine - own).max(0.0)),
            server,
        }
    }

    /// Whether other work on this machine has taken enough CPU to move the figures.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.other_cores.is_some_and(|cores| cores > OTHER_CORES_MAX)
    }

    /// Warnings that belong beside the figures.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.client.is_bottleneck {
            warnings.push(format!(
                "the generator is the bottleneck: its busiest thread used {:.0} % of a core and the server was not busy; \
                 give it --threads or a core of its own (--pin)",
                self.client.busy_max * 100.0
            ));
        }
        if let Some(cores) = self.other_cores.filter(|_| self.is_disturbed()) {
            warnings.push(format!(
                "other work on this machine took {cores:.2} cores: CPU per request depends on who shares a core with whom; \
                 measure again when it is quiet"
            ));
        }
        if self.errors.ports > 0 {
            warnings.push(format!(
                "{} connections found no free local port; give more --sources, or --close rst",
                self.errors.ports
            ));
        }
        if self.unsent > 0 {
            warnings.push(format!(
                "{} requests were due and not sent: the server did not keep up with the rate; \
                 their latency is counted up to the end of the run",
                self.unsent
            ));
        }
        warnings
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run counts far less than 2^53 requests")]
pub(crate) fn count(requests: u64) -> f64 {
    requests as f64
}

fn micros(ns: u64) -> f64 {
    count(ns) / 1e3
}
