//! The options of the commands for push servers.

use super::OutputArgs;
use crate::comet;
use crate::flood::Manner;
use crate::load::Target;
use crate::publish::{self, Distribution, Ids, Rate, Via};
use crate::wire::Transport;
use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Messages that not everybody has yet, where the publisher goes as fast as it can.
const WINDOW: usize = 64;

/// Where and how messages are published.
#[derive(Clone, Debug, Args)]
pub(crate) struct PublishArgs {
    /// The server's control side: HOST:PORT, [V6]:PORT or unix:/path
    #[arg(long, default_value = "127.0.0.1:8001", value_name = "ADDR")]
    pub(crate) control: Target,
    /// A file with the token that it asks for
    #[arg(long, value_name = "FILE")]
    pub(crate) control_token: Option<PathBuf>,
    /// The request that carries a message
    #[arg(long, default_value = "send")]
    pub(crate) via: Via,
    /// Bytes of a message
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    pub(crate) size: usize,
    /// Which id publishes next: round-robin, uniform, zipf or zipf:EXPONENT
    #[arg(long, default_value = "round-robin", value_name = "HOW")]
    pub(crate) distribution: Distribution,
    /// Publishing connections
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) publishers: u32,
    /// Messages ahead of their answers, per publishing connection
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(crate) depth: usize,
    /// An answer, a login or the last delivery that takes longer is an error
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// Of everything that is drawn by chance
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
}

impl PublishArgs {
    /// # Errors
    /// If the file of the token cannot be read.
    pub(crate) fn plan(&self, rate: Rate, window: usize) -> Result<publish::Plan> {
        let read = |path: &PathBuf| {
            let text = fs::read_to_string(path).with_context(|| format!("--control-token {}", path.display()))?;
            Ok::<_, anyhow::Error>(text.trim().to_owned())
        };
        Ok(publish::Plan {
            control: self.control.clone(),
            token: self.control_token.as_ref().map(read).transpose()?,
            via: self.via,
            rate,
            distribution: self.distribution,
            seed: self.seed,
            size: self.size,
            connections: self.publishers,
            depth: self.depth,
            window,
            messages: None,
            timeout: self.timeout,
        })
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CometArgs {
    /// The server's public side: HOST:PORT, [V6]:PORT or unix:/path
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDR")]
    pub(crate) target: Target,
    /// How subscribers listen
    #[arg(long, default_value = "sse")]
    pub(crate) transport: Transport,
    /// Connections that listen
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) subscribers: u32,
    /// FIRST-LAST, or how many from 1 on; subscribers are dealt to them in turn [default: one for each subscriber]
    #[arg(long, value_name = "IDS")]
    pub(crate) ids: Option<Ids>,
    /// Messages per second over all ids, or max: as fast as the window lets it
    #[arg(long, default_value = "1000", value_name = "N|max")]
    pub(crate) rate: Rate,
    /// Messages that not everybody has yet; 1: one at a time; 0: no such limit [default: 64 with --rate max, else 0]
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<usize>,
    #[command(flatten)]
    pub(crate) publish: PublishArgs,
    /// Share of the subscribers that never reads; the others are measured
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = percent)]
    pub(crate) stalled: f64,
    /// Logouts per second, each followed by a login
    #[arg(long, value_name = "N")]
    pub(crate) churn: Option<f64>,
    /// Source addresses, 50,000 ports each, from 127.0.0.2 on; 0: the kernel chooses [default: as many as needed]
    #[arg(long, value_name = "N")]
    pub(crate) sources: Option<u32>,
    /// Measured time
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Time under load before that
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    /// Account for this server process: CPU, context switches, memory per subscriber
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl CometArgs {
    /// # Errors
    /// If there are no subscribers to give ids to, or the file of the token cannot be read.
    pub(crate) fn plan(&self) -> Result<comet::Plan> {
        let window = self.window.unwrap_or(if self.rate == Rate::Max { WINDOW } else { 0 });
        let ids = match self.ids {
            Some(ids) => ids,
            None => Ids::new(1, self.subscribers)?,
        };
        Ok(comet::Plan {
            target: self.target.clone(),
            transport: self.transport,
            subscribers: self.subscribers,
            ids,
            publish: self.publish.plan(self.rate, window)?,
            stalled_percent: self.stalled,
            churn: self.churn,
            source_addresses: self.sources,
            warmup: self.warmup,
            duration: self.duration,
            server_pid: self.server_pid,
        })
    }
}

/// `10` or `10%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse();
    number.map_err(|_| "give a share in percent, as in 10%".to_owned())
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MsggenArgs {
    /// Ids that publish
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) sources: u32,
    /// The first of them
    #[arg(long, default_value_t = 1, value_name = "ID")]
    pub(crate) first: u32,
    /// Messages per second, or max: as fast as answers come
    #[arg(long, default_value = "1000", value_name = "N|max")]
    pub(crate) rate: Rate,
    #[command(flatten)]
    pub(crate) publish: PublishArgs,
    /// Measured time
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct GraphArgs {
    /// How many users
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(crate) users: u32,
    /// Friends that a newcomer makes
    #[arg(long, default_value_t = 15, value_name = "M")]
    pub(crate) edges: u32,
    /// Another seed makes another graph
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Id of the first user
    #[arg(long, default_value_t = 1, value_name = "ID")]
    pub(crate) first: u32,
    /// Write each edge in both directions
    #[arg(long)]
    pub(crate) both: bool,
    /// Where to; a line `USER USER` an edge [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// No progress bar and no summary
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MemoryArgs {
    /// The process
    #[arg(long, value_name = "PID")]
    pub(crate) pid: u32,
    /// Time between two looks
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) interval: Duration,
    /// How long to watch; the end of the process ends it too
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// The table of what was seen [default: standard output]
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) output: Option<PathBuf>,
    /// A drawing of it
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) svg: Option<PathBuf>,
    /// No progress bar
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// What `flood` adds for the subscribers of a push server.
#[derive(Clone, Debug, Args)]
pub(crate) struct SubscribeArgs {
    /// echo: connections say nothing; chunked, stream, ndjson, sse, poll, ws: they subscribe
    #[arg(long, default_value = "echo", value_name = "TRANSPORT")]
    pub(crate) transport: Manner,
    /// The id of the first connection, the second has the next one
    #[arg(long, default_value_t = 1, value_name = "ID")]
    pub(crate) path_id_from: u32,
    /// At the end publish one message to each id over this control side, and check that it arrives
    #[arg(long, value_name = "ADDR")]
    pub(crate) publish: Option<Target>,
    /// The request that carries it
    #[arg(long, default_value = "batch")]
    pub(crate) via: Via,
    /// Then wait so long before memory is read again
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) settle: Duration,
}

/// What `compare --comet` adds.
#[derive(Clone, Debug, Args)]
pub(crate) struct CometFigureArgs {
    /// Compare push servers: the bare loop, lf-comet, nginx with nchan
    #[arg(long, conflicts_with_all = ["figures", "commands", "baseline", "mode"])]
    pub(crate) comet: bool,
    /// Subscribers of the push servers
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) subscribers: u32,
    /// Messages per second where each subscriber has an id of its own
    #[arg(long, default_value_t = 10_000.0, value_name = "N")]
    pub(crate) push_rate: f64,
    /// Bytes of a pushed message
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    pub(crate) push_size: usize,
    /// Messages that not everybody has yet, where the publisher goes as fast as it can
    #[arg(long, default_value_t = WINDOW, value_name = "N")]
    pub(crate) push_window: usize,
}
