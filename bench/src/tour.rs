//! The tour: what lf does beside other servers, measured here and now in less than a minute.

use crate::cli::{FloodArgs, ShapeArgs, TourArgs};
use crate::compare::{Case, Series, describe, interleave};
use crate::flood::{self, FloodOutcome};
use crate::load::{Ask, Close, Frame, Mode};
use crate::machine::Machine;
use crate::progress::Progress;
use crate::report;
use crate::servers::{Running, Spec, Yard};
use crate::table;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The servers of the tour.
const SERVERS: [&str; 6] = ["lf-oneshot", "lf-edge", "kernel", "floor", "tokio", "io-uring"];
const CONNECTIONS: u32 = 100;
const SHORT_IN_FLIGHT: u32 = 64;
const SLOW_CONNECTIONS: u32 = 3;
const SLOW_BLOCK: Duration = Duration::from_millis(10);
const WARMUP: Duration = Duration::from_millis(150);

/// One mode, over all servers and rounds.
pub(crate) struct Stop {
    mode: Mode,
    pub(crate) title: String,
    pub(crate) explanation: String,
    pub(crate) series: Vec<Series>,
}

/// All that the tour has found.
pub(crate) struct Findings {
    pub(crate) machine: Machine,
    pub(crate) baseline: String,
    pub(crate) stops: Vec<Stop>,
    /// Name and flood of each server.
    pub(crate) memory: Vec<(String, FloodOutcome)>,
    pub(crate) skipped: Vec<String>,
}

/// `lf-bench` without a command, and `lf-bench tour`.
pub(crate) fn run(args: &TourArgs, lf_echo: Option<&Path>) -> Result<Findings> {
    if args.rounds == 0 || args.duration.is_zero() {
        bail!("--rounds and --duration are more than 0");
    }
    let names: Vec<&str> =
        if args.servers.is_empty() { SERVERS.to_vec() } else { args.servers.iter().map(String::as_str).collect() };
    let specs = names.iter().map(|name| Spec::built_in(name)).collect::<Result<Vec<Spec>>>()?;
    let yard = Yard {
        lf_echo: lf_echo.map(Path::to_path_buf),
        lf_comet: None,
        lf_lua: None,
        frame: Frame::Line,
        lf_args: Vec::new(),
    };
    let lf_echo = if specs.iter().any(Spec::is_lf) { Some(yard.find_lf_echo()?) } else { None };
    let machine = Machine::look(lf_echo.as_deref());
    println!("{}\n", machine.describe());
    let (servers, skipped) = yard.start_all(&specs, !args.servers.is_empty())?;
    let baseline = names[0].to_owned();
    let steps = servers.len() * (1 + modes().len() * args.rounds);
    let progress = Progress::new(steps as u64, args.quiet);

    // Memory first: servers that have served nothing yet show what an idle connection takes.
    let mut memory = Vec::new();
    for server in &servers {
        progress.note(format!("idle memory of {}", server.name));
        memory.push((server.name.clone(), flood::run(&idle(server, args.idle), &Progress::hidden())?));
        progress.advance(1);
    }
    let mut stops = Vec::new();
    for (mode, title, explanation) in modes() {
        let cases: Vec<Case<'_>> = servers
            .iter()
            .map(|server| Case { label: server.name.clone(), server, shape: shape_of(mode, args.duration), mode })
            .collect();
        let series = interleave(&cases, args.rounds, &progress)?;
        stops.push(Stop { mode, title, explanation, series });
    }
    drop(progress);
    let findings = Findings { machine, baseline, stops, memory, skipped };
    show(&findings);
    let path = report::write(&findings, &report_directory(args))?;
    println!("\nreport: {}", path.display());
    Ok(findings)
}

fn modes() -> [(Mode, String, String); 3] {
    let ask = Ask::Block(SLOW_BLOCK);
    [
        (
            Mode::Long,
            "Long connections".to_owned(),
            format!("{CONNECTIONS} connections that stay, one request of 64 bytes in flight on each."),
        ),
        (
            Mode::Short(Close::Fin),
            "Short connections".to_owned(),
            format!("Connect, one request, its answer, close; {SHORT_IN_FLIGHT} at a time."),
        ),
        (
            Mode::Mixed { slow_connections: SLOW_CONNECTIONS, ask },
            format!("{SLOW_CONNECTIONS} % blocking handlers"),
            format!(
                "{CONNECTIONS} connections; the handlers of {SLOW_CONNECTIONS} of them block {} ms each time. Figures are of the others: \
                 a loop that runs handlers itself makes them wait.",
                SLOW_BLOCK.as_millis()
            ),
        ),
    ]
}

fn shape_of(mode: Mode, duration: Duration) -> ShapeArgs {
    let connections = if matches!(mode, Mode::Short(_)) { SHORT_IN_FLIGHT } else { CONNECTIONS };
    ShapeArgs::of(connections, duration, WARMUP)
}

fn idle(server: &Running, connections: u32) -> FloodArgs {
    FloodArgs::of(server.target.clone(), connections, server.pid())
}

fn report_directory(args: &TourArgs) -> PathBuf {
    args.report.clone().unwrap_or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        target.join("lf-report")
    })
}

fn show(findings: &Findings) {
    for stop in &findings.stops {
        println!("{}: {}\n{}\n", stop.title, stop.explanation, describe(stop.mode, &findings.baseline, &stop.series));
    }
    let mut memory = table::new(&["idle memory", "connections", "RSS each", "", "kernel slab each", "connects/s"]);
    if let Some(column) = memory.column_mut(3) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    let most = findings.memory.iter().map(|(_, flood)| flood.idle.rss_bytes_per_connection).fold(0.0, f64::max);
    for (name, flood) in &findings.memory {
        memory.add_row(vec![
            name.clone(),
            table::whole(flood.connections),
            table::bytes(flood.idle.rss_bytes_per_connection),
            table::bar(flood.idle.rss_bytes_per_connection, most),
            table::bytes(flood.idle.slab_bytes_per_connection),
            table::number(flood.connections_per_second),
        ]);
    }
    println!("{memory}");
    findings.skipped.iter().for_each(|why| println!("{why}"));
}
