//! Beside the real lua-cjson, where `luajit` and its module are installed (Debian: `luajit`, `lua-cjson`).
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod api_common;

use api_common::vm_with;
use lf_lua::api::shared::Dicts;
use mlua::Function;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs each chunk of a script, and prints its results on a line each. Both sides run the same text.
const DRIVER: &str = r#"
local function show(value)
    if type(value) == "table" then
        local keys = {}
        for key in pairs(value) do keys[#keys + 1] = key end
        table.sort(keys, function(one, other)
            if type(one) == type(other) then return one < other end
            return type(one) < type(other)
        end)
        for index, key in ipairs(keys) do keys[index] = show(key) .. "=" .. show(value[key]) end
        return "{" .. table.concat(keys, ",") .. "}"
    elseif type(value) == "number" then
        return value ~= value and "nan" or ("%a"):format(value)
    elseif type(value) == "userdata" then
        return value == cjson.null and "null" or "userdata"
    end
    return (tostring(value):gsub("[^ -~]", function(byte) return ("\\x%02x"):format(byte:byte()) end))
end
local answers = {}
for line in input:gmatch "[^\n]+" do
    local text = line:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
    local ok, value = pcall(cjson.decode, text)
    answers[#answers + 1] = show(ok) .. " " .. show(value)
    -- Objects of more than one key have no order.
    if ok and not (type(value) == "table" and text:find("{", 1, true)) then
        local ok, value = pcall(cjson.encode, value)
        answers[#answers + 1] = show(ok) .. " " .. show(value)
    end
end
return table.concat(answers, "\n")
"#;

fn cases() -> Vec<String> {
    let pieces = [
        "[", "]", "{", "}", ",", ":", "\"", "\\", "\\u", "d83d", "\\ude00", "\\n", "a", "tru", "true", "null", "nan",
        "inf", "-", "+", "0", "1", "9", ".", "e", "E5", "0x", "1F", "p3", " ", "\t", "/", "\u{7f}", "\u{e9}", "\u{1}",
        "\"a\":", "\"\"",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0) % below
    };
    let escape = |text: String| text.replace('%', "%25").replace('\n', "%0a");
    (0..20_000).map(|_| (0..=random(9)).map(|_| pieces[random(pieces.len())]).collect()).map(escape).collect()
}

#[test]
fn what_is_read_and_written_is_the_same_as_with_lua_cjson() {
    let input = cases().join("\n");
    let real = format!("cjson = require 'cjson' input = io.read '*a' io.write((function() {DRIVER} end)())");
    let probe = Command::new("luajit").args(["-e", "require 'cjson'"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: luajit with lua-cjson is not installed");
        return;
    }
    let mut child =
        Command::new("luajit").args(["-e", &real]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(bytes.as_bytes()));
    let wanted = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(wanted.status.success());

    let lua = vm_with(&Dicts::default());
    let ours =
        format!("cjson = require 'cjson' return function(text) input = text return (function() {DRIVER} end)() end");
    let ours: Function = lua.load(ours).eval().unwrap();
    let found: String = ours.call(input.as_str()).unwrap();
    let wanted = String::from_utf8(wanted.stdout).unwrap();
    assert_eq!(wanted.lines().count(), found.lines().count());
    let differing: Vec<_> = wanted.lines().zip(found.lines()).filter(|(one, other)| one != other).take(20).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}
