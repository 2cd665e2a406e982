//! The pattern functions for scripts that are not trusted answer as the engine's own, and end when they are told to.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use lf_lua::api::pattern::install_string;
use mlua::{Function, Lua, MultiValue, Value};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const BYTES_MAX: usize = 1 << 20;

fn vm() -> Lua {
    let lua = Lua::new();
    install_string(&lua, BYTES_MAX, || true).unwrap();
    lua
}

/// What a call of a function of `string` answers, or its error.
fn call(lua: &Lua, name: &str, arguments: &[Argument]) -> String {
    let call: Function = lua.load(include_str!("lua/pattern.lua")).set_name("=call").call(name).unwrap();
    let arguments: MultiValue = arguments.iter().map(|argument| argument.value(lua)).collect();
    call.call::<mlua::LuaString>(arguments).unwrap().as_bytes().escape_ascii().to_string()
}

#[derive(Clone, Debug)]
enum Argument {
    Text(Vec<u8>),
    Number(i64),
    /// Looks the first capture up.
    Table,
    /// Answers with its arguments.
    Function,
}

impl Argument {
    fn value(&self, lua: &Lua) -> Value {
        match self {
            Self::Text(text) => Value::String(lua.create_string(text).unwrap()),
            Self::Number(number) => Value::Integer(*number),
            Self::Table => lua.load("{ a = 'A', ab = 1, b = false, [1] = 'one' }").eval().unwrap(),
            Self::Function => lua
                .load("function(one, two) return one ~= 'b' and (one .. '<' .. tostring(two) .. '>') end")
                .eval()
                .unwrap(),
        }
    }
}

fn text(text: &str) -> Argument {
    Argument::Text(text.as_bytes().to_vec())
}

/// Compares with the engine's own.
fn same(name: &str, arguments: &[Argument]) -> Result<(), TestCaseError> {
    let wanted = call(&Lua::new(), name, arguments);
    let found = call(&vm(), name, arguments);
    prop_assert_eq!(found, wanted, "{}({:?})", name, arguments);
    Ok(())
}

fn pattern() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "a", "b", "x", " ", ".", "%a", "%d", "%s", "%W", "%z", "%.", "[ab]", "[^a]", "[a-c]", "[]]", "[%a_]", "[a-",
        "[", "(", ")", "()", "*", "+", "-", "?", "^", "$", "%b()", "%bab", "%b", "%f[%a]", "%f", "%1", "%2", "%0", "%",
        "]", "\0", "(a*)", "(.-)", "(%w+)", ".*",
    ]);
    prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat().into_bytes())
}

fn subject() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"aabbx (ab)1_]\0\xff%".to_vec()), 0..14)
}

fn replacement() -> impl Strategy<Value = Argument> {
    let pieces = prop::sample::select(vec!["x", "%1", "%0", "%2", "%%", "%", "%a", ""]);
    prop_oneof![
        4 => prop::collection::vec(pieces, 0..4).prop_map(|pieces| text(&pieces.concat())),
        1 => Just(Argument::Table),
        1 => Just(Argument::Function),
        1 => Just(Argument::Number(7)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn find_and_match_answer_as_the_engine_does(subject in subject(), pattern in pattern(), init in -16_i64..18, plain: bool) {
        let mut arguments = vec![Argument::Text(subject), Argument::Text(pattern), Argument::Number(init)];
        same("match", &arguments)?;
        same("find", &arguments)?;
        if plain {
            arguments.push(Argument::Number(1));
            same("find", &arguments)?;
        }
    }

    #[test]
    fn gmatch_answers_as_the_engine_does(subject in subject(), pattern in pattern()) {
        same("gmatch", &[Argument::Text(subject), Argument::Text(pattern)])?;
    }

    #[test]
    fn gsub_answers_as_the_engine_does(subject in subject(), pattern in pattern(), by in replacement(), max in -1_i64..6) {
        same("gsub", &[Argument::Text(subject.clone()), Argument::Text(pattern.clone()), by.clone()])?;
        same("gsub", &[Argument::Text(subject), Argument::Text(pattern), by, Argument::Number(max)])?;
    }

    #[test]
    fn any_bytes_are_taken_as_the_engine_takes_them(subject: Vec<u8>, pattern: Vec<u8>) {
        same("find", &[Argument::Text(subject.clone()), Argument::Text(pattern.clone())])?;
        same("gsub", &[Argument::Text(subject), Argument::Text(pattern), text("%0%0")])?;
    }
}

#[test]
fn arguments_and_limits_are_those_of_the_engine() {
    let deep = "a?".repeat(250);
    for (name, arguments) in [
        ("find", vec![]),
        ("find", vec![text("a")]),
        ("match", vec![Argument::Table, text("a")]),
        ("find", vec![Argument::Number(123), Argument::Number(2)]),
        ("gsub", vec![text("a"), text("a")]),
        ("gsub", vec![text("abc"), text("%w"), Argument::Function, text("2")]),
        ("gsub", vec![text("a"), text("a"), text("x"), text("y")]),
        ("match", vec![text(&"a".repeat(300)), text(&deep)]),
        ("match", vec![text(&"a".repeat(10)), text(&deep)]),
        ("match", vec![text("a"), text(&"()".repeat(32))]),
        ("match", vec![text("a"), text(&"()".repeat(33))]),
        ("match", vec![text(&"a".repeat(1000)), text(".-b")]),
        ("rep", vec![text("ab"), Argument::Number(3)]),
        ("rep", vec![text("ab"), Argument::Number(3), text(",")]),
        ("rep", vec![text("ab"), Argument::Number(-3)]),
        ("rep", vec![text("ab")]),
        ("rep", vec![text(""), Argument::Number(1_000_000_000)]),
    ] {
        same(name, &arguments).unwrap();
    }
}

#[test]
fn a_match_without_end_is_ended() {
    let checks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&checks);
    let lua = Lua::new();
    install_string(&lua, BYTES_MAX, move || seen.fetch_add(1, Ordering::Relaxed) < 20).unwrap();
    for script in [
        "return ('a'):rep(10000):find(('.-'):rep(50) .. 'b')",
        "return ('a'):rep(10000):match(('a*'):rep(50) .. 'b')",
        "return ('('):rep(100000):find('%b()')",
        "for _ in ('a'):rep(10000):gmatch(('.-'):rep(50) .. 'b') do end",
        "return ('a'):rep(10000):gsub(('.-'):rep(50) .. 'b', 'x')",
        "return ('a'):rep(10000):gsub(('.-'):rep(50) .. 'b', function() end)",
        "return ('a'):rep(10000):find('[' .. ('x'):rep(10000) .. ']')",
    ] {
        checks.store(0, Ordering::Relaxed);
        let error = lua.load(script).exec().unwrap_err().to_string();
        assert!(error.contains("budget"), "{script}: {error}");
        assert_eq!(checks.load(Ordering::Relaxed), 21, "{script}");
    }
}

#[test]
fn strings_above_the_limit_are_not_made() {
    let lua = vm();
    for script in [
        "return ('x'):rep(2 ^ 20 + 1)",
        "return ('x'):rep(2 ^ 10, ('y'):rep(2 ^ 10 + 1))",
        "return ('xx'):rep(2 ^ 52)",
        "return ('x'):rep(2 ^ 19):gsub('x', ('y'):rep(2 ^ 19))",
    ] {
        let error = lua.load(script).exec().unwrap_err().to_string();
        assert!(error.contains("resulting string too large"), "{script}: {error}");
    }
    assert_eq!(lua.load("return #('x'):rep(2 ^ 20)").eval::<usize>().unwrap(), BYTES_MAX);
}

#[test]
fn what_is_called_back_may_raise_and_yield() {
    let lua = vm();
    lua.load(
        r#"
        local ok, value = pcall(string.gsub, "abc", "b", function() error { code = 7 } end)
        assert(not ok and value.code == 7)
        local thread = coroutine.wrap(function()
            return (("abc"):gsub("%w", function(letter) return coroutine.yield(letter) end))
        end)
        assert(thread() == "a" and thread "1" == "b" and thread "2" == "c" and thread "3" == "123")
        "#,
    )
    .exec()
    .unwrap();
}

#[test]
fn errors_name_the_place_in_the_script() {
    let lua = vm();
    for call in ["find('a', '(')", "gsub('a', '(', '%1')", "gsub('a', '(', print)", "rep()", "gmatch('a')"] {
        let script = format!(
            "local ok, message = pcall(function()\nlocal value = string.{call}\nreturn value end) return message"
        );
        let message: String = lua.load(script).set_name("=script").eval().unwrap();
        assert!(message.starts_with("script:2: "), "{message}");
    }
}
