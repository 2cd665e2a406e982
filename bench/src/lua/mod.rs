//! `compare --lua`: lf-lua beside lf-echo and beside nginx with its Lua module; one run, rounds interleaved.

mod bout;
pub(crate) mod nginx;
mod report;
mod wrk;

use crate::cli::{CompareArgs, ShapeArgs};
use crate::compare::Settings;
use crate::figures::{self, Figure};
use crate::load::Frame;
use crate::progress::Progress;
use crate::servers::{Running, Spec, Yard};
use crate::stats::{Spread, paired_ratio};
use anyhow::{Context, Result, bail};
use bout::{Drive, Round};
use clap::ValueEnum;
use serde::Serialize;
use std::path::Path;

/// What lf-lua is started with, before its script.
pub(crate) const OPTIONS: [&str; 4] = ["--groups", "1", "--workers", "5"];

const ECHO: &str = include_str!("../../scripts/echo.lua");
const HELLO: &str = include_str!("../../scripts/hello.lua");
const PROXY: &str = include_str!("../../scripts/proxy.lua");
const NEIGHBOURS: &str = include_str!("../../scripts/neighbours.lua");

/// How scripts run that are not trusted.
const UNTRUSTED: [&str; 5] = ["--untrusted", "--budget", "200ms", "--vm-bytes", "33554432"];
/// What they do, as the pages of that script are called.
const HARM: [&str; 4] = ["/spin", "/memory", "/threads", "/pattern"];

/// Requests in a hundred that block.
const BLOCKING_PERCENT: [u32; 3] = [1, 10, 50];
/// The one of them that has a target.
const BLOCKING_PERCENT_AIMED_AT: u32 = 10;

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// Lines that come back: Lua beside none.
    A,
    /// A page: lf-lua beside nginx.
    B,
    /// Some requests block.
    C,
    /// A page from a back end beside the same page from here.
    D,
    /// A page beside scripts that do harm.
    E,
}

const PARTS: [Part; 5] = [Part::A, Part::B, Part::C, Part::D, Part::E];

impl Part {
    fn describe(self, args: &CompareArgs) -> String {
        let connections = args.shape.course.connections;
        match self {
            Part::A => format!("(a) echo of lines of {} bytes, {connections} connections", args.shape.size),
            Part::B => format!("(b) GET /hello, {connections} connections that stay"),
            Part::C => format!(
                "(c) {} requests a second, some of them block 10 ms; latencies are those of the others, from the moment at which they were due",
                crate::table::number(args.lua.blocking_rate)
            ),
            Part::D => {
                format!("(d) HTTP in, nshead out, {connections} connections that stay; the back end is not counted")
            }
            Part::E => format!(
                "(e) GET /hello, {} requests a second, beside a script that is stopped after 200 ms and asked for again",
                crate::table::number(args.lua.blocking_rate)
            ),
        }
    }
}

/// One thing that is measured once in every round.
struct Bout<'a> {
    part: Part,
    label: String,
    server: &'a Running,
    drive: Drive,
}

/// A bout and what was found in each round.
#[derive(Clone, Debug, Serialize)]
struct Series {
    part: Part,
    label: String,
    driver: &'static str,
    rounds: Vec<Round>,
}

impl Series {
    fn spread(&self, pick: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(pick))
    }

    fn ratio_to(&self, other: &Series) -> Option<Spread> {
        let values = |series: &Series| series.rounds.iter().map(per_cpu_second).collect::<Vec<f64>>();
        paired_ratio(&values(self), &values(other))
    }
}

fn per_cpu_second(round: &Round) -> f64 {
    round.server.requests_per_cpu_second
}

/// The servers of the parts that are measured; who is not installed is told of in `skipped`.
#[derive(Default)]
struct Field {
    lf_echo: Option<Running>,
    lua_echo: Option<Running>,
    lua_hello: Option<Running>,
    nginx: Option<Running>,
    lua_proxy: Option<Running>,
    untrusted: Option<Running>,
    /// Kept as long as the proxy runs.
    _backend: Option<Running>,
    wrk: Option<std::path::PathBuf>,
    skipped: Vec<String>,
}

impl Field {
    fn start(yard: &Yard, parts: &[Part]) -> Result<Self> {
        let mut field = Field::default();
        let has = |part| parts.contains(&part);
        if has(Part::A) {
            field.lf_echo = field.enter(yard, "(a)", &Spec::built_in("lf-oneshot")?.named("lf-echo"))?;
            field.lua_echo = field.enter(yard, "(a)", &Spec::lua(ECHO, None))?;
        }
        if has(Part::B) || has(Part::C) {
            field.lua_hello = field.enter(yard, "(b), (c)", &Spec::lua(HELLO, None))?;
            field.nginx = field.enter(yard, "(b), (c)", &Spec::nginx_lua())?;
        }
        if has(Part::B) {
            field.wrk = wrk::find();
            if field.wrk.is_none() {
                let remedy = "on Debian: apt-get install wrk";
                field.skipped.push(format!("(b) is driven by lf-bench: wrk is not installed ({remedy})"));
            }
        }
        if has(Part::D) {
            let framed = Yard { frame: Frame::Nshead, lf_args: Vec::new(), ..yard.clone() };
            let backend = field.enter(&framed, "(d)", &Spec::built_in("lf-oneshot")?.named("lf-echo"))?;
            if let Some(backend) = &backend {
                field.lua_proxy = field.enter(yard, "(d)", &Spec::lua(PROXY, Some(&backend.target)))?;
            }
            field._backend = backend;
        }
        if has(Part::E) {
            let mut options = yard.lf_args.clone();
            options.extend(UNTRUSTED.map(str::to_owned));
            let strict = Yard { lf_args: options, ..yard.clone() };
            field.untrusted = field.enter(&strict, "(e)", &Spec::lua(NEIGHBOURS, None))?;
        }
        Ok(field)
    }

    /// Starts a server if it is installed. nginx may still refuse, as where its module does not fit the LuaJIT that
    /// is there; then the comparison goes on without it.
    fn enter(&mut self, yard: &Yard, parts: &str, spec: &Spec) -> Result<Option<Running>> {
        let why = match yard.is_installed(spec) {
            Err(error) => error,
            Ok(()) => match yard.start(spec) {
                Ok(server) => return Ok(Some(server)),
                Err(error) if spec.is_lf() => return Err(error),
                Err(error) => error,
            },
        };
        self.skipped.push(format!("{parts} without {}: {why:#}", spec.name));
        Ok(None)
    }

    /// What is measured in every round, in this order.
    fn bouts<'a>(&'a self, parts: &[Part], rate: f64) -> Vec<Bout<'a>> {
        let mut bouts = Vec::new();
        let mut add = |part: Part, label: &str, server: &'a Option<Running>, drive: Drive| {
            if let Some(server) = server.as_ref().filter(|_| parts.contains(&part)) {
                bouts.push(Bout { part, label: label.to_owned(), server, drive });
            }
        };
        let hello = || self.wrk.clone().map_or(Drive::Page("/hello"), |wrk| Drive::Wrk(wrk, "/hello"));
        add(Part::A, "lf-echo", &self.lf_echo, Drive::Lines);
        add(Part::A, "lf-lua", &self.lua_echo, Drive::Lines);
        add(Part::B, "nginx+lua", &self.nginx, hello());
        add(Part::B, "lf-lua", &self.lua_hello, hello());
        for percent in BLOCKING_PERCENT {
            let drive = Drive::Blocking { rate, percent };
            add(Part::C, &format!("nginx+lua, {percent} %"), &self.nginx, drive.clone());
            add(Part::C, &blocking_label(percent), &self.lua_hello, drive);
        }
        add(Part::D, "hello", &self.lua_proxy, Drive::Page("/hello"));
        add(Part::D, "proxy", &self.lua_proxy, Drive::Page("/call"));
        add(Part::D, "proxy, shared", &self.lua_proxy, Drive::Page("/shared"));
        add(Part::E, ALONE, &self.untrusted, Drive::Beside { rate, harm: None });
        for harm in HARM {
            add(Part::E, harm, &self.untrusted, Drive::Beside { rate, harm: Some(harm) });
        }
        bouts
    }
}

/// Nobody does harm.
const ALONE: &str = "alone";

fn blocking_label(percent: u32) -> String {
    format!("lf-lua, {percent} %")
}

/// `lf-bench compare --lua`. Returns whether every answer was what it should be.
///
/// # Errors
/// If nothing is installed that could be measured, or a server does not start or does not answer.
pub(crate) fn run(args: &CompareArgs, lf_echo: Option<&Path>, lf_lua: Option<&Path>) -> Result<bool> {
    let mut settings = Settings::of(args, lf_echo)?;
    settings.yard.lf_lua = lf_lua.map(Path::to_path_buf);
    settings.yard.frame = Frame::Line;
    let rate = crate::cli::checked_rate(args.lua.blocking_rate)?;
    let parts = if args.lua.only.is_empty() { PARTS.to_vec() } else { args.lua.only.clone() };
    let field = settings.between_pins(|| Field::start(&settings.yard, &parts))?;
    let bouts = field.bouts(&parts, rate);
    if bouts.is_empty() {
        bail!("nothing is left to measure: {}", field.skipped.join("; "));
    }
    let progress = Progress::new((bouts.len() * args.rounds) as u64, args.output.quiet);
    let all = interleave(&bouts, &args.shape, args.rounds, &progress)?;
    drop(progress);
    let figures = figures_of(&all);
    if args.output.json {
        println!("{}", report::json(&field.skipped, &all, &figures)?);
    } else {
        for part in PARTS {
            let series: Vec<&Series> = all.iter().filter(|series| series.part == part).collect();
            if !series.is_empty() {
                println!("{}\n", report::describe(&part.describe(args), &series));
            }
        }
        if !figures.is_empty() {
            println!("{}", figures::table_of(&figures));
        }
        field.skipped.iter().for_each(|why| println!("{why}"));
    }
    Ok(all.iter().flat_map(|series| &series.rounds).all(|round| round.is_clean))
}

fn interleave(bouts: &[Bout<'_>], shape: &ShapeArgs, rounds: usize, progress: &Progress) -> Result<Vec<Series>> {
    let series = |bout: &Bout<'_>| Series {
        part: bout.part,
        label: bout.label.clone(),
        driver: bout.drive.driver(),
        rounds: Vec::new(),
    };
    let mut all: Vec<Series> = bouts.iter().map(series).collect();
    for round in 1..=rounds {
        for (bout, series) in bouts.iter().zip(&mut all) {
            progress.note(format!("{}, round {round} of {rounds}", bout.label));
            let found = bout::measure(bout.server, &bout.drive, shape);
            series.rounds.push(found.with_context(|| format!("server {}", bout.label))?);
            progress.advance(1);
        }
    }
    Ok(all)
}

/// The figures that lf-lua is to reach, as far as both sides of them were measured.
fn figures_of(all: &[Series]) -> Vec<Figure> {
    let find = |part: Part, label: &str| all.iter().find(|series| series.part == part && series.label == label);
    let ratio = |part: Part, ours: &str, theirs: &str, what: &str, least: f64| {
        let ratio = find(part, ours)?.ratio_to(find(part, theirs)?)?;
        Some(Figure::ratio(format!("{what}, requests per CPU second: {ours} / {theirs}"), ratio, least))
    };
    let blocking = find(Part::C, &blocking_label(BLOCKING_PERCENT_AIMED_AT)).map(|series| {
        let what = format!("{BLOCKING_PERCENT_AIMED_AT} % blocking 10 ms: p99 of the others");
        Figure::micros(what, series.spread(|round| round.p99_us), 5_000.0)
    });
    let beside = |harm: &str| {
        let p99 = |series: &Series| series.rounds.iter().map(|round| round.p99_us).collect::<Vec<f64>>();
        let ratio = paired_ratio(&p99(find(Part::E, harm)?), &p99(find(Part::E, ALONE)?))?;
        Some(Figure::ratio_at_most(format!("beside {harm}: p99 of the others / alone"), ratio, 1.5))
    };
    let figures = [
        ratio(Part::A, "lf-lua", "lf-echo", "echo", 0.90),
        ratio(Part::B, "lf-lua", "nginx+lua", "GET /hello", 1.2),
        blocking,
        ratio(Part::D, "proxy", "hello", "HTTP to nshead", 0.45),
        ratio(Part::D, "proxy, shared", "hello", "HTTP to nshead", 0.45),
    ];
    figures.into_iter().chain(HARM.map(beside)).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Use;

    fn series(part: Part, label: &str, values: &[(f64, f64)]) -> Series {
        let round = |(per_cpu, p99_us): &(f64, f64)| Round {
            requests_per_second: 1.0,
            p50_us: 1.0,
            p99_us: *p99_us,
            server: Use { requests_per_cpu_second: *per_cpu, ..Use::default() },
            errors: "0".to_owned(),
            is_clean: true,
            other_cores: 0.0,
            is_bound_by_client: false,
        };
        Series { part, label: label.to_owned(), driver: "lf-bench", rounds: values.iter().map(round).collect() }
    }

    #[test]
    fn figures_are_medians_of_ratios_round_by_round() {
        let all = [
            series(Part::B, "nginx+lua", &[(100.0, 1.0), (50.0, 1.0), (200.0, 1.0)]),
            series(Part::B, "lf-lua", &[(125.0, 1.0), (65.0, 1.0), (220.0, 1.0)]),
            series(Part::C, "lf-lua, 10 %", &[(1.0, 900.0), (1.0, 6_000.0), (1.0, 1_100.0)]),
        ];
        let text = figures::table_of(&figures_of(&all)).to_string();
        assert!(text.contains("lf-lua / nginx+lua") && text.contains("1.25") && text.contains("1.10 - 1.30"), "{text}");
        assert!(
            text.contains("1.10 ms") && text.contains("900 us - 6.00 ms") && text.contains("at most 5.00 ms"),
            "{text}"
        );
        assert_eq!(text.matches("reached").count(), 2, "{text}");
    }

    #[test]
    fn a_figure_without_its_other_side_is_left_out() {
        assert!(figures_of(&[series(Part::A, "lf-echo", &[(1.0, 1.0)])]).is_empty());
        let [missed] =
            &figures_of(&[series(Part::D, "hello", &[(100.0, 1.0)]), series(Part::D, "proxy", &[(40.0, 1.0)])])[..]
        else {
            panic!("one figure")
        };
        assert!(figures::table_of([missed]).to_string().contains("missed by 11.1 %"));
    }
}
