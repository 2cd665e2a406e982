//! Regular expressions: `lf.re`, with the results of openresty's `ngx.re` on the `regex` crate.
//!
//! A search takes time linear in the subject, whatever the expression; for that there are no back-references and no
//! look-around. Subjects are bytes.

mod cache;
mod template;

use super::text::{Text, text};
use cache::{Cache, Compiled};
use mlua::{BorrowedBytes, Either, Function, Lua, LuaString, Table};
use parking_lot::Mutex;
use regex::bytes::Captures;
use std::sync::Arc;
use template::Template;

/// The functions that call back into the script, which may raise and yield there, are written in Lua.
const CALLING: &str = include_str!("re.lua");

/// Steps that a search may take in a script that is not trusted: what the worst ones do in a tenth of a second.
pub(crate) const STEPS_MAX: u64 = 1 << 23;

/// Puts the table `re` into `lf`. A search cannot be ended; one that may take more than `steps_max`, states of the compiled
/// expression times bytes of the subject, is refused.
///
/// # Errors
///
/// If the VM has no memory left.
pub fn install(lua: &Lua, lf: &Table, steps_max: Option<u64>) -> mlua::Result<()> {
    let cache = Arc::new(Mutex::new(Cache::new(steps_max)));
    let (re, native) = (lua.create_table()?, lua.create_table()?);
    install_searches(lua, &re, &native, &cache)?;
    install_replacing(lua, &re, &native, &cache)?;
    let calling: Function = lua.load(CALLING).set_name("=lf.re").eval()?;
    calling.call::<()>((&re, native))?;
    lf.set("re", re)
}

/// Where to begin: a position, or a table whose field `pos` is one and is moved behind what was found.
type Start = Option<Either<i64, Table>>;

/// What most functions are called with.
type Search = (BorrowedBytes, BorrowedBytes, Option<BorrowedBytes>, Start);

/// The compiled form of an expression that is to be searched for in `subject`.
fn compiled(
    cache: &Mutex<Cache>,
    subject: &[u8],
    regex: &[u8],
    options: Option<&BorrowedBytes>,
) -> Result<Arc<Compiled>, String> {
    let mut cache = cache.lock();
    let compiled = cache.get(regex, options.map_or(&[], |options| options))?;
    cache.admit(&compiled, subject.len())?;
    Ok(compiled)
}

/// The offset of a position, which counts from 1, or from the end if it is negative; none behind the end.
fn offset(start: &Start, length: usize) -> mlua::Result<Option<usize>> {
    let position = match start {
        None => 1,
        Some(Either::Left(position)) => *position,
        Some(Either::Right(table)) => table.get::<Option<i64>>("pos")?.unwrap_or(1),
    };
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    let offset = if position < 0 { length.saturating_sub(distance) } else { distance.saturating_sub(1) };
    Ok((offset <= length).then_some(offset))
}

/// Moves `pos` behind what was found.
fn advance(start: &Start, end: usize) -> mlua::Result<()> {
    match start {
        Some(Either::Right(table)) => table.set("pos", end + 1),
        Some(Either::Left(_)) | None => Ok(()),
    }
}

/// The groups by number, and by name those that have one; `false` for a group that took no part.
fn captures(lua: &Lua, compiled: &Compiled, found: &Captures<'_>) -> mlua::Result<Table> {
    let group = |index: usize| -> mlua::Result<Either<Text<'_>, bool>> {
        found.get(index).map_or(Ok(Either::Right(false)), |group| text(lua, group.as_bytes()).map(Either::Left))
    };
    let table = lua.create_table_with_capacity(found.len() - 1, 1 + compiled.names.len())?;
    for index in 0..found.len() {
        table.raw_set(index, group(index)?)?;
    }
    for (name, index) in &compiled.names {
        // Names may be given to several groups in other engines; here each has one.
        table.raw_set(name.as_str(), group(*index)?)?;
    }
    Ok(table)
}

/// Whether something went wrong, nothing was found, or what.
type Found<T> = mlua::Result<Result<Option<T>, String>>;

/// Answers with a function's two results, or nil for both and what went wrong.
fn pair<A, B>(found: Result<Option<(A, B)>, String>) -> (Option<A>, Option<B>, Option<String>) {
    match found {
        Ok(Some((one, other))) => (Some(one), Some(other), None),
        Ok(None) => (None, None, None),
        Err(error) => (None, None, Some(error)),
    }
}

fn install_searches(lua: &Lua, re: &Table, native: &Table, cache: &Arc<Mutex<Cache>>) -> mlua::Result<()> {
    let shared = Arc::clone(cache);
    let match_ = move |lua: &Lua, (subject, regex, options, start): Search| -> Found<Table> {
        let compiled = match compiled(&shared, &subject, &regex, options.as_ref()) {
            Ok(compiled) => compiled,
            Err(error) => return Ok(Err(error)),
        };
        let Some(offset) = offset(&start, subject.len())? else { return Ok(Ok(None)) };
        let Some(found) = compiled.regex.captures_at(&subject, offset) else { return Ok(Ok(None)) };
        advance(&start, found.get_match().end())?;
        captures(lua, &compiled, &found).map(|table| Ok(Some(table)))
    };
    re.set("match", lua.create_function(match_)?)?;

    let shared = Arc::clone(cache);
    let find = move |_: &Lua, ((subject, regex, options, start), group): (Search, Option<usize>)| {
        find(&shared, &subject, &regex, options.as_ref(), &start, group.unwrap_or(0)).map(pair)
    };
    re.set(
        "find",
        lua.create_function(move |lua, (subject, regex, options, start, group)| {
            find(lua, ((subject, regex, options, start), group))
        })?,
    )?;

    let shared = Arc::clone(cache);
    let step = move |lua: &Lua, (subject, regex, options, start): Search| {
        let compiled = match compiled(&shared, &subject, &regex, options.as_ref()) {
            Ok(compiled) => compiled,
            Err(error) => return Ok((None, None, Either::Right(Some(error)))),
        };
        let Some(offset) = offset(&start, subject.len())? else { return Ok((None, None, Either::Right(None))) };
        let Some(found) = compiled.regex.captures_at(&subject, offset) else {
            return Ok((None, None, Either::Right(None)));
        };
        let whole = found.get_match();
        let table = captures(lua, &compiled, &found)?;
        Ok((Some(whole.start() + 1), Some(whole.end()), Either::Left(table)))
    };
    native.set("step", lua.create_function(step)?)
}

fn find(
    cache: &Mutex<Cache>,
    subject: &[u8],
    regex: &[u8],
    options: Option<&BorrowedBytes>,
    start: &Start,
    group: usize,
) -> Found<(usize, usize)> {
    let compiled = match compiled(cache, subject, regex, options) {
        Ok(compiled) => compiled,
        Err(error) => return Ok(Err(error)),
    };
    if group >= compiled.regex.captures_len() {
        let groups = compiled.regex.captures_len() - 1;
        return Ok(Err(format!("group {group} of a regular expression that has {groups}")));
    }
    let Some(offset) = offset(start, subject.len())? else { return Ok(Ok(None)) };
    let (whole, part) = if group == 0 {
        let whole = compiled.regex.find_at(subject, offset);
        (whole, whole)
    } else {
        let found = compiled.regex.captures_at(subject, offset);
        (found.as_ref().map(Captures::get_match), found.and_then(|found| found.get(group)))
    };
    if let Some(whole) = whole {
        advance(start, whole.end())?;
    }
    Ok(Ok(part.map(|part| (part.start() + 1, part.end()))))
}

type Replacing = (LuaString, BorrowedBytes, BorrowedBytes, Option<BorrowedBytes>, usize);

fn install_replacing(lua: &Lua, re: &Table, native: &Table, cache: &Arc<Mutex<Cache>>) -> mlua::Result<()> {
    let shared = Arc::clone(cache);
    let replace = move |lua: &Lua, (subject, regex, template, options, max): Replacing| {
        let bytes = subject.as_bytes();
        let replaced = compiled(&shared, &bytes, &regex, options.as_ref()).and_then(|compiled| {
            let template = Template::parse(&template, &compiled)?;
            template.replace(&bytes, &compiled, max)
        });
        Ok(pair(match replaced {
            Ok((_, 0)) => Ok(Some((subject, 0))),
            Ok((replaced, count)) => Ok(Some((lua.create_string(replaced)?, count))),
            Err(error) => Err(error),
        }))
    };
    native.set("replace", lua.create_function(replace)?)?;

    let shared = Arc::clone(cache);
    let split = move |lua: &Lua, ((subject, regex, options, start), max): (Search, Option<usize>)| -> Found<Table> {
        match compiled(&shared, &subject, &regex, options.as_ref()) {
            Ok(compiled) => split(lua, &compiled, &subject, &start, max.unwrap_or(0)).map(|parts| Ok(Some(parts))),
            Err(error) => Ok(Err(error)),
        }
    };
    re.set(
        "split",
        lua.create_function(move |lua, (subject, regex, options, start, max)| {
            split(lua, ((subject, regex, options, start), max))
        })?,
    )
}

/// The parts between what matches, with the groups of what matches in between; at most `max` parts unless it is 0.
fn split(lua: &Lua, compiled: &Compiled, subject: &[u8], start: &Start, max: usize) -> mlua::Result<Table> {
    let parts = lua.create_table()?;
    let Some(mut from) = offset(start, subject.len())? else { return Ok(parts) };
    let (mut count, mut search) = (1, from);
    while count != max && search <= subject.len() && !crate::engine::is_overdue() {
        let Some(found) = compiled.regex.captures_at(subject, search) else { break };
        let whole = found.get_match();
        if whole.is_empty() {
            // Between two bytes: never an empty part for it, nor one at either end.
            if whole.start() >= subject.len() {
                break;
            }
            search = whole.end() + 1;
            if whole.start() == from {
                continue;
            }
        } else {
            search = whole.end();
        }
        parts.raw_push(text(lua, &subject[from..whole.start()])?)?;
        for group in found.iter().skip(1).flatten() {
            parts.raw_push(text(lua, group.as_bytes())?)?;
        }
        from = whole.end();
        count += 1;
    }
    parts.raw_push(text(lua, &subject[from..])?)?;
    Ok(parts)
}
