//! Lua scripts as servers.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    lf_core::cli::run("lf-lua", lf_lua::program)
}
