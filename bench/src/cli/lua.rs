//! What `compare --lua` adds.

use crate::lua::Part;
use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct LuaFigureArgs {
    /// Compare lf-lua with lf-echo and with nginx and its Lua module, and say which of its figures are reached
    #[arg(long, conflicts_with_all = ["comet", "figures", "servers", "commands", "baseline", "mode", "svg"])]
    pub(crate) lua: bool,
    /// With --lua, these parts only: a: echo, b: hello, c: blocking, d: proxy, e: beside harm
    #[arg(long, value_name = "PARTS", value_delimiter = ',', requires = "lua")]
    pub(crate) only: Vec<Part>,
    /// With --lua, requests per second where some of them block, or others do harm
    #[arg(long, default_value_t = 2_000.0, value_name = "N", requires = "lua")]
    pub(crate) blocking_rate: f64,
}
