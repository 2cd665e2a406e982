//! What a program counts of its handlers (routes, methods of an RPC), on the admin pages.

use crate::admin::{Exhibit, Text};
use crate::histogram::Histogram;
use crate::server::Builder;
use parking_lot::RwLock;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// What is counted of one handler. Everything is relaxed: statistics order nothing.
#[derive(Debug)]
pub struct HandlerStats {
    name: String,
    errors: AtomicU64,
    in_flight: AtomicI64,
    times: Histogram,
}

impl HandlerStats {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A call is not over when its turn ends.
    pub fn goes_on(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A call that [went on](Self::goes_on) is over, whatever came of it.
    pub fn comes_back(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call was answered.
    pub fn answered(&self, took: Duration) {
        self.times.add(took);
    }

    /// A call has failed.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls answered.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.times.count()
    }

    /// At most this long was what `share` (0 to 1) of all calls took.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        self.times.percentile(share)
    }
}

/// The handlers of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handlers(Arc<Shown>);

#[derive(Debug, Default)]
struct Shown(RwLock<Vec<Arc<HandlerStats>>>);

impl Handlers {
    /// Makes room on the admin pages of a server that is being built.
    #[must_use]
    pub fn new(builder: &mut Builder) -> Self {
        let shown = Arc::new(Shown::default());
        builder.exhibit(Arc::<Shown>::clone(&shown));
        Self(shown)
    }

    /// The handler of that name, which is there from then on.
    #[must_use]
    pub fn get(&self, name: &str) -> Arc<HandlerStats> {
        let mut all = self.0.0.write();
        if let Some(there) = all.iter().find(|stats| stats.name == name) {
            return Arc::clone(there);
        }
        let stats = Arc::new(HandlerStats {
            name: name.to_owned(),
            errors: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            times: Histogram::default(),
        });
        all.push(Arc::clone(&stats));
        stats
    }
}

impl Exhibit for Shown {
    fn metrics(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.read();
        let label = |stats: &HandlerStats| [("handler", stats.name.clone())];
        let mut metric = encoder.encode_descriptor("handler_errors", "Calls that failed", None, MetricType::Counter)?;
        for stats in all.iter() {
            let count = stats.errors.load(Ordering::Relaxed);
            ConstCounter::new(count).encode(metric.encode_family(&label(stats))?)?;
        }
        let help = "Calls that go on after their turn";
        let mut metric = encoder.encode_descriptor("handler_in_flight", help, None, MetricType::Gauge)?;
        for stats in all.iter() {
            let count = stats.in_flight.load(Ordering::Relaxed);
            ConstGauge::new(count).encode(metric.encode_family(&label(stats))?)?;
        }
        let help = "Time from a request to its answer";
        let mut metric = encoder.encode_descriptor("handler_seconds", help, None, MetricType::Histogram)?;
        for stats in all.iter() {
            let buckets = stats.times.by_powers();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let label = label(stats);
            let mut one = metric.encode_family(&label)?;
            one.encode_histogram::<NoLabelSet>(stats.times.sum_seconds(), count, &buckets, None)?;
        }
        Ok(())
    }

    fn status(&self, page: &mut String) {
        let all = self.0.read();
        if all.is_empty() {
            return;
        }
        page.push_str(
            "<h2>Handlers</h2><table><tr><th>handler<th>calls<th>errors<th>in flight<th>p50<th>p90<th>p99</tr>",
        );
        for stats in all.iter() {
            // Writing to a string cannot fail.
            let _ = write!(
                page,
                "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{:?}<td class=n>{:?}<td class=n>{:?}</tr>",
                Text(&stats.name),
                stats.count(),
                stats.errors.load(Ordering::Relaxed),
                stats.in_flight.load(Ordering::Relaxed),
                stats.percentile(0.5),
                stats.percentile(0.9),
                stats.percentile(0.99),
            );
        }
        page.push_str("</table>");
    }
}
