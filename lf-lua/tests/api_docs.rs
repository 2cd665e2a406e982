//! The examples of the page about the libraries run, and the page and the stubs name every function.

mod api_common;

use api_common::vm_with;
use lf_lua::api::pattern::install_string;
use lf_lua::api::shared::Dicts;

const PAGE: &str = include_str!("../../docs/src/lua-api.md");
const STUBS: &[&str] = &[
    include_str!("../library/json.lua"),
    include_str!("../library/cjson.lua"),
    include_str!("../library/crypto.lua"),
    include_str!("../library/re.lua"),
    include_str!("../library/shared.lua"),
];

/// Examples with the line on which each begins.
fn examples() -> Vec<(usize, String)> {
    let mut examples = Vec::new();
    let mut lines = PAGE.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```lua" {
            let block: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            examples.push((number + 1, block.join("\n")));
        }
    }
    examples.retain(|(_, example)| !example.starts_with("-- not run"));
    examples
}

#[test]
fn examples_run() {
    let examples = examples();
    assert!(examples.len() > 10);
    for (line, example) in examples {
        assert!(example.contains("assert("), "line {line}: an example without an assertion");
        let lua = vm_with(&Dicts::default());
        install_string(&lua, 1 << 20, || true).unwrap();
        lua.load(&example).set_name("=example").exec().unwrap_or_else(|error| panic!("line {line}: {error}"));
    }
}

#[test]
fn every_function_is_in_the_stubs_and_on_the_page() {
    let names: Vec<String> = vm_with(&Dicts::default())
        .load(
            r##"
            local names = {}
            local function collect(prefix, table)
                for name, value in pairs(table) do
                    if type(value) == "function" then
                        names[#names + 1] = prefix .. name
                    elseif type(value) == "table" and name ~= "array_mt" and name ~= "empty_array_mt" and name ~= "shared" then
                        collect(prefix .. name .. ".", value)
                    end
                end
            end
            collect("lf.", lf)
            collect("cjson.", require "cjson")
            collect("Dict:", lf.shared.any)
            return names
            "##,
        )
        .eval()
        .unwrap();
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        assert!(STUBS.iter().any(|stub| stub.contains(&format!("function {name}("))), "{name} has no stub");
        let on_page = match name.split_once(':') {
            Some((_, method)) => PAGE.contains(&format!(":{method}(")),
            None => {
                PAGE.contains(&name) || name.starts_with("cjson.") && PAGE.contains(name.trim_start_matches("cjson."))
            }
        };
        assert!(on_page, "{name} is not on the page");
    }
}

#[test]
fn stubs_are_lua() {
    let lua = mlua::Lua::new();
    for stub in STUBS {
        assert!(stub.starts_with("---@meta"));
        lua.load(*stub).into_function().unwrap();
    }
}
