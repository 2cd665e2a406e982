//! The program's options.

use clap::{Args, Parser, Subcommand};
use humantime::parse_duration;
use lf_comet::{FanoutLimits, HistoryLimits, PublicOptions, Slow};
use lf_core::cli::{self, ServerArgs};
use std::path::PathBuf;
use std::time::Duration;

/// Push server: subscribers listen over chunked HTTP, server-sent events, NDJSON, long-poll or WebSocket; programs send to
/// ids over the control listener, and all who subscribed to an id get what is sent to it.
#[derive(Debug, Parser)]
#[command(name = "lf-comet", version, max_term_width = 110, after_help = cli::EXIT_CODES, args_conflicts_with_subcommands = true)]
#[command(mut_arg("user_timeout", |arg| arg.default_value("60s")))]
#[command(mut_arg("frame_time", |arg| arg.default_value("10s")))]
#[command(mut_arg("first_byte", |arg| arg.default_value("20s")))]
#[command(mut_arg("idle", |arg| arg.default_value("75s")))]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Where subscribers connect; may be given several times. HOST:PORT, [V6]:PORT, :PORT, unix:/PATH, unix:@NAME or fd:N
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub(crate) listen: Vec<String>,
    /// Where publishers and operators connect; off loopback --control-token is needed
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8001")]
    pub(crate) control: Vec<String>,
    /// A file with the token that the control listener asks for (Authorization: Bearer) [default: none is asked for]
    #[arg(long, value_name = "FILE")]
    pub(crate) control_token: Option<PathBuf>,
    /// The directory of the subscriptions; "none" keeps them in memory only
    #[arg(long, value_name = "DIR", default_value = "lf-comet-data")]
    pub(crate) store: PathBuf,
    /// A file with the key of the subscribers' tokens (JWT, HS256) [default: anyone may listen]
    #[arg(long, value_name = "FILE")]
    pub(crate) auth_key: Option<PathBuf>,
    /// An origin whose pages may connect beside the server's own, such as https://example.org; * = any
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10)]
    pub(crate) message_bytes: usize,
    #[command(flatten)]
    pub(crate) subscribers: SubscriberArgs,
    #[command(flatten)]
    pub(crate) sending: SendingArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How subscribers are treated.
#[derive(Debug, Args)]
pub(crate) struct SubscriberArgs {
    /// Bytes that may wait for one subscriber
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10)]
    queue_bytes: usize,
    /// Bytes that may wait for all of them
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20)]
    queue_total_bytes: usize,
    /// What happens to a subscriber for whom more would wait
    #[arg(long, value_enum, default_value = "disconnect")]
    slow: Slow,
    /// Silence after which a subscriber is sent a sign of life; 0s = never
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = parse_duration)]
    heartbeat: Duration,
    /// What browsers are told to wait before they come back (server-sent events), a quarter more or less
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    retry: Duration,
    /// Messages of each id that are remembered for who comes back
    #[arg(long, value_name = "N", default_value_t = 0)]
    history: usize,
    /// How long they are remembered; 0s = until --history or --history-bytes
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    history_time: Duration,
    /// Bytes of all messages that are remembered
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    history_bytes: usize,
}

/// How messages are sent.
#[derive(Debug, Args)]
pub(crate) struct SendingArgs {
    /// Threads that send to big audiences [default: one per core]
    #[arg(long, value_name = "N")]
    fanout_threads: Option<usize>,
    /// Deliveries (recipients times messages) under way; publishers wait beyond
    #[arg(long, value_name = "N", default_value_t = 1 << 20)]
    fanout_backlog: usize,
    /// Bytes of messages under way; publishers wait beyond
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    fanout_backlog_bytes: usize,
    /// How long a message waits for others, to be sent along with them; 0 = not at all
    #[arg(long, value_name = "MS", default_value_t = 0)]
    coalesce_ms: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Loads subscriptions from a file into the store
    Load(lf_comet::load::LoadArgs),
}

impl SubscriberArgs {
    pub(crate) fn public(&self) -> PublicOptions {
        PublicOptions {
            queue_bytes: self.queue_bytes,
            queue_total_bytes: self.queue_total_bytes,
            slow: self.slow,
            heartbeat: self.heartbeat,
            retry: self.retry,
        }
    }

    pub(crate) fn history(&self) -> HistoryLimits {
        let age = (!self.history_time.is_zero()).then_some(self.history_time);
        // With a time and no number, the time is the limit.
        let messages = if self.history == 0 && age.is_some() { usize::MAX } else { self.history };
        HistoryLimits { messages, age, bytes: self.history_bytes, ..HistoryLimits::default() }
    }
}

impl SendingArgs {
    pub(crate) fn fanout(&self, queue_bytes: usize) -> FanoutLimits {
        let default = FanoutLimits::default();
        FanoutLimits {
            threads: self.fanout_threads.unwrap_or(default.threads),
            backlog: self.fanout_backlog,
            backlog_bytes: self.fanout_backlog_bytes,
            coalesce: Duration::from_millis(self.coalesce_ms),
            queue_bytes,
        }
    }
}
