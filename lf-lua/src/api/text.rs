//! Bytes on their way to the engine.

use mlua::{Either, Lua, Value};

/// Bytes that the engine copies as they are, where the type system lets them; a handle to a string of its own elsewhere.
pub(super) type Text<'a> = Either<&'a str, Value>;

/// Only text has a way to the engine without a handle; checking a short one costs less than the handle.
pub(super) fn text<'a>(lua: &Lua, bytes: &'a [u8]) -> mlua::Result<Text<'a>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Either::Left(text)),
        Err(_) => Ok(Either::Right(Value::String(lua.create_string(bytes)?))),
    }
}
