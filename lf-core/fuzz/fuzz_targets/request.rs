//! What can be asked of a request, and the WebSocket handshake.
#![no_main]

#[path = "../harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::request::check(input));
