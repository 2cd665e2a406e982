//! `string.find`, `match`, `gmatch` and `gsub` for scripts that are not trusted.
//!
//! The engine's own run in C, where nothing ends them: `("a"):rep(1e5):find((".-"):rep(50) .. "b")` takes years. These
//! answer the same, but ask every so many steps whether to go on. What calls back into the script is written in Lua, so
//! that it may raise errors and yield there.

mod arguments;
mod budget;
mod class;
mod matcher;
mod replace;

use arguments::Arguments;
use budget::{Budget, Stop};
use matcher::{Captured, IS_LUA54, Matcher};
use mlua::{Function, IntoLua, Lua, LuaString, MultiValue, Table, Value};

/// The functions as scripts see them.
const CALLING: &str = include_str!("pattern.lua");

/// Replaces `find`, `match`, `gmatch`, `gsub` and `rep` of the table `string`.
///
/// Every ten thousand steps `check` says whether to go on; if not, the call ends with the error `budget`. `rep` and
/// `gsub` make no strings above `bytes_max` bytes.
///
/// # Errors
///
/// If the VM has no memory left, or no `string` library.
pub fn install_string(
    lua: &Lua,
    bytes_max: usize,
    check: impl Fn() -> bool + Send + Sync + Clone + 'static,
) -> mlua::Result<()> {
    let native = lua.create_table()?;
    for (name, with_place) in [("find", true), ("match", false)] {
        let check = check.clone();
        let find = move |lua: &Lua, values: MultiValue| {
            let arguments = Arguments::new(lua, name, &values);
            answer(lua, find(lua, &arguments, with_place, Budget::new(&check))?)
        };
        native.set(name, lua.create_function(find)?)?;
    }
    let check_gsub = check.clone();
    let gsub = move |lua: &Lua, values: MultiValue| {
        let arguments = Arguments::new(lua, "gsub", &values);
        answer(lua, replace::gsub(lua, &arguments, bytes_max, Budget::new(&check_gsub))?)
    };
    native.set("gsub", lua.create_function(gsub)?)?;
    let gmatch = |lua: &Lua, values: MultiValue| answer(lua, gmatch(&Arguments::new(lua, "gmatch", &values))?);
    native.set("gmatch", lua.create_function(gmatch)?)?;
    let rep = move |lua: &Lua, values: MultiValue| {
        answer(lua, replace::rep(lua, &Arguments::new(lua, "rep", &values), bytes_max)?)
    };
    native.set("rep", lua.create_function(rep)?)?;
    native.set(
        "scan",
        lua.create_function(move |lua, values: Scan| answer(lua, scan(lua, &values, Budget::new(&check))?))?,
    )?;
    native.set("empty_moves_on", !IS_LUA54)?;
    let calling: Function = lua.load(CALLING).set_name("=string").eval()?;
    calling.call((lua.globals().get::<Table>("string")?, native))
}

/// Results, or why there are none; outside of it what went wrong with the VM.
type Answer = mlua::Result<Result<Vec<Value>, Stop>>;

/// `true` and the results, or `false` and the error.
fn answer(lua: &Lua, answer: Result<Vec<Value>, Stop>) -> mlua::Result<MultiValue> {
    match answer {
        Ok(values) => Ok(std::iter::once(Value::Boolean(true)).chain(values).collect()),
        Err(stop) => Ok([Value::Boolean(false), stop.message().into_lua(lua)?].into_iter().collect()),
    }
}

fn value(lua: &Lua, captured: Captured<'_>) -> mlua::Result<Value> {
    match captured {
        Captured::Text(text) => lua.create_string(text).map(Value::String),
        Captured::Position(position) => position.into_lua(lua),
    }
}

/// Unwraps what a script did wrong, as a result for the script.
macro_rules! attempt {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(stop) => return Ok(Err(stop)),
        }
    };
}
use attempt;

/// The offset where a search begins; none behind the end.
fn offset(position: i64, length: usize) -> Option<usize> {
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    let offset = if position < 0 { length.saturating_sub(distance) } else { distance.saturating_sub(1) };
    match offset <= length {
        true => Some(offset),
        false if IS_LUA54 => None,
        false => Some(length),
    }
}

fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

fn find(lua: &Lua, arguments: &Arguments<'_>, with_place: bool, mut budget: Budget<'_>) -> Answer {
    let subject = attempt!(arguments.text(0));
    let pattern = attempt!(arguments.text(1));
    let position = attempt!(arguments.integer(2, 1));
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let nothing = Ok(Ok(vec![Value::Nil]));
    let Some(start) = offset(position, subject.len()) else { return nothing };
    if with_place && (arguments.is_true(3) || is_plain(&pattern)) {
        attempt!(budget.spend((subject.len() - start) / 64));
        let Some(at) = memchr::memmem::find(&subject[start..], &pattern) else { return nothing };
        let from = (start + at + 1).into_lua(lua)?;
        return Ok(Ok(vec![from, (start + at + pattern.len()).into_lua(lua)?]));
    }
    let mut matcher = Matcher::new(&subject, &pattern, budget);
    let anchored = pattern.first() == Some(&b'^');
    let last = if anchored { start } else { subject.len() };
    for at in start..=last {
        let Some(end) = attempt!(matcher.match_at(at, usize::from(anchored))) else { continue };
        let mut values = Vec::new();
        if with_place {
            values.extend([(at + 1).into_lua(lua)?, end.into_lua(lua)?]);
        }
        for captured in attempt!(matcher.captured((!with_place).then_some((at, end)))) {
            values.push(value(lua, captured)?);
        }
        return Ok(Ok(values));
    }
    nothing
}

/// The checked arguments, and the offset where to begin.
fn gmatch(arguments: &Arguments<'_>) -> Answer {
    let subject = attempt!(arguments.text(0));
    let pattern = attempt!(arguments.text(1));
    let length = subject.as_bytes().len();
    let position = if IS_LUA54 { attempt!(arguments.integer(2, 1)) } else { 1 };
    let start = offset(position, length).unwrap_or(length + 1);
    Ok(Ok(vec![Value::String(subject), Value::String(pattern), Value::Integer(i64::try_from(start).unwrap_or(0))]))
}

/// Subject, pattern, the offset where to begin, where the last match ended, whether it is `gsub` that wants it, where a
/// pattern may be anchored, and whether the first capture is enough.
type Scan = (LuaString, LuaString, usize, Option<usize>, bool, bool);

/// The next match: its offset, its end and its captures.
fn scan(lua: &Lua, (subject, pattern, start, last_end, may_anchor, first_only): &Scan, budget: Budget<'_>) -> Answer {
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let anchored = *may_anchor && pattern.first() == Some(&b'^');
    let mut matcher = Matcher::new(&subject, &pattern, budget);
    let Some((at, end)) = attempt!(next_match(&mut matcher, subject.len(), *start, *last_end, anchored)) else {
        return Ok(Ok(Vec::new()));
    };
    let mut values = vec![at.into_lua(lua)?, end.into_lua(lua)?];
    let captured = if *first_only {
        matcher.capture(0, (at, end)).map(|first| vec![first])
    } else {
        matcher.captured(Some((at, end)))
    };
    for captured in attempt!(captured) {
        values.push(value(lua, captured)?);
    }
    Ok(Ok(values))
}

/// The first match from `start` on: its offset and its end. One engine skips what is empty right behind the last match.
fn next_match(
    matcher: &mut Matcher<'_, '_>,
    length: usize,
    start: usize,
    last_end: Option<usize>,
    anchored: bool,
) -> Result<Option<(usize, usize)>, Stop> {
    for at in start..=if anchored { start } else { length } {
        let end = matcher.match_at(at, usize::from(anchored))?;
        if let Some(end) = end.filter(|&end| !IS_LUA54 || Some(end) != last_end) {
            return Ok(Some((at, end)));
        }
    }
    Ok(None)
}
