//! Percent-encoding and query arguments: `lf.escape_uri`, `lf.unescape_uri`, `lf.encode_args`, `lf.decode_args`.

use mlua::{BorrowedBytes, Lua, Table, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use std::borrow::Cow;

/// All but the unreserved characters of RFC 3986, section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Arguments that are read unless the script says otherwise, so that a long query does not fill a VM.
const ARGUMENTS_MAX: usize = 100;

/// Puts percent-encoding and query arguments into `lf`.
///
/// # Errors
///
/// If the VM has no memory left.
pub fn install(lua: &Lua, lf: &Table) -> mlua::Result<()> {
    lf.set(
        "escape_uri",
        lua.create_function(|_, text: BorrowedBytes| Ok(percent_encode(&text, ESCAPED).to_string()))?,
    )?;
    lf.set("unescape_uri", lua.create_function(|lua, text: BorrowedBytes| lua.create_string(unescape(&text)))?)?;
    lf.set("encode_args", lua.create_function(|_, arguments: Table| encode(&arguments))?)?;
    lf.set(
        "decode_args",
        lua.create_function(|lua, (text, max): (BorrowedBytes, Option<usize>)| {
            decode(lua, &text, max.unwrap_or(ARGUMENTS_MAX))
        })?,
    )
}

/// A plus sign is a space, as browsers send it.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// `a=1&b`: `true` stands alone, `false` is left out, the items of a table repeat their key. Sorted by key.
fn encode(arguments: &Table) -> mlua::Result<Result<String, String>> {
    let mut parts = Vec::new();
    for pair in arguments.pairs::<Value, Value>() {
        let (key, value) = pair?;
        if crate::engine::is_overdue() {
            // The script is ended at its next instruction.
            break;
        }
        let Some(key) = escaped(&key) else {
            return Ok(Err(format!(
                "a key of lf.encode_args is to be a string or a number, not a {}",
                key.type_name()
            )));
        };
        let mut add = |value: &Value| {
            let part = part(&key, value)?;
            parts.extend(part.map(|part| (key.clone(), part)));
            Ok::<_, String>(())
        };
        // One by one: an engine has few handles.
        let added = match value.as_table() {
            Some(values) => values.sequence_values().try_fold(Ok(()), |added, value: mlua::Result<Value>| {
                let value = value?;
                Ok::<_, mlua::Error>(added.and_then(|()| add(&value)))
            })?,
            None => add(&value),
        };
        if let Err(refusal) = added {
            return Ok(Err(refusal));
        }
    }
    parts.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Ok(parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join("&")))
}

/// One argument as it stands in a query, if it does.
fn part(key: &str, value: &Value) -> Result<Option<String>, String> {
    match (value.as_boolean(), escaped(value)) {
        (Some(false), _) => Ok(None),
        (Some(true), _) => Ok(Some(key.to_owned())),
        (None, Some(value)) => Ok(Some(format!("{key}={value}"))),
        (None, None) => {
            let found = value.type_name();
            let wanted = "a string, a number, a boolean or a table of these";
            Err(format!("argument '{key}' of lf.encode_args is to be {wanted}, not a {found}"))
        }
    }
}

/// A string or number as it stands in a query.
fn escaped(value: &Value) -> Option<String> {
    match value.as_string() {
        Some(text) => Some(percent_encode(&text.as_bytes(), ESCAPED).to_string()),
        None if value.is_integer() || value.is_number() => value.to_string().ok(),
        None => None,
    }
}

/// A table of the arguments; where a key comes more than once, its values in a table, in order. Also `"truncated"` if
/// there were more than `max` (0: no limit).
fn decode(lua: &Lua, text: &[u8], max: usize) -> mlua::Result<(Table, Option<&'static str>)> {
    let arguments = lua.create_table()?;
    let mut parts = text.split(|&byte| byte == b'&').filter(|part| !part.is_empty());
    let mut count = 0;
    // The script is ended at its next instruction, so that half the arguments do no harm.
    while (max == 0 || count < max) && !crate::engine::is_overdue() {
        let Some(part) = parts.next() else { return Ok((arguments, None)) };
        let mut halves = part.splitn(2, |&byte| byte == b'=');
        let key = unescape(halves.next().unwrap_or_default());
        let value = halves.next().map(unescape);
        if key.is_empty() {
            continue;
        }
        count += 1;
        let key = lua.create_string(key)?;
        let value = value.map_or(Ok(Value::Boolean(true)), |value| lua.create_string(value).map(Value::String))?;
        let present = arguments.raw_get::<Value>(&key)?;
        if let Some(values) = present.as_table() {
            values.raw_push(value)?;
        } else if present.is_nil() {
            arguments.raw_set(key, value)?;
        } else {
            arguments.raw_set(key, lua.create_sequence_from([present, value])?)?;
        }
    }
    Ok((arguments, parts.next().map(|_| "truncated")))
}
