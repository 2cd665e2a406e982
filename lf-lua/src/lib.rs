//! Business logic and RPC front ends in Lua, on `lf-core`.

pub mod api;
