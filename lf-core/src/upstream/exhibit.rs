//! Upstreams on the admin pages: metrics with the labels `upstream` and `server`, and a table.

use super::House;
use super::core::Core;
use super::health::Standing;
use super::roster::Server;
use crate::admin::{Exhibit, Text};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A number of an upstream: name, help, what it is.
type OfCore = (&'static str, &'static str, fn(&Core) -> u64);
/// The same of a server.
type OfServer = (&'static str, &'static str, fn(&Core, &Server) -> u64);

const CORE_COUNTS: [OfCore; 9] = [
    ("upstream_calls", "Calls made", |core| core.stats.calls.get()),
    ("upstream_answers", "Calls answered", |core| core.stats.answers.get()),
    ("upstream_retries", "Requests made because another one failed", |core| core.stats.retries.get()),
    ("upstream_over_budget", "Retries and backups that the budget did not allow", |core| core.stats.over_budget.get()),
    ("upstream_stale", "Requests repeated because a kept connection was closed", |core| core.stats.stale.get()),
    ("upstream_backups", "Backup requests made", |core| core.stats.backups.get()),
    ("upstream_backups_won", "Backup requests that were answered first", |core| core.stats.backups_won.get()),
    ("upstream_all_out", "Requests to servers that were out because all were", |core| core.stats.all_out.get()),
    ("upstream_queued", "Calls that waited for a connection", |core| core.stats.queued.get()),
];

const CORE_GAUGES: [OfCore; 4] = [
    ("upstream_in_flight", "Calls in flight", |core| core.limiter.in_flight() as u64),
    ("upstream_limit", "Calls that may be in flight", |core| core.limiter.limit() as u64),
    ("upstream_connections", "Connections to its servers", |core| sums(core).0 as u64),
    ("upstream_waiting", "Calls that wait for a connection", |core| sums(core).2 as u64),
];

const SERVER_COUNTS: [OfServer; 3] = [
    ("upstream_requests", "Requests made, retries and backups included", |_, server| server.stats.requests.get()),
    ("upstream_outs", "Times that the server was taken out", |_, server| server.stats.outs.get()),
    ("upstream_probes_failed", "Probes that failed", |_, server| server.stats.probes_failed.get()),
];

const SERVER_GAUGES: [OfServer; 2] = [
    ("upstream_server_in_flight", "Requests in flight", |_, server| server.in_flight.load(Ordering::Relaxed) as u64),
    ("upstream_server_up", "1 if the server is asked, 0 if it is out", |core, server| u64::from(is_up(core, server))),
];

fn is_up(core: &Core, server: &Server) -> bool {
    server.health.standing(core.now_ms()) == Standing::Up
}

/// (connections, idle ones, calls that wait)
fn sums(core: &Core) -> (usize, usize, usize) {
    core.pools().iter().map(super::pool::Pool::counts).fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
}

fn number(encoder: MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Gauge => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
        MetricType::Counter | MetricType::Histogram | MetricType::Info | MetricType::Unknown => {
            ConstCounter::new(value).encode(encoder)
        }
    }
}

impl House {
    fn encode_cores(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: MetricType,
        (name, help, value): OfCore,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for core in self.cores() {
            number(metric.encode_family(&[("upstream", &*core.name)])?, kind, value(&core))?;
        }
        Ok(())
    }

    fn encode_servers(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: MetricType,
        (name, help, value): OfServer,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        self.each_server(|core, server| number(metric.encode_family(&labels(core, server))?, kind, value(core, server)))
    }

    fn each_server(&self, mut f: impl FnMut(&Core, &Server) -> fmt::Result) -> fmt::Result {
        for core in self.cores() {
            let roster = Arc::clone(&core.roster.read());
            roster.iter().try_for_each(|server| f(&core, server))?;
        }
        Ok(())
    }
}

fn labels<'a>(core: &'a Core, server: &'a Server) -> [(&'static str, &'a str); 2] {
    [("upstream", &core.name), ("server", &server.name)]
}

impl Exhibit for House {
    fn metrics(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for each in CORE_COUNTS {
            self.encode_cores(encoder, MetricType::Counter, each)?;
        }
        for each in CORE_GAUGES {
            self.encode_cores(encoder, MetricType::Gauge, each)?;
        }
        for each in SERVER_COUNTS {
            self.encode_servers(encoder, MetricType::Counter, each)?;
        }
        for each in SERVER_GAUGES {
            self.encode_servers(encoder, MetricType::Gauge, each)?;
        }
        let help = "Calls without an answer, by kind of error";
        let mut metric = encoder.encode_descriptor("upstream_errors", help, None, MetricType::Counter)?;
        for core in self.cores() {
            for (error, count) in core.stats.errors.by_label() {
                let labels = [("upstream", &*core.name), ("error", error)];
                ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Requests without an answer, by kind of error";
        let mut metric = encoder.encode_descriptor("upstream_request_errors", help, None, MetricType::Counter)?;
        self.each_server(|core, server| {
            for (error, count) in server.stats.errors.by_label() {
                let [upstream, name] = labels(core, server);
                ConstCounter::new(count).encode(metric.encode_family(&[upstream, name, ("error", error)])?)?;
            }
            Ok(())
        })?;
        let help = "Time from a request to its answer";
        let mut metric = encoder.encode_descriptor("upstream_answer_seconds", help, None, MetricType::Histogram)?;
        self.each_server(|core, server| {
            let times = &server.stats.times;
            let buckets = times.by_powers();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let labels = labels(core, server);
            let mut one = metric.encode_family(&labels)?;
            one.encode_histogram::<prometheus_client::encoding::NoLabelSet>(times.sum_seconds(), count, &buckets, None)
        })
    }

    fn status(&self, page: &mut String) {
        for core in self.cores() {
            // Writing to a string cannot fail.
            let _ = status(page, &core);
        }
    }
}

fn status(page: &mut String, core: &Core) -> fmt::Result {
    let (stats, (links, idle, waiting)) = (&core.stats, sums(core));
    let limit = core.limiter.limit();
    let limit = if limit == usize::MAX { String::new() } else { format!(" of {limit}") };
    write!(
        page,
        "<h2>Upstream {}</h2><p>{} calls, {} answers, {} errors, {} in flight{limit}, {waiting} waiting; {links} connections, \
         {idle} idle; {} retries, {} backups of which {} won, {} times all out</p>",
        Text(&core.name),
        stats.calls.get(),
        stats.answers.get(),
        stats.errors.total(),
        core.limiter.in_flight(),
        stats.retries.get(),
        stats.backups.get(),
        stats.backups_won.get(),
        stats.all_out.get(),
    )?;
    page.push_str(
        "<table><tr><th>server<th>state<th>weight<th>requests<th>in flight<th>errors<th>p50<th>p90<th>p99<th>out</tr>",
    );
    let roster = Arc::clone(&core.roster.read());
    for server in roster.iter() {
        let state = if is_up(core, server) { "up" } else { "out" };
        let times = &server.stats.times;
        write!(
            page,
            "<tr><td>{}<td>{state}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{:?}<td class=n>{:?}\
             <td class=n>{:?}<td class=n>{}</tr>",
            Text(&server.name),
            server.weight(),
            server.stats.requests.get(),
            server.in_flight.load(Ordering::Relaxed),
            server.stats.errors.total(),
            times.percentile(0.5),
            times.percentile(0.9),
            times.percentile(0.99),
            server.stats.outs.get(),
        )?;
    }
    page.push_str("</table>");
    Ok(())
}
