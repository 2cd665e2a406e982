//! `lf-bench http`: HTTP/1.1 load on the generator's loops.

mod browser;
mod requests;

use crate::cli::HttpArgs;
use crate::load::{self, Kind, Latency, Mode, Outcome, Plan};
use crate::progress::Progress;
use crate::table;
use anyhow::Result;
use browser::Browser;
use requests::Page;
pub(crate) use requests::Requests;
use serde::Serialize;
use std::sync::Arc;

/// What a run has found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    protocol: &'static str,
    method: String,
    #[serde(flatten)]
    pub(crate) load: Outcome,
    /// The requests of each path.
    pub(crate) paths: Vec<Path>,
    first_wrong: Option<String>,
}

/// The requests of one path.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Path {
    pub(crate) path: String,
    weight: u32,
    pub(crate) requests: u64,
    pub(crate) latency: Latency,
}

/// `lf-bench http`.
///
/// # Errors
/// If the options make no request, or as [`load::run`] says.
pub(crate) fn run(args: &HttpArgs, progress: &Progress) -> Result<Found> {
    let requests = Requests::of(args)?;
    let mode = match (args.rate.map(crate::cli::checked_rate).transpose()?, args.short) {
        (Some(rate), true) => Mode::ShortRate(args.close, rate),
        (Some(rate), false) => Mode::Rate(rate),
        (None, true) => Mode::Short(args.close),
        (None, false) => Mode::Long,
    };
    let plan = args.course.plan(args.target.clone(), mode, requests.body_bytes, args.server_pid);
    load(requests, &plan, args.seed, progress)
}

/// Asks for these pages as the plan says.
///
/// # Errors
/// As [`load::run`].
pub(crate) fn load(requests: Requests, plan: &Plan, seed: u64, progress: &Progress) -> Result<Found> {
    let requests = Arc::new(requests);
    let browser = |index| Browser::new(requests.clone(), seed.wrapping_add(u64::from(index)));
    let (mut load, browsers) = load::run(plan, progress, browser)?;
    let mut kinds = std::mem::take(&mut load.kinds);
    if kinds.is_empty() {
        kinds.push(Kind { requests: load.requests, latency: load.latency.clone() });
    }
    let path = |(page, kind): (&Page, Kind)| Path {
        path: page.path.clone(),
        weight: page.weight,
        requests: kind.requests,
        latency: kind.latency,
    };
    Ok(Found {
        protocol: "http",
        method: requests.method.clone(),
        paths: requests.pages.iter().zip(kinds).map(path).collect(),
        first_wrong: browsers.into_iter().find_map(|browser| browser.first_wrong),
        load,
    })
}

impl Found {
    /// Whether every answer was what it should be.
    pub(crate) fn is_clean(&self) -> bool {
        self.load.errors.wrong() == 0
    }

    pub(crate) fn describe(&self) -> String {
        let mut text = table::of_outcome(&self.load);
        if self.paths.len() > 1 {
            let mut drawn = table::new(&[&self.method, "requests", "mean", "p50", "p99", "p99.9", "max"]);
            for Path { path, requests, latency, .. } in &self.paths {
                let times = [latency.mean_us, latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us];
                let cells = [path.clone(), table::number(load::count(*requests))];
                drawn.add_row(cells.into_iter().chain(times.map(table::micros)));
            }
            text.push_str(&format!("\n{drawn}"));
        }
        if let Some(first) = &self.first_wrong {
            text.push_str(&format!("\nfirst wrong answer: {first}"));
        }
        text
    }
}
