//! Business logic and RPC front ends in Lua, on `lf-core`.
//!
//! The way of a request: `serve` (a handler of lf-core finds the function), `engine::pool` (a VM that is free),
//! `engine::vm` (the call), the prelude (a task with a coroutine), the script; and back.

#![deny(unsafe_code)]

pub mod api;
mod engine;
mod options;
mod program;
mod reload;
mod repl;
mod script;
mod serve;
mod tester;
mod watchdog;

pub use program::program;
