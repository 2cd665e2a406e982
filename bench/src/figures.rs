//! The project's target figures, measured: what is reached, and what is missed by how much.
//!
//! Ratios are medians over the rounds of one run, so that the machine's mood cancels out.

use crate::cli::{CompareArgs, FloodArgs, ShapeArgs};
use crate::compare::{Case, Series, Settings, disturbance, interleave, per_cpu_second};
use crate::flood;
use crate::load::{Ask, Close, Mode, Outcome};
use crate::progress::Progress;
use crate::servers::{Running, Spec};
use crate::stats::Spread;
use crate::table;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

const SLOW_BLOCK: Duration = Duration::from_millis(10);
const SHORT_IN_FLIGHT: u32 = 64;
const IDLE_CONNECTIONS: u32 = 15_000;
/// What the server of the idle connections is started with: room, and no deadline that would close them.
const IDLE_OPTIONS: [&str; 6] = ["--max-connections", "16000", "--first-byte", "0s", "--idle", "0s"];
/// For the many that block.
const GROWN_OPTIONS: [&str; 2] = ["--workers-max", "64"];

/// A bound and the side that is good.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Ratio,
    Micros,
    Bytes,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    value: Spread,
    target: Target,
    unit: Unit,
    reached: bool,
    /// 0 if reached.
    missed_by_percent: f64,
}

impl Figure {
    /// A ratio that is to be at least so much.
    pub(crate) fn ratio(what: String, value: Spread, least: f64) -> Self {
        Figure::new(what, value, Target::AtLeast(least), Unit::Ratio)
    }

    /// A ratio that is to be at most so much.
    pub(crate) fn ratio_at_most(what: String, value: Spread, most: f64) -> Self {
        Figure::new(what, value, Target::AtMost(most), Unit::Ratio)
    }

    /// A time that is to be at most so long.
    pub(crate) fn micros(what: String, value: Spread, most_us: f64) -> Self {
        Figure::new(what, value, Target::AtMost(most_us), Unit::Micros)
    }

    fn new(what: impl Into<String>, value: Spread, target: Target, unit: Unit) -> Self {
        let missed = match target {
            Target::AtLeast(least) => (least - value.median) / least,
            Target::AtMost(most) => (value.median - most) / most,
        };
        Figure {
            what: what.into(),
            value,
            target,
            unit,
            reached: missed <= 0.0,
            missed_by_percent: (missed * 100.0).max(0.0),
        }
    }

    fn written(&self, value: f64) -> String {
        match self.unit {
            Unit::Ratio => format!("{value:.2}"),
            Unit::Micros => table::micros(value),
            Unit::Bytes => table::bytes(value),
        }
    }

    fn row(&self) -> Vec<String> {
        let target = match self.target {
            Target::AtLeast(least) => format!("at least {}", self.written(least)),
            Target::AtMost(most) => format!("at most {}", self.written(most)),
        };
        let verdict = if self.reached {
            "reached".to_owned()
        } else {
            format!("missed by {:.1} %", self.missed_by_percent.max(0.1))
        };
        let spread = format!("{} - {}", self.written(self.value.min), self.written(self.value.max));
        vec![self.what.clone(), self.written(self.value.median), spread, target, verdict]
    }
}

/// The servers of the figures.
struct Field {
    lf_oneshot: Running,
    lf_edge: Running,
    lf_grown: Running,
    lf_idle: Running,
    floor: Running,
    oneshot: Running,
    kernel: Running,
    tokio: Running,
}

impl Field {
    fn start(settings: &Settings) -> Result<Self> {
        let start = |name: &str| settings.yard.start(&Spec::built_in(name)?);
        let with = |label: &str, more: &[&str]| {
            let spec = Spec::built_in("lf-oneshot")?.named(label);
            settings.yard.start_with(&spec, more).with_context(|| format!("server {label}"))
        };
        Ok(Field {
            lf_oneshot: start("lf-oneshot")?,
            lf_edge: start("lf-edge")?,
            lf_grown: with("lf-oneshot, 64 workers", &GROWN_OPTIONS)?,
            lf_idle: with("lf-oneshot, idle", &IDLE_OPTIONS)?,
            floor: start("floor")?,
            oneshot: start("oneshot")?,
            kernel: start("kernel")?,
            tokio: start("tokio")?,
        })
    }
}

struct Measurement<'a> {
    shape: ShapeArgs,
    rounds: usize,
    progress: &'a Progress,
}

impl Measurement<'_> {
    fn of<'s>(&self, mode: Mode, servers: impl IntoIterator<Item = &'s Running>) -> Result<Vec<Series>> {
        let mut shape = self.shape.clone();
        if matches!(mode, Mode::Short(_)) {
            shape.course.connections = SHORT_IN_FLIGHT;
        }
        let case = |server: &'s Running| Case { label: server.name.clone(), server, shape: shape.clone(), mode };
        interleave(&servers.into_iter().map(case).collect::<Vec<_>>(), self.rounds, self.progress)
    }

    /// Two rows: what is left of the throughput of the others when `slow_connections` block, and their p99.
    fn blocking(&self, server: &Running, slow_connections: u32, least: f64, p99_us_max: f64) -> Result<[Figure; 2]> {
        let case = |label: &str, ask| Case {
            label: format!("{}, {label}", server.name),
            server,
            shape: self.shape.clone(),
            mode: Mode::Mixed { slow_connections, ask },
        };
        let cases = [case("no blocking", Ask::Nothing), case("blocking", Ask::Block(SLOW_BLOCK))];
        let series = interleave(&cases, self.rounds, self.progress)?;
        let what = format!("{slow_connections} of {} blocking 10 ms: ", self.shape.course.connections);
        let kept = ratio(&series[1], &series[0], |round| round.requests_per_second);
        let p99 = series[1].spread(|round| round.latency.p99_us);
        Ok([
            Figure::ratio(format!("{what}throughput of the others, blocking / not"), kept, least),
            Figure::micros(format!("{what}p99 of the others"), p99, p99_us_max),
        ])
    }
}

fn ratio(ours: &Series, theirs: &Series, pick: fn(&Outcome) -> f64) -> Spread {
    ours.ratio_to(theirs, pick).unwrap_or_default()
}

/// A row that compares requests per CPU second.
fn per_cpu(what: &str, ours: &Series, theirs: &Series, least: f64) -> Figure {
    let what = format!("{what}: {} / {}", ours.label, theirs.label);
    Figure::ratio(what, ratio(ours, theirs, per_cpu_second), least)
}

/// `lf-bench compare --figures`.
pub(crate) fn run(args: &CompareArgs, lf_echo: Option<&Path>) -> Result<Vec<Figure>> {
    let settings = Settings::of(args, lf_echo)?;
    let field = settings.between_pins(|| Field::start(&settings))?;
    // Five servers long, three short, two runs of each mixed, and the flood.
    let progress = Progress::new((12 * args.rounds + 1) as u64, args.output.quiet);
    let measure = Measurement { shape: args.shape.clone(), rounds: args.rounds, progress: &progress };

    progress.note("idle memory");
    let flood = flood::run(
        &FloodArgs::of(field.lf_idle.target.clone(), IDLE_CONNECTIONS, field.lf_idle.pid()),
        &Progress::hidden(),
    )?;
    progress.advance(1);
    let long =
        measure.of(Mode::Long, [&field.lf_oneshot, &field.oneshot, &field.lf_edge, &field.floor, &field.kernel])?;
    let few = measure.blocking(&field.lf_oneshot, 3, 0.80, 3_000.0)?;
    let many = measure.blocking(&field.lf_grown, 30, 0.60, 5_000.0)?;
    let short = measure.of(Mode::Short(Close::Fin), [&field.lf_oneshot, &field.tokio, &field.oneshot])?;
    drop(progress);

    let idle = Spread::of([flood.idle.rss_bytes_per_connection]);
    let mut figures = vec![
        per_cpu("long, requests per CPU second", &long[0], &long[1], 0.95),
        per_cpu("long, requests per CPU second", &long[2], &long[3], 0.95),
        per_cpu("long, requests per CPU second", &long[0], &long[4], 1.5),
    ];
    figures.extend(few);
    figures.extend(many);
    figures.extend([
        per_cpu("short, requests per CPU second", &short[0], &short[1], 1.25),
        per_cpu("short, requests per CPU second", &short[0], &short[2], 0.95),
        Figure::new("RSS per idle connection, 15,000", idle, Target::AtMost(256.0), Unit::Bytes),
    ]);
    show(&figures, args.output.json)?;
    if let Some(warning) = disturbance(&[long, short].concat()) {
        eprintln!("{warning}");
    }
    Ok(figures)
}

fn show(figures: &[Figure], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(figures)?);
        return Ok(());
    }
    println!("{}", table_of(figures));
    Ok(())
}

/// The figures as a person reads them.
pub(crate) fn table_of<'a>(figures: impl IntoIterator<Item = &'a Figure>) -> comfy_table::Table {
    let mut table = table::new(&["figure", "median", "min - max", "target", ""]);
    for figure in figures {
        table.add_row(figure.row());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { median, min: median, max: median }
    }

    #[test]
    fn a_figure_on_its_bound_is_reached() {
        for target in [Target::AtLeast(0.95), Target::AtMost(0.95)] {
            assert!(Figure::new("x", spread(0.95), target, Unit::Ratio).reached);
        }
    }

    #[test]
    fn a_missed_figure_says_by_how_much() {
        let low = Figure::new("x", spread(1.2), Target::AtLeast(1.5), Unit::Ratio);
        assert_eq!(low.row()[4], "missed by 20.0 %");
        let late = Figure::new("x", spread(6_000.0), Target::AtMost(5_000.0), Unit::Micros);
        assert_eq!(late.row()[3..], ["at most 5.00 ms".to_owned(), "missed by 20.0 %".to_owned()]);
    }
}
