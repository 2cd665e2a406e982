//! `comet`: subscribers on one side of a push server, publishers on the other, and every message accounted for.

pub(crate) mod compare;
mod crowd;
mod cursor;
mod outcome;
mod subscriber;

pub(crate) use outcome::{Outcome, Sent, Server};

use crate::account::wait_quiet;
use crate::footprint::Before;
use crate::limits;
use crate::load::{Gauge, Phase, Snapshot, Sources, Stage, Target};
use crate::progress::Progress;
use crate::publish::{self, Ids, Ledger, Publisher};
use crate::wire::Transport;
use anyhow::{Context, Result, anyhow, bail};
use crowd::{Crowd, Watch};
use outcome::Run;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Descriptors beside the subscribers: epoll instances, timers, publishers, files of `/proc`.
const DESCRIPTORS_BESIDE: u64 = 128;
/// Seconds for which a port of the last connection cannot be used again.
const TIME_WAIT_SECONDS: f64 = 60.0;
const QUIET_PATIENCE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A run: who listens, and what is published.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) transport: Transport,
    pub(crate) subscribers: u32,
    /// Subscribers are dealt to them in turn.
    pub(crate) ids: Ids,
    pub(crate) publish: publish::Plan,
    /// Percent of the subscribers that never read.
    pub(crate) stalled_percent: f64,
    /// Logouts and logins per second.
    pub(crate) churn: Option<f64>,
    pub(crate) source_addresses: Option<u32>,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    pub(crate) server_pid: Option<u32>,
}

impl Plan {
    fn check(&self) -> Result<()> {
        if self.subscribers == 0 {
            bail!("--subscribers 0: give 1 or more");
        }
        if self.subscribers < self.ids.count() {
            bail!(
                "--ids {}: {} ids for --subscribers {}; nobody would hear some of them, give --ids {} or fewer",
                self.ids,
                self.ids.count(),
                self.subscribers,
                self.subscribers
            );
        }
        if !(0.0..100.0).contains(&self.stalled_percent) {
            bail!("--stalled {}: give a share from 0 to below 100, in percent", self.stalled_percent);
        }
        if self.churn.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            bail!("--churn: give a number of logouts per second above 0");
        }
        limits::require_descriptors("--subscribers", u64::from(self.subscribers), DESCRIPTORS_BESIDE)?;
        self.target.probe()?;
        self.publish.check()
    }

    /// Ports for all subscribers, and for those that take the place of others.
    fn sources(&self) -> Result<Sources> {
        let churned = self.churn.unwrap_or(0.0) * TIME_WAIT_SECONDS.min((self.warmup + self.duration).as_secs_f64());
        let wanted = self.subscribers.saturating_add(whole(churned));
        let sources = Sources::enough(&self.target, wanted, self.source_addresses)?;
        // Runs in succession start elsewhere in the port range.
        let offset = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_micros());
        Ok(sources.share(0, 1, offset))
    }

    /// Of its id among all ids.
    fn index_of(&self, place: usize) -> u32 {
        u32::try_from(place).unwrap_or(0) % self.ids.count()
    }

    /// Stalled ones are spread evenly over the ids and among the others.
    fn is_stalled(&self, place: usize) -> bool {
        let before = |place: usize| whole(self.stalled_percent / 100.0 * count(place));
        before(place + 1) > before(place)
    }
}

#[expect(clippy::cast_precision_loss, reason = "subscribers of one machine")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded down on purpose; never negative")]
fn whole(number: f64) -> u32 {
    number as u32
}

/// Runs the plan to its end: lets all in, publishes through warm-up and duration, waits for what is owed.
///
/// # Errors
/// If the plan is inconsistent, the server lets nobody in, or a limit of the process is too low.
pub(crate) fn run(plan: &Plan, progress: &Progress) -> Result<Outcome> {
    plan.check()?;
    let plan = Arc::new(plan.clone());
    // The probes' own closes are worked off before the server is looked at.
    if let Some(pid) = plan.server_pid {
        wait_quiet(pid, QUIET_PATIENCE)?;
    }
    let before = Before::look(plan.server_pid)?;
    let (stage, origin) = (Arc::new(Stage::new()), Instant::now());
    let ledger = Arc::new(Ledger::new(plan.ids));
    let (received, published) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
    let watch = Arc::new(Watch::default());

    let begun = (stage.clone(), received.clone(), origin);
    let crowd = Crowd::new(plan.clone(), ledger.clone(), watch.clone(), begun)?;
    let crowd = spawn("subscribers", move || crowd.run())?;
    progress.note("letting subscribers in");
    let in_seconds = wait_until_in(&plan, &received, &watch, &crowd);
    let subscribers = received.open.load(Relaxed);
    let memory = before.grown(plan.server_pid, usize::try_from(subscribers)?)?;

    let publisher = Publisher::new(plan.publish.clone(), ledger.clone(), stage.clone(), published.clone(), origin)?;
    let publisher = spawn("publisher", move || publisher.run())?;
    progress.note("warm-up");
    stage.set(Phase::Warming);
    std::thread::sleep(plan.warmup);
    progress.note("measuring");
    stage.set(Phase::Measuring);
    let (gauges, taken) = ([received], || published.normal.load(Relaxed));
    let (first, taken_before) = (Snapshot::of(&gauges, plan.server_pid)?, taken());
    progress.sleep(plan.duration);
    let (last, taken) = (Snapshot::of(&gauges, plan.server_pid)?, taken() - taken_before);
    stage.set(Phase::Stopping);
    progress.note("waiting for the last messages");
    let published = join(publisher);
    // Also if that failed: else the crowd would wait for ever.
    ledger.close();
    let (received, published) = (join(crowd)?, published?);
    Ok(Outcome::new(&plan, &Run { subscribers, in_seconds, memory, first, last, taken, published, received }))
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).context("generator thread")
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a generator thread panicked")))
}

/// Waits until all subscribers are in, or none more comes. Returns the seconds that took.
fn wait_until_in<T>(plan: &Plan, gauge: &Gauge, watch: &Watch, crowd: &JoinHandle<T>) -> f64 {
    let begun = Instant::now();
    let (mut moved, mut last) = (begun, 0);
    loop {
        let settled = gauge.open.load(Relaxed) + watch.refused.load(Relaxed);
        if settled != last {
            (moved, last) = (Instant::now(), settled);
        }
        if settled >= u64::from(plan.subscribers) || moved.elapsed() > plan.publish.timeout || crowd.is_finished() {
            return begun.elapsed().as_secs_f64();
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::{Distribution, Rate, Via};

    pub(super) fn plan() -> Plan {
        let target: Target = "127.0.0.1:1".parse().unwrap();
        Plan {
            target: target.clone(),
            transport: Transport::Sse,
            subscribers: 1000,
            ids: "1-10".parse().unwrap(),
            publish: publish::Plan {
                control: target,
                token: None,
                via: Via::Send,
                rate: Rate::Max,
                distribution: Distribution::RoundRobin,
                seed: 1,
                size: 100,
                connections: 1,
                depth: 1,
                window: 1,
                messages: None,
                timeout: Duration::from_secs(5),
            },
            stalled_percent: 0.0,
            churn: None,
            source_addresses: None,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
            server_pid: None,
        }
    }

    #[test]
    fn the_stalled_are_the_share_that_was_asked_for_and_spread() {
        let plan = Plan { stalled_percent: 12.5, ..plan() };
        let stalled: Vec<usize> = (0..1000).filter(|place| plan.is_stalled(*place)).collect();
        assert_eq!(stalled.len(), 125);
        assert!(stalled.windows(2).all(|pair| pair[1] - pair[0] == 8));
    }

    #[test]
    fn what_cannot_be_run_names_the_option_and_the_remedy() {
        let error = |plan: Plan| plan.check().unwrap_err().to_string();
        assert!(error(Plan { ids: "1-2000".parse().unwrap(), ..plan() }).contains("give --ids 1000"));
        assert!(error(Plan { stalled_percent: 100.0, ..plan() }).contains("--stalled 100"));
        assert!(error(Plan { churn: Some(0.0), ..plan() }).contains("--churn"));
        assert!(error(Plan { subscribers: 0, ..plan() }).contains("--subscribers 0"));
    }

    #[test]
    fn subscribers_are_dealt_to_the_ids_in_turn() {
        let plan = plan();
        assert_eq!([0, 9, 10, 999].map(|place| plan.index_of(place)), [0, 9, 0, 9]);
    }
}
