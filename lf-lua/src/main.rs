//! Lua scripts as servers.

mod allocator;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

fn main() -> ExitCode {
    lf_core::cli::run("lf-lua", lf_lua::program)
}
