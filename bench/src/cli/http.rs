//! The options of `http`.

use super::{CourseArgs, OutputArgs};
use crate::load::{Close, Target};
use clap::Args;
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub(crate) struct HttpArgs {
    /// HOST:PORT, [V6]:PORT or unix:/path
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub(crate) target: Target,
    /// What is asked for, as in /hello or, with a weight, 9:/hello; repeatable, each reported apart [default: /]
    #[arg(long = "path", value_name = "[WEIGHT:]PATH")]
    pub(crate) paths: Vec<String>,
    /// The request's method [default: GET, with a body POST]
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// A header, as in 'Accept: text/plain'; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Send a body of so many bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) body: Option<usize>,
    /// Send this file as the body
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    pub(crate) body_file: Option<PathBuf>,
    /// A connection for each request: --connections of them in flight, with --rate at most so many
    #[arg(long, conflicts_with = "depth")]
    pub(crate) short: bool,
    /// How a connection of one request is closed
    #[arg(long, default_value = "fin", requires = "short")]
    pub(crate) close: Close,
    /// Open loop: requests per second over all connections; latency counts from the intended time of each
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// The status that every answer must have [default: any from 200 to 399]
    #[arg(long, value_name = "STATUS")]
    pub(crate) expect_status: Option<u16>,
    /// Text that every body must contain
    #[arg(long, value_name = "TEXT")]
    pub(crate) expect_contains: Option<String>,
    /// What every body must be
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["expect_contains", "expect_body_file"])]
    pub(crate) expect_body: Option<String>,
    /// A file that every body must be equal to
    #[arg(long, value_name = "FILE", conflicts_with = "expect_contains")]
    pub(crate) expect_body_file: Option<PathBuf>,
    /// Seed of the choice among several paths
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) course: CourseArgs,
    /// Account for this server process: CPU, context switches and memory per request
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
