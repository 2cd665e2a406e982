//! Arguments as the engine's own string functions take them, with its messages.

use super::budget::Stop;
use super::matcher::IS_LUA54;
use mlua::{Lua, LuaString, MultiValue, Value};

pub(super) struct Arguments<'a> {
    lua: &'a Lua,
    function: &'static str,
    values: &'a MultiValue,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(lua: &'a Lua, function: &'static str, values: &'a MultiValue) -> Self {
        Self { lua, function, values }
    }

    pub(super) fn get(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::Nil)
    }

    pub(super) fn is_true(&self, index: usize) -> bool {
        !matches!(self.get(index), Value::Nil | Value::Boolean(false))
    }

    pub(super) fn wrong(&self, index: usize, message: &str) -> Stop {
        Stop::Error(format!("bad argument #{} to '{}' ({message})", index + 1, self.function))
    }

    pub(super) fn found(&self, index: usize) -> &'static str {
        self.values.get(index).map_or("no value", type_name)
    }

    fn expected(&self, index: usize, wanted: &str) -> Stop {
        self.wrong(index, &format!("{wanted} expected, got {}", self.found(index)))
    }

    /// A string, or a number as one.
    pub(super) fn text(&self, index: usize) -> Result<LuaString, Stop> {
        let text = self.lua.coerce_string(self.get(index).clone()).ok().flatten();
        text.ok_or_else(|| self.expected(index, "string"))
    }

    /// A number without a fraction, or one that is cut off where the engine has no others.
    #[allow(clippy::cast_possible_truncation, reason = "that is what is wanted")]
    pub(super) fn integer(&self, index: usize, default: i64) -> Result<i64, Stop> {
        let value = self.get(index);
        if value.is_nil() && default != i64::MIN {
            return Ok(default);
        }
        if let Some(integer) = value.as_integer() {
            return Ok(integer);
        }
        let number = self.lua.coerce_number(value.clone()).ok().flatten();
        let number = number.ok_or_else(|| self.expected(index, "number"))?;
        if IS_LUA54 && number.fract() != 0.0 {
            return Err(self.wrong(index, "number has no integer representation"));
        }
        Ok(number as i64)
    }

    /// A number without a fraction that has to be there.
    pub(super) fn required_integer(&self, index: usize) -> Result<i64, Stop> {
        self.integer(index, i64::MIN)
    }
}

/// The type as Lua names it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value.type_name() {
        "integer" => "number",
        "lightuserdata" | "error" => "userdata",
        "other" => "cdata",
        name => name,
    }
}
