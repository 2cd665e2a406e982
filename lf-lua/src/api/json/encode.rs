//! Lua values to JSON text: the settings, and what the walk in Lua asks for.

use super::number::{write_integer, write_number};
use super::{DEPTH_MAX, Marks, empty_array};
use mlua::{BString, Either, Function, Lua, LuaString, Table, Value};

/// The walk.
const WALKING: &str = include_str!("encode.lua");

/// What to do with infinities and NaN, which JSON does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    Refuse,
    /// `Infinity`, `-Infinity`, `NaN`: not JSON, but many read it.
    Name,
    Null,
}

/// When a table with holes is too sparse for an array: if its length is above `safe` and above `ratio` times its items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sparse {
    /// Written as an object then; else an error.
    pub(super) convert: bool,
    /// 0: never too sparse.
    pub(super) ratio: u32,
    pub(super) safe: u32,
}

/// How to write.
#[derive(Clone, Debug)]
pub(super) struct Encoding {
    /// Digits of a number; none: as many as bring it back unchanged.
    pub(super) precision: Option<u32>,
    pub(super) depth_max: u32,
    pub(super) invalid: Invalid,
    pub(super) sparse: Sparse,
    pub(super) empty_as_object: bool,
    pub(super) escape_slash: bool,
    pub(super) escape_delete: bool,
}

impl Encoding {
    pub(super) const FAITHFUL: Self = Self {
        precision: None,
        depth_max: DEPTH_MAX,
        invalid: Invalid::Refuse,
        sparse: Sparse { convert: false, ratio: 2, safe: 10 },
        empty_as_object: true,
        escape_slash: false,
        escape_delete: false,
    };

    pub(super) const CJSON: Self =
        Self { precision: Some(14), escape_slash: true, escape_delete: true, ..Self::FAITHFUL };

    /// Puts the settings where the walk reads them.
    pub(super) fn fill(&self, lua: &Lua, settings: &Table) -> mlua::Result<()> {
        let invalid = match self.invalid {
            Invalid::Refuse => "refuse",
            Invalid::Name => "name",
            Invalid::Null => "null",
        };
        settings.raw_set("precision", self.precision)?;
        // The engine itself writes numbers with 14 digits.
        settings.raw_set("joins", self.precision == Some(14))?;
        settings.raw_set("depth_max", self.depth_max)?;
        settings.raw_set("invalid", invalid)?;
        settings.raw_set("sparse_convert", self.sparse.convert)?;
        settings.raw_set("sparse_ratio", self.sparse.ratio)?;
        settings.raw_set("sparse_safe", self.sparse.safe)?;
        settings.raw_set("empty_as_object", self.empty_as_object)?;
        settings.raw_set("escape_slash", self.escape_slash)?;
        settings.raw_set("escape_delete", self.escape_delete)?;
        settings.raw_set("quoted", lua.create_table()?)?;
        settings.raw_set("quoted_count", 0)
    }
}

/// Settings as the walk reads them.
pub(super) fn settings(lua: &Lua, encoding: &Encoding) -> mlua::Result<Table> {
    let settings = lua.create_table()?;
    encoding.fill(lua, &settings)?;
    Ok(settings)
}

/// A function that makes an encoder of a table of settings, and one that makes an encoder that takes options.
pub(super) fn encoders(lua: &Lua, marks: &Marks) -> mlua::Result<(Function, Function)> {
    let native = lua.create_table()?;
    native.set(
        "quote",
        lua.create_function(|lua, (text, escape_slash, escape_delete): (BString, bool, bool)| {
            let mut out = Vec::with_capacity(text.len() + 8);
            quote(&mut out, &text, escape_slash, escape_delete);
            owned(lua, out)
        })?,
    )?;
    native.set(
        "number",
        lua.create_function(|lua, (number, precision): (Value, Option<u32>)| {
            let mut out = Vec::with_capacity(24);
            match (number.as_integer(), number.as_number()) {
                (Some(number), _) => write_integer(&mut out, number, precision),
                (None, number) => write_number(&mut out, number.unwrap_or(0.0), precision),
            }
            owned(lua, out)
        })?,
    )?;
    let walking: Function = lua.load(WALKING).set_name("=json").eval()?;
    walking.call((native, Value::NULL, empty_array(), &marks.array, &marks.empty_array))
}

/// Text goes to the engine without a handle.
fn owned(lua: &Lua, bytes: Vec<u8>) -> mlua::Result<Either<String, LuaString>> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Either::Left(text)),
        Err(error) => lua.create_string(error.as_bytes()).map(Either::Right),
    }
}

fn quote(out: &mut Vec<u8>, text: &[u8], escape_slash: bool, escape_delete: bool) {
    let is_escaped = |byte: &u8| match ESCAPED[*byte as usize] {
        0 => false,
        b'/' => escape_slash,
        0x7f => escape_delete,
        _ => true,
    };
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(is_escaped) {
        out.extend_from_slice(&rest[..at]);
        push_escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// What follows the backslash, or the byte itself for an escape by number; 0: none.
const ESCAPED: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table[0x7f] = 0x7f;
    table
};

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match ESCAPED[byte as usize] {
        b'u' | 0x7f => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}
