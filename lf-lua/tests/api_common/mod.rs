//! A VM with the libraries.

#![allow(clippy::unwrap_used, dead_code, reason = "only tests use it, and not each of them all of it")]

use lf_lua::api::shared::Dicts;
use lf_lua::api::{crypto, json, re, shared, uri};
use mlua::{Lua, Table};

/// A VM with the libraries under `lf`.
pub(crate) fn vm_with(dicts: &Dicts) -> Lua {
    let lua = Lua::new();
    let lf: Table = lua.create_table().unwrap();
    json::install(&lua, &lf).unwrap();
    json::preload(&lua).unwrap();
    crypto::install(&lua, &lf).unwrap();
    uri::install(&lua, &lf).unwrap();
    re::install(&lua, &lf, None).unwrap();
    shared::install(&lua, &lf, dicts).unwrap();
    lua.globals().set("lf", lf).unwrap();
    lua.load(include_str!("../lua/check.lua")).set_name("=check.lua").exec().unwrap();
    lua
}

/// Runs a script that asserts something.
pub(crate) fn run(script: &str) {
    run_in(&vm_with(&Dicts::default()), script);
}

/// Runs a script that asserts something.
pub(crate) fn run_in(lua: &Lua, script: &str) {
    if let Err(error) = lua.load(script).set_name("=script").exec() {
        panic!("{error}");
    }
}
