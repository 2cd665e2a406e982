//! Lua scripts as servers.
#![forbid(unsafe_code)]

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Lua allocates all the time, and small.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    lf_core::cli::run("lf-lua", lf_lua::program)
}
