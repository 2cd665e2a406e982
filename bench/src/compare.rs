//! Several servers in one run, rounds interleaved: A B C A B C. What drifts, drifts for all.

use crate::account::Use;
use crate::cli::{CompareArgs, CompareMode, ShapeArgs};
use crate::load::{self, Faults, Mode, Outcome};
use crate::pin::Pins;
use crate::progress::Progress;
use crate::report;
use crate::servers::{BUILT_IN, Running, Spec, Yard};
use crate::stats::{Spread, paired_ratio};
use crate::table;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// One thing to be measured in every round.
pub(crate) struct Case<'a> {
    pub(crate) label: String,
    pub(crate) server: &'a Running,
    pub(crate) shape: ShapeArgs,
    pub(crate) mode: Mode,
}

/// A case and its outcome in each round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) rounds: Vec<Outcome>,
}

impl Series {
    /// A figure over the rounds.
    pub(crate) fn spread(&self, pick: impl Fn(&Outcome) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(pick))
    }

    pub(crate) fn errors(&self) -> Faults {
        let mut errors = Faults::default();
        self.rounds.iter().for_each(|round| errors.merge(&round.errors));
        errors
    }

    /// The median of the rounds' ratios to `other`.
    pub(crate) fn ratio_to(&self, other: &Series, pick: impl Fn(&Outcome) -> f64) -> Option<Spread> {
        let values = |series: &Series| series.rounds.iter().map(&pick).collect::<Vec<f64>>();
        paired_ratio(&values(self), &values(other))
    }

    /// Whether the generator was the limit in most rounds.
    fn is_bound_by_client(&self) -> bool {
        2 * self.rounds.iter().filter(|round| round.client.is_bottleneck).count() > self.rounds.len()
    }
}

/// Answers per second of server CPU: the figure that does not depend on who shares the machine.
pub(crate) fn per_cpu_second(outcome: &Outcome) -> f64 {
    outcome.server.map_or(0.0, |server| server.requests_per_cpu_second)
}

/// Measures every case once per round, in order.
pub(crate) fn interleave(cases: &[Case<'_>], rounds: usize, progress: &Progress) -> Result<Vec<Series>> {
    let mut all: Vec<Series> =
        cases.iter().map(|case| Series { label: case.label.clone(), rounds: Vec::with_capacity(rounds) }).collect();
    for round in 1..=rounds {
        for (case, series) in cases.iter().zip(&mut all) {
            progress.note(format!("{} {}, round {round} of {rounds}", case.mode.name(), case.label));
            let plan = case.shape.plan(case.server.target.clone(), case.mode, Some(case.server.pid()));
            let outcome = load::echo(&plan, case.shape.frame, &Progress::hidden())
                .with_context(|| format!("{} on {}", plan.mode.name(), case.label))?;
            series.rounds.push(outcome);
            progress.advance(1);
        }
    }
    Ok(all)
}

/// The comparison as JSON gives it.
#[derive(Serialize)]
struct Report<'a> {
    mode: &'static str,
    baseline: &'a str,
    skipped: &'a [String],
    servers: Vec<Summary<'a>>,
}

#[derive(Serialize)]
struct Summary<'a> {
    name: &'a str,
    requests_per_second: Spread,
    requests_per_cpu_second: Spread,
    ratio_to_baseline: Option<Spread>,
    cpu_us_per_request: Spread,
    switches_per_request: Spread,
    p50_us: Spread,
    p99_us: Spread,
    errors: Faults,
    rounds: &'a [Outcome],
}

/// What comparisons are made with.
pub(crate) struct Settings {
    pub(crate) yard: Yard,
    pins: Option<Pins>,
}

impl Settings {
    pub(crate) fn of(args: &CompareArgs, lf_echo: Option<&Path>) -> Result<Self> {
        if args.rounds == 0 {
            bail!("--rounds 0: give 1 or more");
        }
        let lf_args = args.lf_args.split_ascii_whitespace().map(str::to_owned).collect();
        let yard = Yard {
            lf_echo: lf_echo.map(Path::to_path_buf),
            lf_comet: None,
            lf_lua: None,
            frame: args.shape.frame,
            lf_args,
        };
        Ok(Settings { yard, pins: args.pin.as_deref().map(Pins::parse).transpose()? })
    }

    /// Starts servers on their CPUs, and goes on on the generator's.
    pub(crate) fn between_pins<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(pins) = &self.pins else { return start() };
        pins.as_server()?;
        let started = start();
        pins.as_client()?;
        started
    }
}

/// `lf-bench compare`.
pub(crate) fn run(args: &CompareArgs, lf_echo: Option<&Path>) -> Result<Vec<Series>> {
    let settings = Settings::of(args, lf_echo)?;
    let by_name = !args.servers.is_empty() || !args.commands.is_empty();
    let specs = specs_of(args)?;
    let baseline = args.baseline.clone().unwrap_or_else(|| specs[0].name.clone());
    if !specs.iter().any(|spec| spec.name == baseline) {
        bail!("--baseline {baseline}: not among the servers of this run; add --server {baseline}");
    }
    let (servers, skipped) = settings.between_pins(|| settings.yard.start_all(&specs, by_name))?;
    let mode = match args.mode {
        CompareMode::Long => Mode::Long,
        CompareMode::Short => Mode::Short(args.short.close),
        CompareMode::Mixed => args.mixed.mode(),
    };
    let cases: Vec<Case<'_>> = servers
        .iter()
        .map(|server| Case { label: server.name.clone(), server, shape: args.shape.clone(), mode })
        .collect();
    let progress = Progress::new((cases.len() * args.rounds) as u64, args.output.quiet);
    let all = interleave(&cases, args.rounds, &progress)?;
    drop(progress);
    if let Some(path) = &args.svg {
        let drawing = report::drawing(&all)?;
        fs::write(path, drawing).with_context(|| format!("--svg {}: cannot be written", path.display()))?;
    }
    if args.output.json {
        println!("{}", to_json(mode, &baseline, &skipped, &all)?);
    } else {
        println!("{}", describe(mode, &baseline, &all));
        skipped.iter().for_each(|why| println!("{why}"));
    }
    Ok(all)
}

fn specs_of(args: &CompareArgs) -> Result<Vec<Spec>> {
    let mut specs = Vec::new();
    for name in &args.servers {
        specs.push(Spec::built_in(name)?);
    }
    for command in &args.commands {
        specs.push(Spec::command(command)?);
    }
    if specs.is_empty() {
        for name in BUILT_IN {
            specs.push(Spec::built_in(name)?);
        }
    }
    Ok(specs)
}

fn to_json(mode: Mode, baseline: &str, skipped: &[String], all: &[Series]) -> Result<String> {
    let base = all.iter().find(|series| series.label == baseline);
    let used = |series: &Series, pick: fn(&Use) -> f64| series.spread(|round| round.server.as_ref().map_or(0.0, pick));
    let servers = all
        .iter()
        .map(|series| Summary {
            name: &series.label,
            requests_per_second: series.spread(|round| round.requests_per_second),
            requests_per_cpu_second: series.spread(per_cpu_second),
            ratio_to_baseline: base.and_then(|base| series.ratio_to(base, per_cpu_second)),
            cpu_us_per_request: used(series, |used| used.cpu_us_per_request),
            switches_per_request: used(series, |used| used.switches_per_request),
            p50_us: series.spread(|round| round.latency.p50_us),
            p99_us: series.spread(|round| round.latency.p99_us),
            errors: series.errors(),
            rounds: &series.rounds,
        })
        .collect();
    Ok(serde_json::to_string_pretty(&Report { mode: mode.name(), baseline, skipped, servers })?)
}

/// The comparison as a table, and what to know beside it.
pub(crate) fn describe(mode: Mode, baseline: &str, all: &[Series]) -> String {
    let base = all.iter().find(|series| series.label == baseline);
    let ratio_title = format!("/ {baseline}");
    let mut drawn = table::new(&[
        mode.name(),
        "requests/s",
        "min-max",
        "per CPU second",
        "min-max",
        &ratio_title,
        "",
        "CPU us user+sys",
        "switches",
        "p50",
        "p99",
        "p99.9",
        "errors",
        "RSS",
    ]);
    let bar_column = 6;
    if let Some(column) = drawn.column_mut(bar_column) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    let most = all.iter().map(|series| series.spread(per_cpu_second).median).fold(0.0, f64::max);
    for series in all {
        let rate = series.spread(|round| round.requests_per_second);
        let per_cpu = series.spread(per_cpu_second);
        let ratio = base.and_then(|base| series.ratio_to(base, per_cpu_second));
        let server = |pick: fn(&Use) -> f64| series.spread(move |round| round.server.as_ref().map_or(0.0, pick)).median;
        drawn.add_row(vec![
            format!("{}{}", series.label, if series.is_bound_by_client() { " *" } else { "" }),
            table::number(rate.median),
            table::range(rate),
            table::number(per_cpu.median),
            table::range(per_cpu),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio.median)),
            table::bar(per_cpu.median, most),
            format!("{:.2}+{:.2}", server(|used| used.user_us_per_request), server(|used| used.system_us_per_request)),
            format!("{:.2}", server(|used| used.switches_per_request)),
            table::micros(series.spread(|round| round.latency.p50_us).median),
            table::micros(series.spread(|round| round.latency.p99_us).median),
            table::micros(series.spread(|round| round.latency.p999_us).median),
            series.errors().describe(),
            table::bytes(server(|used| used.rss_bytes as f64)),
        ]);
    }
    let mut text = drawn.to_string();
    if all.iter().any(Series::is_bound_by_client) {
        text.push_str(
            "\n* the generator was busier than this server: compare the CPU second, not the requests per second",
        );
    }
    if let Some(warning) = disturbance(all) {
        text.push('\n');
        text.push_str(&warning);
    }
    text
}

/// A word about other work that has moved the figures.
pub(crate) fn disturbance(all: &[Series]) -> Option<String> {
    let rounds = || all.iter().flat_map(|series| &series.rounds);
    let disturbed = rounds().filter(|round| round.is_disturbed()).count();
    (disturbed > 0).then(|| {
        format!(
            "{disturbed} of {} runs shared the machine with other work, which moves CPU per request by tens of percent: \
             measure again when it is quiet, or with --pin",
            rounds().count()
        )
    })
}
