//! The command line.

mod http;
mod lua;
mod nshead;
mod push;

pub(crate) use http::HttpArgs;
pub(crate) use lua::LuaFigureArgs;
pub(crate) use nshead::NsheadArgs;
pub(crate) use push::{CometArgs, CometFigureArgs, GraphArgs, MemoryArgs, MsggenArgs, SubscribeArgs};

use crate::load::{Ask, Close, Frame, Mode, Plan, Target};
use crate::reference::Shape;
use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Sources of `short` on loopback where none are named: 200,000 ports, so that TIME_WAIT (60 s) is not met.
const SHORT_SOURCES: u32 = 4;

/// Load generator, reference servers and comparisons for lf.
///
/// Without a command: a tour of less than a minute that measures lf-echo beside the reference servers,
/// prints a table and writes target/lf-report/index.html.
#[derive(Debug, Parser)]
#[command(name = "lf-bench", version, max_term_width = 110, args_override_self = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where lf-echo is [default: beside lf-bench, else on PATH]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) lf_echo: Option<PathBuf>,

    /// Where lf-comet is [default: beside lf-bench, else on PATH]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) lf_comet: Option<PathBuf>,

    /// Where lf-lua is [default: beside lf-bench, else on PATH]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) lf_lua: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connections that stay, each with --depth requests in flight
    Long(LoadArgs),
    /// Connect, one request, its answer, close; always --connections in flight
    Short {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        short: ShortArgs,
    },
    /// As long, with some connections that ask for a slow handler; the others are reported apart
    Mixed {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        mixed: MixedArgs,
    },
    /// Open loop: requests at a fixed rate; latency counts from the intended time of each
    Rate {
        #[command(flatten)]
        load: LoadArgs,
        /// Requests per second, over all connections
        #[arg(long, value_name = "N")]
        rate: f64,
    },
    /// HTTP/1.1: connections that stay or of one request, in a closed or an open loop; answers are checked
    Http(HttpArgs),
    /// nshead: requests generated or replayed, every answer checked
    Nshead(NsheadArgs),
    /// Several servers in one run, rounds interleaved: medians, spreads, ratios
    Compare(CompareArgs),
    /// Opens idle connections, holds them, and reports memory per connection
    Flood(FloodArgs),
    /// A push server between subscribers and publishers: every message is accounted for
    Comet(CometArgs),
    /// Publishes from many ids at a rate, to nobody in particular
    Msggen(MsggenArgs),
    /// A data set of friends: a Barabasi-Albert graph as an edge list
    Graph(GraphArgs),
    /// Watches a process: memory, kernel slab and connections over time, as CSV and SVG
    Memory(MemoryArgs),
    /// A reference server
    Serve(ServeArgs),
    /// The tour, with a choice of its length and place
    Tour(TourArgs),
}

/// What all load modes share.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    /// HOST:PORT, [V6]:PORT or unix:/path
    #[arg(long, default_value = "127.0.0.1:9876", value_name = "ADDR")]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    /// Account for this server process: CPU, context switches and memory per request
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The measure of a load.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShapeArgs {
    /// Bytes of a message: with the newline of line, without the header of len32 and nshead
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) size: usize,
    #[command(flatten)]
    pub(crate) course: CourseArgs,
    /// How messages are delimited
    #[arg(long, default_value = "line")]
    pub(crate) frame: Frame,
}

/// How many connections, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct CourseArgs {
    /// Connections at a time
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) connections: u32,
    /// Requests in flight per connection
    #[arg(long, visible_alias = "pipeline", default_value_t = 1, value_name = "N")]
    pub(crate) depth: usize,
    /// Generator threads
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) threads: u32,
    /// Source addresses, from 127.0.0.2 on, 50,000 ports each; 0: the kernel chooses [default: 0, short: 4]
    #[arg(long, value_name = "N")]
    pub(crate) sources: Option<u32>,
    /// Measured time
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Time under load before that
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    /// An answer that takes longer is an error, and its connection is made anew
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// What `short` adds.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ShortArgs {
    /// How the client closes
    #[arg(long, default_value = "fin")]
    pub(crate) close: Close,
}

/// What `mixed` adds.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct MixedArgs {
    /// How many of the connections ask for a slow handler
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) slow_connections: u32,
    /// They ask it to sleep this long [default: 10ms]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "slow_work")]
    pub(crate) slow_block: Option<Duration>,
    /// They ask it to use CPU this long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) slow_work: Option<Duration>,
}

/// How results are shown.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// JSON on standard output instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// The shape of the server
    pub(crate) shape: Shape,
    /// Address; port 0 is any free one. The address is printed once the server answers
    #[arg(long, default_value = "127.0.0.1:9876", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Threads of the tokio runtime
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) threads: usize,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    pub(crate) die_with_parent: bool,
}

/// The modes that servers are compared in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareMode {
    Long,
    Short,
    Mixed,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArgs {
    /// Shape of the load
    #[arg(long, default_value = "long")]
    pub(crate) mode: CompareMode,
    /// A built-in server: lf-oneshot, lf-edge, lf-kernel, floor, oneshot, kernel, tokio, io-uring; with --comet
    /// push-loop, lf-comet, nchan; repeatable [default: all]
    #[arg(long = "server", value_name = "NAME")]
    pub(crate) servers: Vec<String>,
    /// A server of yours: 'NAME=COMMAND LINE with {addr} or {port}'; repeatable
    #[arg(long = "cmd", value_name = "NAME=COMMAND")]
    pub(crate) commands: Vec<String>,
    /// Ratios are to this one [default: the first]
    #[arg(long, value_name = "NAME")]
    pub(crate) baseline: Option<String>,
    /// Rounds; each server is measured once in each
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) rounds: usize,
    /// More options for the lf-* servers, separated by blanks
    #[arg(long, default_value = "", allow_hyphen_values = true, value_name = "OPTIONS")]
    pub(crate) lf_args: String,
    /// Pin the generator and the servers: CLIENT_CPUS:SERVER_CPUS, as in 0:1 or 0,1:2-3
    #[arg(long, value_name = "C:S")]
    pub(crate) pin: Option<String>,
    /// Measure the project's target figures instead, and say which are reached
    #[arg(long, conflicts_with_all = ["servers", "commands", "baseline", "mode"])]
    pub(crate) figures: bool,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    #[command(flatten)]
    pub(crate) short: ShortArgs,
    #[command(flatten)]
    pub(crate) mixed: MixedArgs,
    #[command(flatten)]
    pub(crate) push: CometFigureArgs,
    #[command(flatten)]
    pub(crate) lua: LuaFigureArgs,
    /// Draws the requests per CPU second into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FloodArgs {
    /// HOST:PORT, [V6]:PORT or unix:/path
    #[arg(long, default_value = "127.0.0.1:9876", value_name = "ADDR")]
    pub(crate) target: Target,
    /// Connections to open and hold
    #[arg(long, default_value_t = 15_000, value_name = "N")]
    pub(crate) connections: u32,
    /// Source addresses, 50,000 ports each, from 127.0.0.2 on; 0: the kernel chooses [default: as many as needed]
    #[arg(long, value_name = "N")]
    pub(crate) sources: Option<u32>,
    /// Connects in flight
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub(crate) in_flight: usize,
    /// How long to hold them
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) hold: Duration,
    /// Give up after this long without one new connection or answer
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// Then send one message on each, check the echo, and report again
    #[arg(long)]
    pub(crate) touch: bool,
    /// Bytes of that message
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) size: usize,
    /// How it is delimited
    #[arg(long, default_value = "line")]
    pub(crate) frame: Frame,
    #[command(flatten)]
    pub(crate) subscribe: SubscribeArgs,
    /// Account for this server process
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TourArgs {
    /// Rounds of each measurement
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) rounds: usize,
    /// Measured time of each server in each round
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Idle connections of the memory measurement
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    pub(crate) idle: u32,
    /// Directory of the report [default: lf-report in the target directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// Servers to visit, by name; repeatable [default: all that run here]
    #[arg(long = "server", value_name = "NAME")]
    pub(crate) servers: Vec<String>,
    /// No progress bar
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Default for TourArgs {
    fn default() -> Self {
        TourArgs {
            rounds: 3,
            duration: Duration::from_millis(500),
            idle: 5_000,
            report: None,
            servers: Vec::new(),
            quiet: false,
        }
    }
}

impl MixedArgs {
    /// What the slow connections ask for.
    pub(crate) fn mode(&self) -> Mode {
        let ask = match (self.slow_work, self.slow_block) {
            (Some(work), _) => Ask::Work(work),
            (None, block) => Ask::Block(block.unwrap_or(Duration::from_millis(10))),
        };
        Mode::Mixed { slow_connections: self.slow_connections, ask }
    }
}

impl ShapeArgs {
    /// The defaults of the command line, with these connections and times.
    pub(crate) fn of(connections: u32, duration: Duration, warmup: Duration) -> Self {
        ShapeArgs { size: 64, course: CourseArgs::of(connections, duration, warmup), frame: Frame::Line }
    }

    /// A run of this measure against `target`.
    pub(crate) fn plan(&self, target: Target, mode: Mode, server_pid: Option<u32>) -> Plan {
        self.course.plan(target, mode, self.size, server_pid)
    }
}

impl CourseArgs {
    fn of(connections: u32, duration: Duration, warmup: Duration) -> Self {
        CourseArgs {
            connections,
            depth: 1,
            threads: 1,
            sources: None,
            duration,
            warmup,
            timeout: Duration::from_secs(5),
        }
    }

    /// A run against `target` with messages of `size` bytes.
    pub(crate) fn plan(&self, target: Target, mode: Mode, size: usize, server_pid: Option<u32>) -> Plan {
        let by_default = match &target {
            Target::Tcp(SocketAddr::V4(address)) if address.ip().is_loopback() && mode.is_short() => SHORT_SOURCES,
            Target::Tcp(_) | Target::Unix(_) => 0,
        };
        Plan {
            target,
            mode,
            size,
            connections: self.connections,
            depth: if mode.is_short() { 1 } else { self.depth },
            threads: self.threads,
            sources: self.sources.unwrap_or(by_default),
            duration: self.duration,
            warmup: self.warmup,
            until_asked: false,
            timeout: self.timeout,
            server_pid,
        }
    }
}

/// Refuses a rate that no schedule can follow.
pub(crate) fn checked_rate(rate: f64) -> Result<f64> {
    if rate.is_finite() && rate > 0.0 {
        return Ok(rate);
    }
    bail!("--rate {rate}: give a number of requests per second above 0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn short_on_loopback_uses_several_sources_unless_told_otherwise() {
        let Cli { command: Some(Command::Short { load, short }), .. } = Cli::parse_from(["lf-bench", "short"]) else {
            panic!("short is a command")
        };
        let plan = |target: &str| load.shape.plan(target.parse().unwrap(), Mode::Short(short.close), None);
        assert_eq!(plan("127.0.0.1:1").sources, SHORT_SOURCES);
        assert_eq!(plan("192.0.2.1:1").sources, 0);
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        assert!(checked_rate(0.0).is_err() && checked_rate(f64::NAN).is_err() && checked_rate(1.0).is_ok());
    }
}
