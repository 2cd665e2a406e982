//! The push server as a program.

#![forbid(unsafe_code)]

fn main() {}
