//! The options of `nshead`.

use super::{CourseArgs, OutputArgs};
use crate::load::Target;
use clap::Args;
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub(crate) struct NsheadArgs {
    /// HOST:PORT, [V6]:PORT or unix:/path
    #[arg(long, default_value = "127.0.0.1:9876", value_name = "ADDR")]
    pub(crate) target: Target,
    /// Bytes of a generated body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) body: usize,
    /// Of the generated header
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) id: u16,
    /// Of the generated header
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) version: u16,
    /// Of the generated header, up to 16 bytes
    #[arg(long, default_value = "lf-bench", value_name = "NAME")]
    pub(crate) provider: String,
    /// Ask what is in this file instead, frame after frame as they were captured; the run ends with the file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["body", "id", "version", "provider"])]
    pub(crate) replay: Option<PathBuf>,
    /// Begin the file again at its end, until --duration is over
    #[arg(long = "loop", requires = "replay")]
    pub(crate) repeat: bool,
    /// Bodies must come back as they were sent
    #[arg(long)]
    pub(crate) echo: bool,
    /// Write every request that is made into this file, for --replay
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Option<PathBuf>,
    /// Open loop: requests per second over all connections; latency counts from the intended time of each
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    #[command(flatten)]
    pub(crate) course: CourseArgs,
    /// Account for this server process: CPU, context switches and memory per request
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
