//! The modules `cjson` and `cjson.safe`, for scripts that were written for lua-cjson.

use super::decode::Decoding;
use super::encode::{Encoding, Invalid};
use super::number::DIGITS_MAX;
use super::scan::Numbers;
use super::{DEPTH_MAX, Marks, decode, empty_array, encode};
use mlua::{Function, IntoLua, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};
use parking_lot::Mutex;
use std::sync::Arc;

/// Raises what the functions in Rust answer, with the place in the script that called them.
const RAISING: &str = include_str!("cjson.lua");

/// The version of lua-cjson whose behaviour this is.
const VERSION: &str = "2.1.0";

/// Makes `require "cjson"` and `require "cjson.safe"` work.
///
/// # Errors
///
/// If the VM has no memory left, or no `package` library.
pub fn preload(lua: &Lua) -> mlua::Result<()> {
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    for (name, safe) in [("cjson", false), ("cjson.safe", true)] {
        preload.set(name, lua.create_function(move |lua, ()| module(lua, safe))?)?;
    }
    Ok(())
}

struct Settings {
    encoding: Encoding,
    decoding: Decoding,
    /// Asked for, and of no effect: pieces of text are joined by the engine.
    keep_buffer: bool,
}

/// A module with settings of its own.
fn module(lua: &Lua, safe: bool) -> mlua::Result<Table> {
    let marks = Marks::of(lua)?;
    let shared =
        Arc::new(Mutex::new(Settings { encoding: Encoding::CJSON, decoding: Decoding::CJSON, keep_buffer: true }));
    let functions = lua.create_table()?;
    let (encoder, _) = encode::encoders(lua, &marks)?;
    let walked = encode::settings(lua, &Encoding::CJSON)?;
    functions.set("encode", encoder.call::<Function>(&walked)?)?;
    let (settings, mark) = (Arc::clone(&shared), marks.clone());
    functions.set(
        "decode",
        lua.create_function(move |lua, text: Value| decode(lua, text, &settings.lock().decoding, &mark))?,
    )?;
    let options = lua.create_table()?;
    for (name, arguments_max, configure) in OPTIONS {
        let (settings, walked) = (Arc::clone(&shared), walked.clone());
        let set = move |lua: &Lua, values: MultiValue| {
            let arguments = Arguments { function: name, values: &values };
            let settings = &mut *settings.lock();
            match arguments.at_most(*arguments_max).and_then(|()| configure(settings, &arguments)) {
                Ok(values) => {
                    settings.encoding.fill(lua, &walked)?;
                    seen(lua, values)
                }
                Err(refusal) => (Value::Nil, refusal).into_lua_multi(lua),
            }
        };
        options.set(*name, lua.create_function(set)?)?;
    }
    let new = lua.create_function(move |lua, ()| module(lua, safe))?;
    let raising: Function = lua.load(RAISING).set_name("=cjson").eval()?;
    let module: Table = raising.call((functions, options, new, safe))?;
    module.set("null", Value::NULL)?;
    module.set("empty_array", empty_array())?;
    module.set("empty_array_mt", &marks.empty_array)?;
    module.set("array_mt", &marks.array)?;
    module.set("_NAME", "cjson")?;
    module.set("_VERSION", VERSION)?;
    Ok(module)
}

fn seen(lua: &Lua, settings: Vec<Setting>) -> mlua::Result<MultiValue> {
    settings
        .into_iter()
        .map(|setting| match setting {
            Setting::Flag(flag) => Ok(Value::Boolean(flag)),
            Setting::Number(number) => number.into_lua(lua),
            Setting::Name(name) => name.into_lua(lua),
        })
        .collect()
}

/// A value of a setting as scripts see it.
enum Setting {
    Flag(bool),
    Number(u32),
    Name(&'static str),
}

/// Answers with the values of a setting, after those of its arguments that are not nil were put in.
type Configure = fn(&mut Settings, &Arguments<'_>) -> Result<Vec<Setting>, String>;

const OPTIONS: &[(&str, usize, Configure)] = &[
    ("encode_sparse_array", 3, |settings, arguments| {
        let sparse = &mut settings.encoding.sparse;
        arguments.flag(0, &mut sparse.convert)?;
        arguments.integer(1, 0, i32::MAX.unsigned_abs(), &mut sparse.ratio)?;
        arguments.integer(2, 0, i32::MAX.unsigned_abs(), &mut sparse.safe)?;
        Ok(vec![Setting::Flag(sparse.convert), Setting::Number(sparse.ratio), Setting::Number(sparse.safe)])
    }),
    ("encode_max_depth", 1, |settings, arguments| depth(&mut settings.encoding.depth_max, arguments)),
    ("decode_max_depth", 1, |settings, arguments| depth(&mut settings.decoding.depth_max, arguments)),
    ("encode_number_precision", 1, |settings, arguments| {
        let precision = settings.encoding.precision.get_or_insert(14);
        arguments.integer(0, 1, DIGITS_MAX - 1, precision)?;
        Ok(vec![Setting::Number(*precision)])
    }),
    ("encode_keep_buffer", 1, |settings, arguments| flag(&mut settings.keep_buffer, arguments)),
    ("encode_empty_table_as_object", 1, |settings, arguments| flag(&mut settings.encoding.empty_as_object, arguments)),
    ("encode_escape_forward_slash", 1, |settings, arguments| flag(&mut settings.encoding.escape_slash, arguments)),
    ("decode_array_with_array_mt", 1, |settings, arguments| flag(&mut settings.decoding.mark_arrays, arguments)),
    ("decode_invalid_numbers", 1, |settings, arguments| {
        let mut any = settings.decoding.numbers == Numbers::Any;
        let answer = flag(&mut any, arguments);
        settings.decoding.numbers = if any { Numbers::Any } else { Numbers::Loose };
        answer
    }),
    ("encode_invalid_numbers", 1, |settings, arguments| {
        let invalid = &mut settings.encoding.invalid;
        match arguments.choice(0, &["off", "on", "null"])? {
            None => {}
            Some(0) => *invalid = Invalid::Refuse,
            Some(1) => *invalid = Invalid::Name,
            Some(_) => *invalid = Invalid::Null,
        }
        Ok(vec![match invalid {
            Invalid::Refuse => Setting::Flag(false),
            Invalid::Name => Setting::Flag(true),
            Invalid::Null => Setting::Name("null"),
        }])
    }),
];

fn depth(setting: &mut u32, arguments: &Arguments<'_>) -> Result<Vec<Setting>, String> {
    arguments.integer(0, 1, DEPTH_MAX, setting)?;
    Ok(vec![Setting::Number(*setting)])
}

fn flag(setting: &mut bool, arguments: &Arguments<'_>) -> Result<Vec<Setting>, String> {
    arguments.flag(0, setting)?;
    Ok(vec![Setting::Flag(*setting)])
}

/// What a script gave to a function that changes a setting.
struct Arguments<'a> {
    function: &'a str,
    values: &'a MultiValue,
}

impl Arguments<'_> {
    fn refusal(&self, index: usize, wanted: &str) -> String {
        format!("bad argument #{} to '{}' ({wanted})", index + 1, self.function)
    }

    fn at_most(&self, count: usize) -> Result<(), String> {
        if self.values.len() > count { Err(self.refusal(count, "found too many arguments")) } else { Ok(()) }
    }

    fn get(&self, index: usize) -> Option<&Value> {
        self.values.get(index).filter(|value| !value.is_nil())
    }

    fn integer(&self, index: usize, min: u32, max: u32, setting: &mut u32) -> Result<(), String> {
        if let Some(value) = self.get(index) {
            *setting = value
                .as_u32()
                .filter(|number| (min..=max).contains(number))
                .ok_or_else(|| self.refusal(index, &format!("expected integer between {min} and {max}")))?;
        }
        Ok(())
    }

    fn flag(&self, index: usize, setting: &mut bool) -> Result<(), String> {
        if let Some(choice) = self.choice(index, &["off", "on"])? {
            *setting = choice == 1;
        }
        Ok(())
    }

    /// Which of the names was given; `false` and `true` stand for the first two.
    fn choice(&self, index: usize, names: &[&str]) -> Result<Option<usize>, String> {
        match self.get(index) {
            None => Ok(None),
            Some(Value::Boolean(second)) => Ok(Some(usize::from(*second))),
            Some(value) => {
                let given = value.as_string().map_or_else(|| value.type_name().to_owned(), LuaString::to_string_lossy);
                let found = names.iter().position(|name| *name == given);
                found.map(Some).ok_or_else(|| self.refusal(index, &format!("invalid option '{given}'")))
            }
        }
    }
}
