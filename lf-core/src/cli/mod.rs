//! What the command lines of lf's programs share: where settings come from, the options of a server, and how a program
//! starts and ends. Needs the feature `cli`.
//!
//! A program flattens [`ServerArgs`] into its options, [`read`]s them, and hands its `main` to [`run`].

mod server_args;
mod settings;
mod values;

pub use server_args::ServerArgs;
pub use settings::{Error, command, read, read_with, with_environment, with_file_defaults};

use crate::server::Server;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What a program's exit codes mean, to stand below its `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 drained; 1 could not start; 2 wrong usage; 3 connections were cut at the \
                              drain deadline; 128+N ended by a second signal N.";

/// Runs a program after [`log`] was set up: `main` answers the exit code, mostly that of
/// [`Ended`](crate::Ended::exit_code). What it fails with is said on standard error, and makes the code 1.
pub fn run<E: Display>(program: &str, main: impl FnOnce() -> Result<u8, E>) -> ExitCode {
    log();
    match main() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // In full: some errors keep their causes to themselves unless asked so.
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error, filtered by `LF_LOG` (`info` without it), coloured on a terminal. A log that was set up
/// before stays.
pub fn log() {
    let filter = EnvFilter::try_from_env("LF_LOG").unwrap_or_else(|_| "info".into());
    let colours = io::stderr().is_terminal();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).try_init();
}

/// Says on standard output where a server listens, a line each, for people and for scripts that wait for it:
/// `listening ADDRESS`, then `admin ADDRESS`.
///
/// # Errors
/// If standard output takes no more.
pub fn announce(server: &Server) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for address in server.addresses() {
        writeln!(out, "listening {address}")?;
    }
    if let Some(address) = server.admin_address() {
        writeln!(out, "admin {address}")?;
    }
    out.flush()
}
