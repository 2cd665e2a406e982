//! The command line.

use crate::script::Framing;
use clap::{Args, Parser, Subcommand};
use humantime::parse_duration;
use lf_core::cli::{EXIT_CODES, ServerArgs};
use std::path::PathBuf;
use std::time::Duration;

/// Business logic and RPC front ends in Lua.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// Serving a script.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The script: its main chunk defines the servers
    #[arg(value_name = "SCRIPT")]
    pub(crate) script: Option<PathBuf>,
    /// Loads the script again whenever its file changes; SIGHUP does it too
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What scripts may use.
#[derive(Clone, Debug, Args)]
pub(crate) struct EngineArgs {
    /// Where `require` looks first, as in package.path
    #[arg(long, value_name = "TEMPLATES")]
    pub(crate) lua_path: Option<String>,
    /// How long a call may run without waiting; 0s = for ever
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) budget: Duration,
    /// Memory of a VM, in bytes: past it the VM is replaced; with --untrusted, its calls fail
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    pub(crate) vm_bytes: usize,
    /// The longest answer that is not sent in pieces, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    pub(crate) output_bytes: usize,
    /// Logs calls that take this long from request to answer; 0s = none
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub(crate) slow: Duration,
    /// Runs a script that may be hostile: no files, no programs, no debug library, no binary chunks
    #[arg(long)]
    pub(crate) untrusted: bool,
    /// Runs the whole script for each frame that comes in; it finds the frame in `lua_ctx`, and defines no servers
    #[arg(long)]
    pub(crate) compat: bool,
    /// Where a script listens that is run with --compat: HOST:PORT, :PORT or unix:PATH
    #[arg(long, value_name = "ADDR", default_value = ":9876", requires = "compat")]
    pub(crate) listen: String,
    /// What such a script takes for a frame
    #[arg(long, value_name = "KIND", default_value = "line", requires = "compat")]
    pub(crate) frame: Framing,
}

/// Other things to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Loads a script and says what it defines, or what is wrong with it
    Check {
        /// The script
        script: PathBuf,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Runs the tests in a directory: NAME_test.lua, with the servers of NAME.lua beside it
    Test {
        /// The directory, or one file
        #[arg(default_value = ".")]
        directory: PathBuf,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Runs what is typed, in the VM of a script if there is one
    Repl {
        /// The script, whose servers run meanwhile
        script: Option<PathBuf>,
        #[command(flatten)]
        engine: EngineArgs,
    },
}
