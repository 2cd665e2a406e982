//! `msggen`: many ids that publish at a rate, whoever listens.

use crate::cli::MsggenArgs;
use crate::comet::Sent;
use crate::load::{Gauge, Phase, Stage, count};
use crate::progress::Progress;
use crate::publish::{Ids, Ledger, Published, Publisher, Rate};
use crate::table;
use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a thread that has ended early is looked for.
const STEP: Duration = Duration::from_millis(100);

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Generated {
    pub(crate) control: String,
    pub(crate) ids: Ids,
    pub(crate) distribution: String,
    pub(crate) rate: Rate,
    pub(crate) size: usize,
    pub(crate) seconds: f64,
    pub(crate) sent_per_second: f64,
    pub(crate) sent: Sent,
}

/// Publishes for the duration. Blocks for that time.
///
/// # Errors
/// If nobody listens on the control address.
pub(crate) fn run(args: &MsggenArgs, progress: &Progress) -> Result<Generated> {
    let ids = Ids::new(args.first, args.sources)?;
    let plan = args.publish.plan(args.rate, 0)?;
    plan.check()?;
    let stage = Arc::new(Stage::new());
    stage.set(Phase::Measuring);
    let ledger = Arc::new(Ledger::new(ids));
    let begun = Instant::now();
    let publisher = Publisher::new(plan, ledger, stage.clone(), Arc::new(Gauge::default()), begun)?;
    let publisher = std::thread::Builder::new().name("publisher".to_owned()).spawn(|| publisher.run());
    let publisher = publisher.context("generator thread")?;
    progress.note(format!("publishing to {}", args.publish.control));
    while begun.elapsed() < args.duration && !publisher.is_finished() {
        progress.sleep(STEP.min(args.duration.saturating_sub(begun.elapsed())));
    }
    stage.set(Phase::Stopping);
    let seconds = begun.elapsed().as_secs_f64();
    let published: Published = publisher.join().map_err(|_| anyhow!("the publisher panicked"))??;
    Ok(Generated {
        control: args.publish.control.to_string(),
        ids,
        distribution: args.publish.distribution.to_string(),
        rate: args.rate,
        size: args.publish.size,
        seconds,
        sent_per_second: count(published.sent) / seconds,
        sent: Sent::from(&published),
    })
}

impl Generated {
    /// Whether every message was taken.
    pub(crate) fn is_clean(&self) -> bool {
        self.sent.refused + self.sent.unanswered == 0
    }

    /// The run as a person reads it.
    pub(crate) fn describe(&self) -> String {
        let mut drawn = table::new(&["msggen", "sent/s", "mean", "p50", "p90", "p99", "p99.9", "max"]);
        let answer = &self.sent.answer;
        let times = [answer.mean_us, answer.p50_us, answer.p90_us, answer.p99_us, answer.p999_us, answer.max_us];
        let mut row = vec!["send to answer".to_owned(), table::number(self.sent_per_second)];
        row.extend(times.map(table::micros));
        drawn.add_row(row);
        let mut text = format!(
            "ids {} ({}) on {}, rate {}, {} bytes, {:.2} s\n{drawn}\n{} sent, {} taken, {} delivered; {} refused, {} unanswered, {} due but not sent; errors: {}",
            self.ids,
            self.distribution,
            self.control,
            self.rate,
            self.size,
            self.seconds,
            self.sent.messages,
            self.sent.taken,
            self.sent.delivered,
            self.sent.refused,
            self.sent.unanswered,
            self.sent.unsent,
            self.sent.errors.describe()
        );
        if let Some(error) = &self.sent.first_error {
            text.push_str(&format!("\nwarning: the first message that was not taken: {error}"));
        }
        text
    }
}
