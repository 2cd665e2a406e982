//! Pages for operators and their programs.

use super::subscriptions::read_number;
use super::{Control, Cx, JSON};
use crate::refusal::{Refusal, refusal};
use crate::stats::Transport;
use lf_core::codec::http::Request;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

const STATUS: &str = include_str!("../../assets/status.html");
const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");
const HTML: (&str, &str) = ("Content-Type", "text/html; charset=utf-8");
const OPEN_METRICS: (&str, &str) = ("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8");
const FRESH: (&str, &str) = ("Cache-Control", "no-store");

pub(super) fn unknown() -> Refusal {
    refusal(
        404,
        "POST /send/ID /direct/ID /batch; PUT or DELETE /subscriptions; GET /subscribers/ID /subscriptions/ID /connections \
         /metrics /healthz /readyz /status\n",
    )
}

impl Control {
    pub(super) fn page(&self, cx: &mut Cx<'_>, request: &Request<'_>, name: &str) -> Result<(), Refusal> {
        match name {
            "" | "status" => cx.respond(200, &[HTML, FRESH, ("X-Frame-Options", "DENY")], STATUS.as_bytes()),
            "status.json" => {
                let after = read_number(request, "after")?;
                cx.respond(200, &[JSON, FRESH], self.sampler.json(after).as_bytes());
            }
            "metrics" => {
                let text = self.metrics().ok_or_else(|| refusal(500, "cannot write the metrics\n"))?;
                cx.respond(200, &[OPEN_METRICS, FRESH], text.as_bytes());
            }
            "healthz" | "readyz" if self.remote.is_draining() => {
                cx.respond(503, &[TEXT, FRESH], b"draining\n");
            }
            // The listeners open once the store is loaded, so who is answered may come.
            "healthz" | "readyz" => cx.respond(200, &[TEXT, FRESH], b"ok\n"),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// The server's metrics and ours, as one page.
    fn metrics(&self) -> Option<String> {
        let server = self.remote.metrics()?;
        let mut registry = Registry::with_prefix("lf_comet");
        registry.register_collector(Box::new(Page::of(self)));
        let mut ours = String::new();
        encode(&mut ours, &registry).ok()?;
        Some(server.strip_suffix("# EOF\n")?.to_owned() + &ours)
    }
}

#[derive(Debug)]
struct Page {
    counters: Vec<(&'static str, &'static str, u64)>,
    connected: [u64; Transport::ALL.len()],
    gauges: Vec<(&'static str, &'static str, u64)>,
}

impl Page {
    fn of(control: &Control) -> Self {
        let hub = &control.hub;
        let stats = hub.stats();
        let subscriptions = hub.subscriptions();
        Self {
            counters: stats.counters().collect(),
            connected: Transport::ALL.map(|transport| stats.connected(transport).get()),
            gauges: vec![
                (
                    "waiting_bytes",
                    "Bytes that wait for slow subscribers, beside what lf_queued_bytes counts",
                    stats.waiting_bytes.get(),
                ),
                ("backlog_deliveries", "Deliveries under way: recipients times messages", hub.backlog() as u64),
                ("history_bytes", "Bytes of messages that are remembered", hub.history_bytes() as u64),
                ("subscriptions", "Subscriptions on record", subscriptions.edges()),
                ("names", "Ids that are connected or have subscriptions", hub.names().len() as u64),
            ],
        }
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in &self.counters {
            let help = help.trim_end_matches('.');
            ConstCounter::new(*value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        for (name, help, value) in &self.gauges {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "Subscribers that are connected, by transport";
        let mut connected = encoder.encode_descriptor("connected", help, None, MetricType::Gauge)?;
        for (transport, count) in Transport::ALL.iter().zip(self.connected) {
            let labels = [("transport", transport.label())];
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(connected.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
