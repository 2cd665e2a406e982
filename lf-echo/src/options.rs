//! What lf-echo can be told.

use clap::{Parser, ValueEnum};
use lf_core::cli::{EXIT_CODES, ServerArgs};

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
    /// Where to listen: HOST:PORT, [V6]:PORT, :PORT, unix:/PATH, unix:@NAME or fd:N; may be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9876", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// How messages are told apart
    #[arg(long, value_enum, default_value = "line")]
    pub(crate) frame: Frame,
    /// A message at most, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    pub(crate) frame_bytes_max: usize,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// CPU time that every message burns, in microseconds
    #[arg(long, value_name = "US", default_value_t = 0)]
    pub(crate) work_us: u64,
    /// Time that every message sleeps, in microseconds
    #[arg(long, value_name = "US", default_value_t = 0)]
    pub(crate) block_us: u64,
    /// Announces that a message will block, instead of letting the monitor find out
    #[arg(long)]
    pub(crate) announce: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        lf_core::cli::command::<Options>("LF_ECHO").debug_assert();
    }
}
