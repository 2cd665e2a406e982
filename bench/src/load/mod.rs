//! The load generator: its own epoll loops on plain sockets, nothing of lf-core.
//!
//! Every server, ours or not, is driven by this code. One thread per loop; one read and one write per
//! answer in steady state; what comes back is compared byte for byte.

mod dialect;
mod echo;
mod link;
mod outcome;
mod pace;
mod payload;
mod short;
mod steady;
mod tally;
mod target;
mod ticker;

pub(crate) use dialect::{Answer, Dialect};
use outcome::Window;
pub(crate) use outcome::{BUSY_MAX, Kind, Latency, OTHER_CORES_MAX, Outcome, count};
pub(crate) use payload::{Ask, Frame, Payload};
pub(crate) use tally::{Class, Fault, Faults, Gauge, Phase, Scribe, Stage, Tally};
pub(crate) use target::{PORTS_PER_SOURCE, Sources, Target};
pub(crate) use ticker::Ticker;

use echo::Echo;

use crate::account::{Account, Use, machine_cpu};
use crate::limits;
use crate::progress::Progress;
use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How long all connections may take to be made before the run begins without the rest.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);
/// Beside the timeout of a request: how long a run that ends with its requests waits for any answer at all.
const SILENCE_BESIDE: Duration = Duration::from_secs(1);
/// Descriptors beside the connections: epoll, timers, files of `/proc`.
const DESCRIPTORS_BESIDE: u64 = 64;

/// Which end of a short connection's close the server sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Close {
    /// An orderly end; the client's port stays in TIME_WAIT.
    Fin,
    /// A reset; no TIME_WAIT.
    Rst,
}

/// The shape of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Connections that stay, each with `depth` requests in flight.
    Long,
    /// One request per connection.
    Short(Close),
    /// As `Long`; this many of the connections ask for a slow handler.
    Mixed {
        /// How many.
        slow_connections: u32,
        /// For what.
        ask: Ask,
    },
    /// Requests at a fixed rate per second, whatever the server does.
    Rate(f64),
    /// As `Short`, at a fixed rate per second.
    ShortRate(Close, f64),
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Long => "long",
            Mode::Short(_) => "short",
            Mode::Mixed { .. } => "mixed",
            Mode::Rate(_) => "rate",
            Mode::ShortRate(..) => "short at a rate",
        }
    }

    /// Whether a connection carries one request.
    pub(crate) fn is_short(self) -> bool {
        matches!(self, Mode::Short(_) | Mode::ShortRate(..))
    }

    /// Requests per second, in an open loop.
    pub(crate) fn rate(self) -> Option<f64> {
        match self {
            Mode::Rate(rate) | Mode::ShortRate(_, rate) => Some(rate),
            Mode::Long | Mode::Short(_) | Mode::Mixed { .. } => None,
        }
    }
}

/// A run of the generator.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) mode: Mode,
    /// Bytes of a message, or of a request's body.
    pub(crate) size: usize,
    pub(crate) connections: u32,
    /// Requests in flight per connection.
    pub(crate) depth: usize,
    pub(crate) threads: u32,
    /// Source addresses from 127.0.0.2 on; 0 leaves the choice to the kernel.
    pub(crate) sources: u32,
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    /// The run ends with its requests instead of after `duration`, and all of it is measured, from the first connect on.
    pub(crate) until_asked: bool,
    /// After this an unanswered request is an error.
    pub(crate) timeout: Duration,
    pub(crate) server_pid: Option<u32>,
}

/// What one generator thread starts with.
pub(crate) struct Thread {
    plan: Arc<Plan>,
    index: u32,
    sources: Sources,
    scribe: Scribe,
}

impl Plan {
    fn check(&self) -> Result<()> {
        if self.connections == 0 || self.depth == 0 || self.threads == 0 {
            bail!("--connections, --depth and --threads are 1 or more");
        }
        if self.threads > self.connections {
            bail!(
                "--threads {}: more than --connections {}; each thread needs a connection",
                self.threads,
                self.connections
            );
        }
        if let Mode::Mixed { slow_connections, .. } = self.mode
            && slow_connections > self.connections
        {
            bail!("--slow-connections {slow_connections}: at most --connections {}", self.connections);
        }
        if let Some(capacity) = Sources::new(&self.target, self.sources)?.capacity()
            && capacity < self.connections
        {
            bail!(
                "--connections {}: --sources {} have {capacity} ports; give --sources {}",
                self.connections,
                self.sources,
                self.connections.div_ceil(PORTS_PER_SOURCE)
            );
        }
        Ok(())
    }

    /// The classes of the connections of one thread; slow ones are spread over the threads.
    fn classes_of(&self, index: u32) -> Vec<Class> {
        let slow = match self.mode {
            Mode::Mixed { slow_connections, .. } => slow_connections,
            Mode::Long | Mode::Short(_) | Mode::Rate(_) | Mode::ShortRate(..) => 0,
        };
        (0..self.connections)
            .filter(|number| number % self.threads == index)
            .map(|number| if number < slow { Class::Slow } else { Class::Normal })
            .collect()
    }

    /// What slow connections ask for.
    fn ask(&self) -> Ask {
        match self.mode {
            Mode::Mixed { ask, .. } => ask,
            Mode::Long | Mode::Short(_) | Mode::Rate(_) | Mode::ShortRate(..) => Ask::Nothing,
        }
    }

    fn rate_per_thread(&self) -> Option<f64> {
        self.mode.rate().map(|rate| rate / f64::from(self.threads))
    }
}

/// The generator's threads while they run.
struct Crew<D> {
    stage: Arc<Stage>,
    gauges: Vec<Arc<Gauge>>,
    threads: Vec<JoinHandle<Result<(Tally, D)>>>,
}

/// Answers so far, and the server's account at that moment.
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) normal: u64,
    slow: u64,
    pub(crate) account: Option<Account>,
    pub(crate) machine: Duration,
}

impl Snapshot {
    /// # Errors
    /// If there is no process `pid`.
    pub(crate) fn of(gauges: &[Arc<Gauge>], pid: Option<u32>) -> Result<Self> {
        let account = pid.map(Account::of).transpose()?;
        let sum = |pick: fn(&Gauge) -> u64| gauges.iter().map(|gauge| pick(gauge)).sum();
        Ok(Snapshot {
            at: Instant::now(),
            normal: sum(|gauge| gauge.normal.load(Relaxed)),
            slow: sum(|gauge| gauge.slow.load(Relaxed)),
            account,
            machine: machine_cpu(),
        })
    }
}

impl<D: Dialect> Crew<D> {
    /// Threads that begin in `phase`; `dialect` gives each, by its number, what it is to speak.
    fn start(plan: &Arc<Plan>, phase: Phase, dialect: impl Fn(u32) -> D) -> Result<Self> {
        let sources = Sources::new(&plan.target, plan.sources)?;
        // Runs in succession start elsewhere in the port range.
        let offset = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_micros());
        let origin = Instant::now();
        let mut crew = Crew { stage: Arc::new(Stage::new()), gauges: Vec::new(), threads: Vec::new() };
        crew.stage.set(phase);
        for index in 0..plan.threads {
            let gauge = Arc::new(Gauge::default());
            let dialect = dialect(index);
            let mut scribe = Scribe::new(crew.stage.clone(), gauge.clone(), origin);
            scribe.distinguish(dialect.kinds());
            let sources = sources.share(index, plan.threads, offset);
            let thread = Thread { plan: plan.clone(), index, sources, scribe };
            crew.gauges.push(gauge);
            let run = move || match thread.plan.mode {
                Mode::Short(close) | Mode::ShortRate(close, _) => short::run(thread, close, dialect),
                Mode::Long | Mode::Mixed { .. } | Mode::Rate(_) => steady::run(thread, dialect),
            };
            let spawned = std::thread::Builder::new().name(format!("load-{index}")).spawn(run);
            crew.threads.push(spawned.context("generator thread")?);
        }
        Ok(crew)
    }

    /// Waits until all connections stand, or patience ends; a thread that has failed also ends it.
    fn wait_open(&self, connections: u32) {
        let deadline = Instant::now() + OPENING_PATIENCE;
        let open = || self.gauges.iter().map(|gauge| gauge.open.load(Relaxed)).sum::<u64>();
        while open() < u64::from(connections)
            && Instant::now() < deadline
            && !self.threads.iter().any(JoinHandle::is_finished)
        {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until all is asked and answered, or nothing was answered for longer than `timeout`.
    fn wait_asked(&self, timeout: Duration) {
        let answers = || self.gauges.iter().map(|gauge| gauge.answers()).sum::<u64>();
        let (mut last, mut since) = (answers(), Instant::now());
        while !self.threads.iter().all(JoinHandle::is_finished) && since.elapsed() < timeout + SILENCE_BESIDE {
            std::thread::sleep(Duration::from_millis(2));
            if answers() != last {
                (last, since) = (answers(), Instant::now());
            }
        }
    }

    fn stop(self) -> Result<(Vec<Tally>, Vec<D>)> {
        self.stage.set(Phase::Stopping);
        let joined = self.threads.into_iter().map(|thread| match thread.join() {
            Ok(tally) => tally,
            Err(_) => Err(anyhow!("a generator thread panicked")),
        });
        joined.collect::<Result<Vec<(Tally, D)>>>().map(|pairs| pairs.into_iter().unzip())
    }
}

/// Runs the plan against an echo server. Blocks for warm-up and duration.
///
/// # Errors
/// As [`run`], and if a message is too small for what it asks for.
pub(crate) fn echo(plan: &Plan, frame: Frame, progress: &Progress) -> Result<Outcome> {
    plan.check()?;
    let echo = Echo::new(frame, plan.size, plan.ask())?;
    run(plan, progress, |_| echo.clone()).map(|(outcome, _)| outcome)
}

/// Runs the plan to its end, and hands the threads' dialects back with what was found.
///
/// # Errors
/// If the plan is inconsistent, the target does not answer, or a limit of the process is too low.
pub(crate) fn run<D: Dialect>(
    plan: &Plan,
    progress: &Progress,
    dialect: impl Fn(u32) -> D,
) -> Result<(Outcome, Vec<D>)> {
    plan.check()?;
    limits::require_descriptors("--connections", u64::from(plan.connections), DESCRIPTORS_BESIDE)?;
    plan.target.probe()?;
    let plan = Arc::new(plan.clone());
    let (crew, first) = if plan.until_asked {
        let first = Snapshot::of(&[], plan.server_pid)?;
        progress.note("measuring");
        (Crew::start(&plan, Phase::Measuring, dialect)?, first)
    } else {
        let crew = Crew::start(&plan, Phase::Opening, dialect)?;
        progress.note("connecting");
        crew.wait_open(plan.connections);
        progress.note("warm-up");
        crew.stage.set(Phase::Warming);
        std::thread::sleep(plan.warmup);
        progress.note("measuring");
        crew.stage.set(Phase::Measuring);
        let first = Snapshot::of(&crew.gauges, plan.server_pid)?;
        (crew, first)
    };
    if plan.until_asked {
        crew.wait_asked(plan.timeout);
    } else {
        progress.sleep(plan.duration);
    }
    let last = Snapshot::of(&crew.gauges, plan.server_pid)?;
    let (tallies, dialects) = crew.stop()?;
    let requests = (last.normal - first.normal, last.slow - first.slow);
    let server = match (&first.account, &last.account) {
        (Some(from), Some(to)) => Some(Use::between(from, to, requests.0 + requests.1)),
        _ => None,
    };
    let window = Window { time: last.at - first.at, machine: last.machine.saturating_sub(first.machine) };
    Ok((Outcome::new(&plan, window, requests, &tallies, server), dialects))
}
