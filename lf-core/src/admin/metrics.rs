//! `/metrics`: the counters in the OpenMetrics text format, which Prometheus reads.

use super::Exhibit;
use crate::shared::Shared;
use crate::stats::{CloseReason, Count, Refusal, Snapshot};
use crate::sys::limits;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) fn text(server: &Shared) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("lf");
    let workers = server.groups.iter().map(|group| group.workers.load(Ordering::Relaxed)).collect();
    registry.register_collector(Box::new(Page {
        exhibits: server.exhibits.clone(),
        snapshot: server.snapshot(),
        workers,
        max_connections: server.max_connections,
        outgoing_max: server.outgoing_max,
        uptime_seconds: server.uptime().as_secs_f64(),
        resident_bytes: limits::resident_bytes(),
    }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

struct Page {
    exhibits: Box<[Arc<dyn Exhibit>]>,
    snapshot: Snapshot,
    workers: Vec<usize>,
    max_connections: usize,
    outgoing_max: usize,
    uptime_seconds: f64,
    resident_bytes: u64,
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// One metric with a label that takes several values.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    label: &str,
    values: impl Iterator<Item = (String, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (value, count) in values {
        let labels = [(label, value.as_str())];
        let one = metric.encode_family(&labels)?;
        if matches!(kind, MetricType::Gauge) {
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(one)?;
        } else {
            ConstCounter::new(count).encode(one)?;
        }
    }
    Ok(())
}

fn numbered(values: &[usize]) -> impl Iterator<Item = (String, u64)> + '_ {
    values.iter().enumerate().map(|(index, value)| (index.to_string(), *value as u64))
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let stats = &self.snapshot;
        for count in Count::ALL {
            let metric = encoder.encode_descriptor(
                count.label(),
                count.help().trim_end_matches('.'),
                None,
                MetricType::Counter,
            )?;
            ConstCounter::new(stats.count(*count)).encode(metric)?;
        }
        let closes = CloseReason::ALL.iter().map(|why| (why.label().to_owned(), stats.closed(*why)));
        family(encoder, ("closed", "Connections that ended, by reason", MetricType::Counter), "reason", closes)?;
        let ends = CloseReason::ALL.iter().map(|why| (why.label().to_owned(), stats.outgoing_closed(*why)));
        let help = "Connections that the server had opened and that ended, by reason";
        family(encoder, ("outgoing_closed", help, MetricType::Counter), "reason", ends)?;
        let refusals = Refusal::ALL.iter().map(|why| (why.label().to_owned(), stats.refused(*why)));
        family(encoder, ("refused", "Connections turned away, by reason", MetricType::Counter), "reason", refusals)?;
        let groups = numbered(stats.group_connections());
        family(encoder, ("group_connections", "Connections open, by group", MetricType::Gauge), "group", groups)?;
        let workers = numbered(&self.workers);
        family(encoder, ("group_workers", "Worker threads started, by group", MetricType::Gauge), "group", workers)?;
        gauge(encoder, "connections", "Connections open", stats.connections() as u64)?;
        gauge(encoder, "connections_max", "Connections that the server takes at most", self.max_connections as u64)?;
        gauge(
            encoder,
            "outgoing_connections",
            "Connections that the server opened, and tasks",
            stats.outgoing() as u64,
        )?;
        let help = "Connections that the server opens at most, and tasks";
        gauge(encoder, "outgoing_connections_max", help, self.outgoing_max as u64)?;
        gauge(encoder, "queued_bytes", "Bytes queued for peers", stats.queued_bytes())?;
        gauge(encoder, "resident_memory_bytes", "Resident memory of the process", self.resident_bytes)?;
        let uptime = encoder.encode_descriptor("uptime_seconds", "Time since the start", None, MetricType::Gauge)?;
        ConstGauge::new(self.uptime_seconds).encode(uptime)?;
        self.encode_turn_times(encoder)?;
        self.exhibits.iter().try_for_each(|exhibit| exhibit.metrics(encoder))
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

impl Page {
    fn encode_turn_times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "turn_seconds",
            "Time of a turn, from its event to the next one",
            None,
            MetricType::Histogram,
        )?;
        let buckets: Vec<(f64, u64)> = self
            .snapshot
            .turn_times()
            .map(|(bound_us, count)| (bound_us.map_or(f64::INFINITY, |us| us as f64 / 1e6), count))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<NoLabelSet>(self.snapshot.turn_time().as_secs_f64(), count, &buckets, None)
    }
}
