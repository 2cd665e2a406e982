//! JSON: `lf.json`, and the modules `cjson` and `cjson.safe` for scripts that were written for lua-cjson.
//!
//! One encoder and one decoder serve both. `lf.json` is strict in what it reads, writes numbers so that they come back
//! unchanged, and answers errors as `nil, err`; `cjson` does as lua-cjson does.

mod cjson;
mod decode;
mod encode;
mod number;
mod scan;

pub use cjson::preload;

use decode::Decoding;
use encode::Encoding;
use mlua::{FromLua, Function, Lua, LuaString, Table, Value};
use std::ffi::c_void;

/// Levels of tables in tables, and the most that a script may ask for: both directions recurse.
const DEPTH_MAX: u32 = 1000;

/// Its address is `empty_array`.
static EMPTY_ARRAY: u8 = 0;

/// What tells an array from an object where the table alone does not: metatables, one of each per VM.
#[derive(Clone, Debug)]
struct Marks {
    array: Table,
    empty_array: Table,
}

impl Marks {
    fn of(lua: &Lua) -> mlua::Result<Self> {
        if let Some(marks) = lua.app_data_ref::<Self>() {
            return Ok(marks.clone());
        }
        let marks = Self { array: lua.create_table()?, empty_array: lua.create_table()? };
        lua.set_app_data(marks.clone());
        Ok(marks)
    }
}

fn empty_array() -> Value {
    let at: *const u8 = &raw const EMPTY_ARRAY;
    Value::LightUserData(mlua::LightUserData(at.cast_mut().cast::<c_void>()))
}

/// Puts the table `json` into `lf`.
///
/// # Errors
///
/// If the VM has no memory left.
pub fn install(lua: &Lua, lf: &Table) -> mlua::Result<()> {
    let marks = Marks::of(lua)?;
    let json = lua.create_table()?;
    json.set("null", Value::NULL)?;
    json.set("empty_array", empty_array())?;
    json.set("array_mt", &marks.array)?;
    let array = marks.array.clone();
    json.set(
        "array",
        lua.create_function(move |lua, table: Option<Table>| {
            let table = table.map_or_else(|| lua.create_table(), Ok)?;
            table.set_metatable(Some(array.clone()))?;
            Ok(table)
        })?,
    )?;
    let (_, choosing) = encode::encoders(lua, &marks)?;
    let settings_of = lua.create_function(|lua, options: Table| {
        Ok(match encoding(&options) {
            Ok(encoding) => Ok(encode::settings(lua, &encoding)?),
            Err(refusal) => Err(refusal),
        })
    })?;
    json.set("encode", choosing.call::<Function>((encode::settings(lua, &Encoding::FAITHFUL)?, settings_of))?)?;
    json.set("decode", lua.create_function(move |lua, text: Value| decode(lua, text, &Decoding::STRICT, &marks))?)?;
    lf.set("json", json)
}

/// The value of `text`, or what is wrong with it.
fn decode(lua: &Lua, text: Value, decoding: &Decoding, marks: &Marks) -> mlua::Result<Result<Value, String>> {
    let found = text.type_name();
    match LuaString::from_lua(text, lua) {
        Ok(text) => decode::read(lua, &text.as_bytes(), decoding, marks),
        Err(_) => Ok(Err(format!("bad argument #1 to 'decode' (string expected, got {found})"))),
    }
}

/// How `lf.json.encode` was asked to write.
fn encoding(options: &Table) -> Result<Encoding, String> {
    let mut encoding = Encoding::FAITHFUL;
    let refusal = |name: &str, wanted: &str| format!("option {name} of lf.json.encode is to be {wanted}");
    let integer = |name: &str, max: u32| match options.raw_get::<Value>(name) {
        Ok(Value::Nil) => Ok(None),
        Ok(value) => match value.as_u32() {
            Some(number) if (1..=max).contains(&number) => Ok(Some(number)),
            Some(_) | None => Err(refusal(name, &format!("an integer from 1 to {max}"))),
        },
        Err(error) => Err(error.to_string()),
    };
    let flag = |name: &str| options.raw_get::<bool>(name).map_err(|error| error.to_string());
    if let Some(digits) = integer("precision", number::DIGITS_MAX)? {
        encoding.precision = Some(digits);
    }
    if let Some(depth) = integer("max_depth", DEPTH_MAX)? {
        encoding.depth_max = depth;
    }
    encoding.empty_as_object = !flag("empty_as_array")?;
    encoding.escape_slash = flag("escape_slash")?;
    if flag("invalid_as_null")? {
        encoding.invalid = encode::Invalid::Null;
    }
    encoding.sparse.convert = flag("sparse_as_object")?;
    Ok(encoding)
}
