//! One measurement of one server: with lines, with wrk, or with the generator's HTTP.

use super::wrk;
use crate::account::{Account, Use, children_cpu, machine_cpu};
use crate::cli::ShapeArgs;
use crate::http::{self, Requests};
use crate::load::{self, BUSY_MAX, Frame, Mode, OTHER_CORES_MAX, Outcome, Target};
use crate::progress::Progress;
use crate::servers::Running;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What every page says.
pub(super) const PAGE: &str = "hello\n";

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
}

impl Drive {
    pub(super) fn driver(&self) -> &'static str {
        match self {
            Drive::Wrk(..) => "wrk",
            Drive::Lines | Drive::Page(_) | Drive::Blocking { .. } => "lf-bench",
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
