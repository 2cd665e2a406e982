//! What a run has found.

use super::Plan;
use super::crowd::Received;
use super::cursor::Verdicts;
use crate::account::Use;
use crate::footprint::Memory;
use crate::load::{BUSY_MAX, Faults, Latency, OTHER_CORES_MAX, Snapshot, count};
use crate::publish::{Ids, Published, Rate, Via};
use crate::table;
use crate::wire::Transport;
use serde::Serialize;

/// One message in so many may come due in the last moment without a word about it.
const UNSENT_PER_MESSAGE: u64 = 500;

/// All that the threads of a run hand back.
pub(super) struct Run {
    pub(super) subscribers: u64,
    /// Until all were in.
    pub(super) in_seconds: f64,
    pub(super) memory: Memory,
    pub(super) first: Snapshot,
    pub(super) last: Snapshot,
    /// Messages that the server took between the two.
    pub(super) taken: u64,
    pub(super) published: Published,
    pub(super) received: Received,
}

/// What a delivery costs the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) deliveries_per_cpu_second: f64,
    pub(crate) cpu_us_per_delivery: f64,
    pub(crate) user_us_per_delivery: f64,
    pub(crate) system_us_per_delivery: f64,
    pub(crate) switches_per_delivery: f64,
    pub(crate) cores: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) threads: usize,
}

impl From<Use> for Server {
    fn from(used: Use) -> Self {
        Server {
            deliveries_per_cpu_second: used.requests_per_cpu_second,
            cpu_us_per_delivery: used.cpu_us_per_request,
            user_us_per_delivery: used.user_us_per_request,
            system_us_per_delivery: used.system_us_per_request,
            switches_per_delivery: used.switches_per_request,
            cores: used.cores,
            rss_bytes: used.rss_bytes,
            threads: used.threads,
        }
    }
}

/// What became of the publishing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sent {
    /// In the whole run.
    pub(crate) messages: u64,
    /// Answered that they were taken.
    pub(crate) taken: u64,
    /// Recipients by the server's own word; 0 where it says nothing.
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
    pub(crate) unanswered: u64,
    /// At a rate: due, but never sent before the run ended.
    pub(crate) unsent: u64,
    /// From send to answer.
    pub(crate) answer: Latency,
    pub(crate) errors: Faults,
    pub(crate) first_error: Option<String>,
    /// The window stayed full without a delivery for longer than `--timeout`.
    pub(crate) is_stuck: bool,
}

impl From<&Published> for Sent {
    fn from(published: &Published) -> Self {
        Sent {
            messages: published.sent,
            taken: published.taken,
            delivered: published.delivered,
            refused: published.refused,
            unanswered: published.unanswered,
            unsent: published.tally.unsent,
            answer: Latency::of(&published.tally.normal).unwrap_or_default(),
            errors: published.tally.faults,
            first_error: published.first_error.clone(),
            is_stuck: published.is_stuck,
        }
    }
}

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) target: String,
    pub(crate) transport: Transport,
    pub(crate) via: Via,
    pub(crate) rate: Rate,
    pub(crate) window: usize,
    pub(crate) ids: Ids,
    pub(crate) size: usize,
    /// Wanted, and in when publishing began.
    pub(crate) wanted: u32,
    pub(crate) subscribers: u64,
    pub(crate) subscribers_in_seconds: f64,
    pub(crate) seconds: f64,
    /// While measuring: messages that the server has answered, and what came of them.
    pub(crate) messages_per_second: f64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_second: f64,
    /// From send to receipt.
    pub(crate) latency: Latency,
    pub(crate) verdicts: Verdicts,
    pub(crate) disconnected: u64,
    pub(crate) exchanged: u64,
    pub(crate) stalled: u64,
    /// Of the stalled ones, those that the server has ended.
    pub(crate) stalled_ended: u64,
    pub(crate) errors: Faults,
    pub(crate) first_error: Option<String>,
    pub(crate) sent: Sent,
    /// Before the first message, per subscriber.
    pub(crate) memory: Memory,
    pub(crate) server: Option<Server>,
    /// CPU of the generator's threads, 1.0 = a whole core.
    pub(crate) receiver_busy: f64,
    pub(crate) publisher_busy: f64,
    /// The generator was busy and the server was not: the deliveries per second are the generator's.
    pub(crate) is_bound_by_client: bool,
    /// CPU seconds per second that neither the generator nor the server has used.
    pub(crate) other_cores: Option<f64>,
}

impl Outcome {
    pub(super) fn new(plan: &Plan, run: &Run) -> Self {
        let deliveries = run.last.normal - run.first.normal;
        let seconds = (run.last.at - run.first.at).as_secs_f64();
        let server = match (&run.first.account, &run.last.account) {
            (Some(from), Some(to)) => Some(Server::from(Use::between(from, to, deliveries))),
            _ => None,
        };
        let (received, published) = (&run.received.tally, &run.published.tally);
        let own_cores = (received.cpu + published.cpu).as_secs_f64() / seconds;
        let machine_cores = run.last.machine.saturating_sub(run.first.machine).as_secs_f64() / seconds;
        let server_is_busy = server.is_some_and(|server| server.cores > BUSY_MAX);
        let busy_max = received.busy.max(published.busy);
        let stalled = (0..plan.subscribers as usize).filter(|place| plan.is_stalled(*place)).count();
        Outcome {
            target: plan.target.to_string(),
            transport: plan.transport,
            via: plan.publish.via,
            rate: plan.publish.rate,
            window: plan.publish.window,
            ids: plan.ids,
            size: plan.publish.size,
            wanted: plan.subscribers,
            subscribers: run.subscribers,
            subscribers_in_seconds: run.in_seconds,
            seconds,
            messages_per_second: count(run.taken) / seconds,
            deliveries,
            deliveries_per_second: count(deliveries) / seconds,
            latency: Latency::of(&received.normal).unwrap_or_default(),
            verdicts: run.received.verdicts,
            disconnected: run.received.disconnected,
            exchanged: run.received.exchanged,
            stalled: stalled as u64,
            stalled_ended: run.received.stalled_ended,
            errors: received.faults,
            first_error: run.received.first_error.clone(),
            sent: Sent::from(&run.published),
            memory: run.memory,
            other_cores: server.map(|server| (machine_cores - own_cores - server.cores).max(0.0)),
            server,
            receiver_busy: received.busy,
            publisher_busy: published.busy,
            is_bound_by_client: busy_max > BUSY_MAX && !server_is_busy && plan.publish.rate == Rate::Max,
        }
    }

    /// Whether every subscriber was there all the time and got exactly what it should.
    pub(crate) fn is_clean(&self) -> bool {
        self.verdicts.is_clean()
            && self.subscribers >= u64::from(self.wanted)
            && self.disconnected == 0
            && self.sent.refused + self.sent.unanswered == 0
            && !self.sent.is_stuck
    }

    /// Whether other work on this machine has taken enough CPU to move the figures.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.other_cores.is_some_and(|cores| cores > OTHER_CORES_MAX)
    }

    /// Warnings that belong beside the figures.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.subscribers < u64::from(self.wanted) {
            warnings.push(format!("only {} of {} subscribers were let in", self.subscribers, self.wanted));
        }
        if self.disconnected > 0 {
            warnings.push(format!("{} subscribers were disconnected before the end", self.disconnected));
        }
        if self.sent.refused + self.sent.unanswered > 0 {
            let (refused, unanswered) = (self.sent.refused, self.sent.unanswered);
            warnings.push(format!("{refused} messages were refused, {unanswered} never answered"));
        }
        if let Some(error) = self.first_error.as_ref() {
            warnings.push(format!("the first that a subscriber could not read: {error}"));
        }
        if let Some(error) = self.sent.first_error.as_ref() {
            warnings.push(format!("the first message that was not taken: {error}"));
        }
        if self.sent.is_stuck {
            warnings
                .push("the window stayed full and nothing was received any more: publishing was given up".to_owned());
        }
        if self.sent.unsent > self.sent.messages / UNSENT_PER_MESSAGE {
            warnings.push(format!(
                "{} messages were due and not sent: the server did not keep up with the rate",
                self.sent.unsent
            ));
        }
        if self.is_bound_by_client {
            warnings.push(format!(
                "the generator is the bottleneck: its receiving thread used {:.0} % of a core, its publishing thread {:.0} %, \
                 and the server was not busy; the figures per CPU second hold, the deliveries per second do not",
                self.receiver_busy * 100.0,
                self.publisher_busy * 100.0
            ));
        }
        if let Some(cores) = self.other_cores.filter(|_| self.is_disturbed()) {
            warnings.push(format!("other work on this machine took {cores:.2} cores: measure again when it is quiet"));
        }
        warnings
    }

    /// The run as a person reads it.
    pub(crate) fn describe(&self) -> String {
        let mut drawn = table::new(&["comet", "a second", "mean", "p50", "p90", "p99", "p99.9", "max"]);
        for (name, rate, latency) in [
            ("deliveries", self.deliveries_per_second, &self.latency),
            ("messages, to their answer", self.messages_per_second, &self.sent.answer),
        ] {
            let mut row = vec![name.to_owned(), table::number(rate)];
            let times =
                [latency.mean_us, latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
            row.extend(times.map(table::micros));
            drawn.add_row(row);
        }
        let mut text = format!(
            "{} subscribers over {} on {}, ids {}, {} bytes, rate {}, window {}, {:.2} s; all in after {:.2} s\n{drawn}\n",
            self.subscribers,
            self.transport,
            self.target,
            self.ids,
            self.size,
            self.rate,
            self.window,
            self.seconds,
            self.subscribers_in_seconds
        );
        text.push_str(&format!(
            "{} messages, {} deliveries: {}; {} disconnected, {} exchanged, {} stalled of which {} ended by the server\n\
             errors: {}; of the publisher: {}, {} refused, {} unanswered\n",
            self.sent.messages, self.verdicts.delivered, self.verdicts.describe(), self.disconnected, self.exchanged,
            self.stalled, self.stalled_ended, self.errors.describe(), self.sent.errors.describe(), self.sent.refused, self.sent.unanswered
        ));
        text.push_str(&format!(
            "generator: receiving thread {:.0} % of a core, publishing thread {:.0} %",
            self.receiver_busy * 100.0,
            self.publisher_busy * 100.0
        ));
        if let Some(server) = &self.server {
            text.push_str(&format!(
                "\nserver: {} deliveries per CPU second, {:.2} us CPU per delivery ({:.2} user, {:.2} system), \
                 {:.2} context switches per delivery, {:.2} cores, RSS {}, {} threads\n\
                 memory per idle subscriber: RSS {}, kernel slab {} (both ends on loopback)",
                table::number(server.deliveries_per_cpu_second),
                server.cpu_us_per_delivery,
                server.user_us_per_delivery,
                server.system_us_per_delivery,
                server.switches_per_delivery,
                server.cores,
                table::bytes(count(server.rss_bytes)),
                server.threads,
                table::bytes(self.memory.rss_bytes_per_connection),
                table::bytes(self.memory.slab_bytes_per_connection),
            ));
        }
        for warning in self.warnings() {
            text.push_str("\nwarning: ");
            text.push_str(&warning);
        }
        text
    }
}
