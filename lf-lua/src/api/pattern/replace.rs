//! Strings that are made anew: `gsub` with a string, and `rep`.

use super::arguments::Arguments;
use super::budget::{Budget, Stop};
use super::matcher::{Captured, IS_LUA54, Matcher};
use super::{Answer, attempt, next_match};
use mlua::{IntoLua, Lua, Value};
use std::io::Write;

const TOO_LARGE: &str = "resulting string too large";

fn too_large() -> Stop {
    Stop::Error(TOO_LARGE.to_owned())
}

/// The new string and how many matches were replaced; or nil and the checked arguments where the replacement is a
/// function or a table.
pub(super) fn gsub(lua: &Lua, arguments: &Arguments<'_>, bytes_max: usize, budget: Budget<'_>) -> Answer {
    let subject = attempt!(arguments.text(0));
    let pattern = attempt!(arguments.text(1));
    let length = subject.as_bytes().len();
    let all = i64::try_from(length + 1).unwrap_or(i64::MAX);
    let replacement = arguments.get(2);
    if replacement.is_function() || replacement.is_table() {
        let max = attempt!(arguments.integer(3, all));
        return Ok(Ok(vec![Value::Nil, Value::String(subject), Value::String(pattern), Value::Integer(max)]));
    }
    let Ok(template) = arguments.text(2) else {
        let wanted = "string/function/table expected";
        let found = arguments.found(2);
        let message = if IS_LUA54 { format!("{wanted}, got {found}") } else { wanted.to_owned() };
        return Ok(Err(arguments.wrong(2, &message)));
    };
    let max = attempt!(arguments.integer(3, all));
    let (subject, pattern, template) = (subject.as_bytes(), pattern.as_bytes(), template.as_bytes());
    let anchored = pattern.first() == Some(&b'^');
    let mut matcher = Matcher::new(&subject, &pattern, budget);
    let (mut out, mut count, mut at, mut last_end) = (Vec::new(), 0, 0, None);
    while count < max {
        let Some((start, end)) = attempt!(next_match(&mut matcher, length, at, last_end, anchored)) else { break };
        count += 1;
        out.extend_from_slice(&subject[at..start]);
        attempt!(fill_in(&mut out, &template, &matcher, &subject, (start, end)));
        attempt!(matcher.budget().spend(template.len() / 16));
        if out.len() > bytes_max {
            return Ok(Err(too_large()));
        }
        (at, last_end) = (end, Some(end));
        if end == start && !IS_LUA54 {
            // An empty match: a byte is kept, so that it goes on.
            match subject.get(start) {
                Some(byte) => out.push(*byte),
                None => break,
            }
            at = start + 1;
        }
        if anchored {
            break;
        }
    }
    out.extend_from_slice(subject.get(at..).unwrap_or_default());
    Ok(Ok(vec![Value::String(lua.create_string(out)?), count.into_lua(lua)?]))
}

/// Appends the replacement of one match.
fn fill_in(
    out: &mut Vec<u8>,
    template: &[u8],
    matcher: &Matcher<'_, '_>,
    subject: &[u8],
    (start, end): (usize, usize),
) -> Result<(), Stop> {
    let mut rest = template;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        // Behind the end one engine takes the zero that ends a C string.
        match rest.get(at + 1).copied().unwrap_or(0) {
            b'0' => out.extend_from_slice(&subject[start..end]),
            digit @ b'1'..=b'9' => match matcher.capture(usize::from(digit - b'1'), (start, end))? {
                Captured::Text(text) => out.extend_from_slice(text),
                Captured::Position(position) => {
                    let written = write!(out, "{position}");
                    debug_assert!(written.is_ok(), "a vector takes everything");
                }
            },
            other if other == b'%' || !IS_LUA54 => out.push(other),
            _ => return Err(Stop::Error("invalid use of '%' in replacement string".to_owned())),
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// A string some times, with a separator in between.
pub(super) fn rep(lua: &Lua, arguments: &Arguments<'_>, bytes_max: usize) -> Answer {
    let text = attempt!(arguments.text(0));
    let count = usize::try_from(attempt!(arguments.required_integer(1))).unwrap_or(0);
    let separator = if arguments.get(2).is_nil() { None } else { Some(attempt!(arguments.text(2))) };
    let text = text.as_bytes();
    let separator = separator.as_ref().map(mlua::LuaString::as_bytes);
    let separator: &[u8] = separator.as_deref().unwrap_or_default();
    let bytes = (text.len() + separator.len()).checked_mul(count);
    if bytes.is_none_or(|bytes| bytes.saturating_sub(separator.len()) > bytes_max) {
        return Ok(Err(too_large()));
    }
    let mut out = Vec::with_capacity(bytes.unwrap_or(0));
    if text.len() + separator.len() > 0 {
        for index in 0..count {
            if index > 0 {
                out.extend_from_slice(separator);
            }
            out.extend_from_slice(&text);
        }
    }
    Ok(Ok(vec![Value::String(lua.create_string(out)?)]))
}
