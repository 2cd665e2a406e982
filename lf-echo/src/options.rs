//! The command line, the environment and the configuration file, in this order of precedence.

use anyhow::{Context, bail};
use clap::builder::FalseyValueParser;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Frame {
    /// Lines that end in LF
    Line,
    /// Bytes as they come
    Raw,
    /// u32 big-endian length, then the message
    Len32,
    /// 36-byte nshead header, then the body
    Nshead,
}

/// Who waits for events.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Promotion {
    /// One leader per group; a follower is promoted when the leader blocks
    Adaptive,
    /// All workers wait in `epoll_wait`
    Kernel,
}

/// How epoll is asked.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Trigger {
    /// EPOLLONESHOT and re-arm
    Oneshot,
    /// EPOLLET
    Edge,
}

/// Who gets a new connection.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Deal {
    /// One group after the other
    RoundRobin,
    /// The group with the fewest connections
    Least,
    /// The less loaded of two random groups
    P2c,
}

/// Sends back what it gets.
///
/// A message that begins with `@work=US;` burns that many microseconds of CPU before it is answered, one that begins
/// with `@block=US;` sleeps so long. Every option can also be set in the environment (LF_ECHO_GROUPS=2) and in a TOML
/// file (`groups = 2`); the command line wins over the environment, and that over the file.
///
/// On a machine where clients and server share the cores, `--groups 1` leaves the others to the clients.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES)]
pub(crate) struct Options {
    /// TOML file with settings, named as the options are
    #[arg(long, env = "LF_ECHO_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen: HOST:PORT, [V6]:PORT, :PORT, unix:/PATH, unix:@NAME or fd:N; may be repeated
    #[arg(long, env = "LF_ECHO_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9876", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// How messages are told apart
    #[arg(long, env = "LF_ECHO_FRAME", value_enum, default_value = "line")]
    pub(crate) frame: Frame,
    /// A message at most, in bytes
    #[arg(long, env = "LF_ECHO_FRAME_BYTES_MAX", value_name = "BYTES", default_value_t = 1 << 20)]
    pub(crate) frame_bytes_max: usize,
    /// Groups, each an epoll set with its workers [default: one per core]
    #[arg(long, env = "LF_ECHO_GROUPS", value_name = "N")]
    pub(crate) groups: Option<usize>,
    /// Workers that a group starts with
    #[arg(long, env = "LF_ECHO_WORKERS", value_name = "N", default_value_t = 4)]
    pub(crate) workers: usize,
    /// Workers that a group may grow to while handlers block
    #[arg(long, env = "LF_ECHO_WORKERS_MAX", value_name = "N", default_value_t = 64)]
    pub(crate) workers_max: usize,
    /// Who waits for events
    #[arg(long, env = "LF_ECHO_PROMOTION", value_enum, default_value = "adaptive")]
    pub(crate) promotion: Promotion,
    /// How epoll is asked
    #[arg(long, env = "LF_ECHO_TRIGGER", value_enum, default_value = "oneshot")]
    pub(crate) trigger: Trigger,
    /// Who gets a new connection
    #[arg(long, env = "LF_ECHO_DEAL", value_enum, default_value = "round-robin")]
    pub(crate) deal: Deal,
    /// Moves connections out of a group that has this many percent more than the least loaded one; 0 = off
    #[arg(long, env = "LF_ECHO_REBALANCE", value_name = "PERCENT", default_value_t = 0)]
    pub(crate) rebalance: u32,
    /// Pins the workers of group N to core N
    #[arg(long, env = "LF_ECHO_PIN", value_parser = FalseyValueParser::new())]
    pub(crate) pin: bool,
    /// How long a leader may be stuck before a follower is promoted (100us to 1s)
    #[arg(long, env = "LF_ECHO_TICK", value_name = "TIME", default_value = "1ms", value_parser = humantime::parse_duration)]
    pub(crate) tick: Duration,
    /// Events taken from epoll at a time
    #[arg(long, env = "LF_ECHO_BATCH", value_name = "N", default_value_t = 64)]
    pub(crate) batch: usize,
    /// Where the pages /status /metrics /connections /healthz are; a loopback address or a unix socket [default: nowhere]
    #[arg(long, env = "LF_ECHO_ADMIN", value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// Connections at most [default: what the descriptor limit allows]
    #[arg(long, env = "LF_ECHO_MAX_CONNECTIONS", value_name = "N")]
    pub(crate) max_connections: Option<usize>,
    /// Connections of one address at most [default: no limit]
    #[arg(long, env = "LF_ECHO_MAX_PER_ADDRESS", value_name = "N")]
    pub(crate) max_per_address: Option<usize>,
    /// Connections accepted per second at most [default: no limit]
    #[arg(long, env = "LF_ECHO_ACCEPT_RATE", value_name = "N")]
    pub(crate) accept_rate: Option<u32>,
    /// Listen queue, in connections
    #[arg(long, env = "LF_ECHO_BACKLOG", value_name = "N", default_value_t = 4096)]
    pub(crate) backlog: u32,
    /// Lets several processes listen on the same port (SO_REUSEPORT)
    #[arg(long, env = "LF_ECHO_REUSE_PORT", value_parser = FalseyValueParser::new())]
    pub(crate) reuse_port: bool,
    /// Accepts a connection when its first bytes are there, or after this long (TCP_DEFER_ACCEPT); 0s = at once
    #[arg(long, env = "LF_ECHO_DEFER_ACCEPT", value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) defer_accept: Duration,
    /// Closes a connection that sent nothing yet; 0s = never
    #[arg(long, env = "LF_ECHO_FIRST_BYTE", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) first_byte: Duration,
    /// Closes a connection whose message takes longer than this to come in; 0s = never
    #[arg(long, env = "LF_ECHO_FRAME_TIME", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) frame_time: Duration,
    /// Closes a connection without traffic; 0s = never
    #[arg(long, env = "LF_ECHO_IDLE", value_name = "TIME", default_value = "300s", value_parser = humantime::parse_duration)]
    pub(crate) idle: Duration,
    /// Closes a connection that takes none of its answers; 0s = never
    #[arg(long, env = "LF_ECHO_WRITE_STALL", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) write_stall: Duration,
    /// How long connections get to finish after SIGTERM or SIGINT
    #[arg(long, env = "LF_ECHO_DRAIN", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) drain: Duration,
    /// CPU time that every message burns, in microseconds
    #[arg(long, env = "LF_ECHO_WORK_US", value_name = "US", default_value_t = 0)]
    pub(crate) work_us: u64,
    /// Time that every message sleeps, in microseconds
    #[arg(long, env = "LF_ECHO_BLOCK_US", value_name = "US", default_value_t = 0)]
    pub(crate) block_us: u64,
    /// Announces that a message will block, instead of letting the monitor find out
    #[arg(long, env = "LF_ECHO_ANNOUNCE", value_parser = FalseyValueParser::new())]
    pub(crate) announce: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 drained; 1 could not start; 2 wrong usage; 3 connections were cut at the drain \
                          deadline; 128+N ended by a second signal N.";

impl Options {
    /// Reads the three sources. Exits by itself for `--help`, `--version` and wrong usage.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let arguments: Vec<_> = std::env::args_os().collect();
        let first = Self::command().get_matches_from(&arguments);
        let Some(path) = first.get_one::<PathBuf>("config") else { return Ok(Self::from_arg_matches(&first)?) };
        let command = with_file_defaults(Self::command(), path)?;
        Ok(Self::from_arg_matches(&command.get_matches_from(&arguments))?)
    }
}

/// Makes what the file says the defaults of the options, so that environment and command line win over it.
fn with_file_defaults(mut command: clap::Command, path: &Path) -> anyhow::Result<clap::Command> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("cannot parse {}", path.display()))?;
    for (key, value) in table {
        let id = key.replace('-', "_");
        let known = command.get_arguments().any(|argument| argument.get_id() == id.as_str() && id != "config");
        if !known {
            let file = path.display();
            bail!("{file}: there is no setting {key:?}; the settings are the options of --help, without the dashes");
        }
        let values = texts(value).with_context(|| format!("{}: {key}", path.display()))?;
        command = command.mut_arg(&id, |argument| argument.default_values(values));
    }
    Ok(command)
}

fn texts(value: toml::Value) -> anyhow::Result<Vec<String>> {
    Ok(match value {
        toml::Value::String(text) => vec![text],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Boolean(flag) => vec![flag.to_string()],
        toml::Value::Array(list) => {
            list.into_iter().map(texts).collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect()
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
            bail!("a value is a string, a whole number, true or false, or a list of them")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(file: &str, arguments: &[&str]) -> anyhow::Result<Options> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("echo.toml");
        std::fs::write(&path, file)?;
        let command = with_file_defaults(Options::command(), &path)?;
        let matches = command.try_get_matches_from([&["lf-echo"], arguments].concat())?;
        Ok(Options::from_arg_matches(&matches)?)
    }

    #[test]
    fn the_definition_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_file_sets_defaults_and_the_command_line_wins() {
        let file = "groups = 3\nlisten = [\"127.0.0.1:1\", \"unix:/x\"]\npin = true\nidle = \"5s\"\nworkers-max = 9";
        let options = parse(file, &["--groups", "2"]).unwrap();
        assert_eq!((options.groups, options.workers_max, options.pin), (Some(2), 9, true));
        assert_eq!(options.listen, ["127.0.0.1:1", "unix:/x"]);
        assert_eq!(options.idle, Duration::from_secs(5));
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let error = parse("gruops = 3", &[]).unwrap_err().to_string();
        assert!(error.contains("gruops") && error.contains("--help"), "{error}");
    }

    #[test]
    fn a_bad_value_in_the_file_is_refused() {
        assert!(parse("groups = \"many\"", &[]).unwrap_err().to_string().contains("many"));
        assert!(parse("groups = 1.5", &[]).is_err());
    }
}
