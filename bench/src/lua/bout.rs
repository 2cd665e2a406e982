//! One measurement of one server: with lines, with wrk, or with the generator's HTTP.

use super::wrk;
use crate::account::{Account, Use, children_cpu, machine_cpu};
use crate::cli::ShapeArgs;
use crate::http::{self, Requests};
use crate::load::{self, BUSY_MAX, Frame, Mode, OTHER_CORES_MAX, Outcome, Target};
use crate::progress::Progress;
use crate::servers::Running;
use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What every page says.
pub(super) const PAGE: &str = "hello\n";

/// How long who does harm may take to be stopped.
const HARM_PATIENCE: Duration = Duration::from_secs(5);

/// How a server is driven.
#[derive(Clone, Debug)]
pub(super) enum Drive {
    /// Lines that come back.
    Lines,
    /// One page on connections that stay, by wrk.
    Wrk(PathBuf, &'static str),
    /// One page on connections that stay.
    Page(&'static str),
    /// Two pages at a rate: so many of the second in a hundred. The latency is that of the first.
    Blocking { rate: f64, percent: u32 },
    /// One page at a rate, while another one is asked for without an end.
    Beside { rate: f64, harm: Option<&'static str> },
}

impl Drive {
    pub(super) fn driver(&self) -> &'static str {
        match self {
            Drive::Wrk(..) => "wrk",
            Drive::Lines | Drive::Page(_) | Drive::Blocking { .. } | Drive::Beside { .. } => "lf-bench",
        }
    }
}

/// What a measurement has found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) server: Use,
    /// `0`, or what went wrong.
    pub(super) errors: String,
    /// No answer was another than the one asked for.
    pub(super) is_clean: bool,
    /// Cores that neither the generator nor the server has used.
    pub(super) other_cores: f64,
    /// The server had time to spare.
    pub(super) is_bound_by_client: bool,
}

impl Round {
    pub(super) fn is_disturbed(&self) -> bool {
        self.other_cores > OTHER_CORES_MAX
    }

    fn of(outcome: &Outcome) -> Result<Self> {
        Ok(Round {
            requests_per_second: outcome.requests_per_second,
            p50_us: outcome.latency.p50_us,
            p99_us: outcome.latency.p99_us,
            server: outcome.server.context("a server of this run has an account")?,
            errors: outcome.errors.describe(),
            is_clean: outcome.errors.wrong() == 0,
            other_cores: outcome.other_cores.unwrap_or_default(),
            is_bound_by_client: outcome.client.is_bottleneck,
        })
    }
}

/// Measures once.
///
/// # Errors
/// If the server gives another page than was asked for before wrk, which does not look, is let loose on it.
pub(super) fn measure(server: &Running, drive: &Drive, shape: &ShapeArgs) -> Result<Round> {
    let plan = |mode| shape.course.plan(server.target.clone(), mode, shape.size, Some(server.pid()));
    let hidden = Progress::hidden();
    match drive {
        Drive::Lines => Round::of(&load::echo(&plan(Mode::Long), Frame::Line, &hidden)?),
        Drive::Page(page) => {
            let plan = plan(Mode::Long);
            Round::of(&http::load(Requests::get(&[(1, page)], PAGE), &plan, 1, &hidden)?.load)
        }
        Drive::Blocking { rate, percent } => {
            let pages = [(100 - percent, "/hello"), (*percent, "/block")];
            let found = http::load(Requests::get(&pages, PAGE), &plan(Mode::Rate(*rate)), 1, &hidden)?;
            let round = Round::of(&found.load)?;
            let Some(fast) = found.paths.first() else { bail!("the first of two pages has latencies") };
            Ok(Round { p50_us: fast.latency.p50_us, p99_us: fast.latency.p99_us, ..round })
        }
        Drive::Beside { rate, harm } => {
            let load = || http::load(Requests::get(&[(1, "/hello")], PAGE), &plan(Mode::Rate(*rate)), 1, &hidden);
            let Some(harm) = harm else { return Round::of(&load()?.load) };
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                let asking = scope.spawn(|| ask_for(&server.target, harm, &stop));
                let found = load();
                stop.store(true, Ordering::Relaxed);
                let stopped = asking.join().map_err(|_| anyhow!("who asks for {harm} has panicked"))??;
                if stopped == 0 {
                    bail!("{harm} was not stopped once");
                }
                Round::of(&found?.load)
            })
        }
        Drive::Wrk(program, page) => {
            let mut plan = plan(Mode::Long);
            plan.duration = shape.course.warmup;
            plan.warmup = Duration::ZERO;
            let first = http::load(Requests::get(&[(1, page)], PAGE), &plan, 1, &hidden)?;
            if !first.is_clean() {
                bail!("{} gives another page than was asked for: {}", server.name, first.describe());
            }
            by_wrk(server, program, page, shape)
        }
    }
}

/// Asks for a page again and again, each time over a new connection; answers how often a 500 came, as it has to.
fn ask_for(target: &Target, page: &str, stop: &AtomicBool) -> Result<usize> {
    let Target::Tcp(address) = target else { bail!("{page} is asked for over TCP only, not {target}") };
    let mut stopped = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).context("a connection for who does harm")?;
        stream.set_read_timeout(Some(HARM_PATIENCE))?;
        write!(stream, "GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).with_context(|| format!("{page} was not answered"))?;
        if !answer.starts_with(b"HTTP/1.1 500 ") {
            bail!("{page} was answered: {}", String::from_utf8_lossy(&answer));
        }
        stopped += 1;
    }
    Ok(stopped)
}

fn by_wrk(server: &Running, program: &PathBuf, page: &str, shape: &ShapeArgs) -> Result<Round> {
    let Target::Tcp(address) = &server.target else { bail!("wrk drives TCP only, not {}", server.target) };
    let url = format!("http://{address}{page}");
    let (from, machine, own, began) = (Account::of(server.pid())?, machine_cpu(), children_cpu(), Instant::now());
    let report = wrk::run(program, &url, shape.course.connections, shape.course.duration)?;
    let (to, seconds) = (Account::of(server.pid())?, began.elapsed().as_secs_f64());
    let used = Use::between(&from, &to, report.requests);
    let cores = |since: Duration, now: Duration| now.saturating_sub(since).as_secs_f64() / seconds;
    let others = cores(machine, machine_cpu()) - cores(own, children_cpu()) - used.cores;
    Ok(Round {
        requests_per_second: load::count(report.requests) / report.seconds,
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        server: used,
        is_clean: report.complaints.is_empty(),
        errors: if report.complaints.is_empty() { "0".to_owned() } else { report.complaints.join("; ") },
        other_cores: others.max(0.0),
        is_bound_by_client: used.cores < BUSY_MAX,
    })
}
