//! Dictionaries as scripts see them.

use super::dict::{Dict, Got, NOT_FOUND, Refusal, Room, When};
use super::list::End;
use super::{Dicts, Scalar};
use crate::api::text::text;
use mlua::{BorrowedBytes, Either, IntoLua, Lua, Table, Value};
use std::sync::Arc;

/// Bytes of a key, as in openresty.
const KEY_BYTES_MAX: usize = 65_535;

/// Keys of one call, unless the script says otherwise.
const KEYS_MAX: usize = 1024;

/// Puts the table `shared` and the function `shared_dict` into `lf`.
///
/// # Errors
///
/// If the VM has no memory left.
pub fn install(lua: &Lua, lf: &Table, dicts: &Dicts) -> mlua::Result<()> {
    let (shared, metatable) = (lua.create_table()?, lua.create_table()?);
    let all = dicts.clone();
    metatable.set(
        "__index",
        lua.create_function(move |lua, (shared, name): (Table, BorrowedBytes)| {
            let dict = bind(lua, &all.dict(&name).map_err(mlua::Error::runtime)?)?;
            shared.raw_set(&name, &dict)?;
            Ok(dict)
        })?,
    )?;
    metatable.set("__metatable", false)?;
    shared.set_metatable(Some(metatable))?;
    lf.set("shared", &shared)?;
    let all = dicts.clone();
    lf.set(
        "shared_dict",
        lua.create_function(move |_, (name, capacity): (BorrowedBytes, usize)| {
            all.declare(&name, capacity).map_err(mlua::Error::runtime)?;
            shared.get::<Table>(&name)
        })?,
    )
}

/// The dictionary itself, as the first argument of each method: what it is does not matter, and a truth value needs no
/// handle.
type Itself = bool;

type Key = Option<BorrowedBytes>;

fn checked(key: &Key) -> Result<&[u8], Refusal> {
    match key.as_deref() {
        None => Err("nil key"),
        Some([]) => Err("empty key"),
        Some(key) if key.len() > KEY_BYTES_MAX => Err("key too long"),
        Some(key) => Ok(key),
    }
}

/// Milliseconds of a time to live in seconds, rounded up; 0: it has no end.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and cut off at the end")]
fn ttl_ms(seconds: Option<f64>) -> Result<u64, Refusal> {
    match seconds {
        None => Ok(0),
        Some(seconds) if seconds >= 0.0 => Ok((seconds * 1000.0).ceil().min(1e15) as u64),
        Some(_) => Err("bad \"exptime\" argument"),
    }
}

fn number(value: &Value) -> Option<Scalar> {
    #[allow(clippy::cast_precision_loss, reason = "an engine without integers gives none that would lose digits")]
    match value {
        Value::Integer(integer) if cfg!(feature = "lua54") => Some(Scalar::Integer(*integer)),
        Value::Integer(integer) => Some(Scalar::Number(*integer as f64)),
        Value::Number(number) => Some(Scalar::Number(*number)),
        Value::Nil
        | Value::Boolean(_)
        | Value::LightUserData(_)
        | Value::String(_)
        | Value::Table(_)
        | Value::Function(_)
        | Value::Thread(_)
        | Value::UserData(_)
        | Value::Error(_)
        | Value::Other(_) => None,
    }
}

/// A value to store; none for nil.
fn scalar(value: &Value) -> Result<Option<Scalar>, Refusal> {
    if value.is_nil() {
        return Ok(None);
    }
    let text = |text: &mlua::LuaString| Scalar::Text(Arc::from(&*text.as_bytes()));
    let found = value.as_string().map(text).or_else(|| value.as_boolean().map(Scalar::Boolean));
    found.or_else(|| number(value)).map(Some).ok_or("bad value type")
}

/// A value on its way to the engine: text without a handle, and without a lock.
enum Seen {
    Text(Arc<[u8]>),
    Plain(Value),
}

impl IntoLua for Seen {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Self::Text(bytes) => lua.create_string(bytes).map(Value::String),
            Self::Plain(value) => Ok(value),
        }
    }
}

impl From<Scalar> for Seen {
    fn from(value: Scalar) -> Self {
        match value {
            Scalar::Text(bytes) => Self::Text(bytes),
            Scalar::Integer(integer) => Self::Plain(Value::Integer(integer)),
            Scalar::Number(number) => Self::Plain(Value::Number(number)),
            Scalar::Boolean(boolean) => Self::Plain(Value::Boolean(boolean)),
        }
    }
}

/// A table with the methods of a dictionary.
fn bind(lua: &Lua, dict: &Arc<Dict>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    bind_reading(lua, &table, dict)?;
    bind_writing(lua, &table, dict)?;
    bind_lists(lua, &table, dict)?;
    bind_time(lua, &table, dict)?;
    bind_whole(lua, &table, dict)?;
    Ok(table)
}

/// A second result: flags of a value, or why there is none.
type FlagsOrRefusal = Option<Either<u32, Refusal>>;

fn bind_reading(lua: &Lua, table: &Table, dict: &Arc<Dict>) -> mlua::Result<()> {
    for (name, with_stale) in [("get", false), ("get_stale", true)] {
        let dict = Arc::clone(dict);
        let get =
            move |_: &Lua, (_, key): (Itself, Key)| -> mlua::Result<(Option<Seen>, FlagsOrRefusal, Option<bool>)> {
                Ok(match checked(&key).and_then(|key| dict.get(key, with_stale)) {
                    Ok(Some(Got { value, flags, stale })) => {
                        (Some(value.into()), (flags > 0).then_some(Either::Left(flags)), with_stale.then_some(stale))
                    }
                    Ok(None) => (None, None, None),
                    Err(refusal) => (None, Some(Either::Right(refusal)), None),
                })
            };
        table.set(name, lua.create_function(get)?)?;
    }
    Ok(())
}

/// Success, why not, and whether others were evicted.
type Outcome = (bool, Option<Refusal>, bool);

fn outcome(changed: Result<bool, (Refusal, bool)>) -> Outcome {
    match changed {
        Ok(forcible) => (true, None, forcible),
        Err((refusal, forcible)) => (false, Some(refusal), forcible),
    }
}

fn bind_writing(lua: &Lua, table: &Table, dict: &Arc<Dict>) -> mlua::Result<()> {
    for (name, when, room) in [
        ("set", When::Always, Room::ByEviction),
        ("safe_set", When::Always, Room::OnlyWhatIsFree),
        ("add", When::Absent, Room::ByEviction),
        ("safe_add", When::Absent, Room::OnlyWhatIsFree),
        ("replace", When::Present, Room::ByEviction),
    ] {
        let dict = Arc::clone(dict);
        let set = move |_: &Lua, (_, key, value, ttl, flags): (Itself, Key, Value, Option<f64>, Option<u32>)| {
            let write = || -> Result<bool, (Refusal, bool)> {
                let refused = |refusal| (refusal, false);
                let key = checked(&key).map_err(refused)?;
                let value = scalar(&value).map_err(refused)?;
                let ttl_ms = ttl_ms(ttl).map_err(refused)?;
                if value.is_none() && when == When::Absent {
                    return Err(refused("attempt to add or safe_add nil values"));
                }
                dict.set(key, value.as_ref(), (ttl_ms, flags.unwrap_or(0)), when, room)
            };
            Ok(outcome(write()))
        };
        table.set(name, lua.create_function(set)?)?;
    }
    let own = Arc::clone(dict);
    let delete = move |_: &Lua, (_, key): (Itself, Key)| {
        let delete = |key: &[u8]| own.set(key, None, (0, 0), When::Always, Room::OnlyWhatIsFree);
        Ok(outcome(checked(&key).map_err(|refusal| (refusal, false)).and_then(delete)))
    };
    table.set("delete", lua.create_function(delete)?)?;
    let own = Arc::clone(dict);
    type Increment = (Itself, Key, Value, Value, Option<f64>);
    let incr = move |_: &Lua, (_, key, by, init, ttl): Increment| {
        let add = || {
            let key = checked(&key)?;
            let by = number(&by).ok_or("not a number")?;
            let init = if init.is_nil() { None } else { Some(number(&init).ok_or("not a number")?) };
            let ttl_ms = ttl_ms(ttl)?;
            own.incr(key, &by, init.as_ref().map(|init| (init, ttl_ms)))
        };
        Ok(match add() {
            Ok((sum, forcible)) => (Some(Seen::from(sum)), None, Some(forcible)),
            Err(refusal) => (None, Some(refusal), None),
        })
    };
    table.set("incr", lua.create_function(incr)?)
}

fn bind_lists(lua: &Lua, table: &Table, dict: &Arc<Dict>) -> mlua::Result<()> {
    for (push_name, pop_name, end) in [("lpush", "lpop", End::Left), ("rpush", "rpop", End::Right)] {
        let own = Arc::clone(dict);
        let push = move |_: &Lua, (_, key, item): (Itself, Key, Value)| {
            let push = |key| match scalar(&item)? {
                Some(item @ (Scalar::Text(_) | Scalar::Integer(_) | Scalar::Number(_))) => own.push(key, end, item),
                Some(Scalar::Boolean(_)) | None => Err("bad value type"),
            };
            Ok(checked(&key).and_then(push))
        };
        table.set(push_name, lua.create_function(push)?)?;
        let own = Arc::clone(dict);
        let pop = move |_: &Lua, (_, key): (Itself, Key)| {
            Ok(checked(&key).and_then(|key| own.pop(key, end)).map(|item| item.map(Seen::from)))
        };
        table.set(pop_name, lua.create_function(pop)?)?;
    }
    let own = Arc::clone(dict);
    table.set(
        "llen",
        lua.create_function(move |_, (_, key): (Itself, Key)| Ok(checked(&key).and_then(|key| own.llen(key))))?,
    )
}

fn bind_time(lua: &Lua, table: &Table, dict: &Arc<Dict>) -> mlua::Result<()> {
    let own = Arc::clone(dict);
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of any time that passes")]
    let ttl = move |_: &Lua, (_, key): (Itself, Key)| {
        let left_ms = checked(&key).and_then(|key| own.ttl_ms(key).ok_or(NOT_FOUND));
        Ok(left_ms.map(|left_ms| left_ms as f64 / 1000.0))
    };
    table.set("ttl", lua.create_function(ttl)?)?;
    let own = Arc::clone(dict);
    let expire = move |_: &Lua, (_, key, ttl): (Itself, Key, f64)| {
        let expire = |key| ttl_ms(Some(ttl)).map(|ttl_ms| own.expire(key, ttl_ms));
        Ok(checked(&key).and_then(expire).and_then(|found| found.then_some(true).ok_or(NOT_FOUND)))
    };
    table.set("expire", lua.create_function(expire)?)
}

fn bind_whole(lua: &Lua, table: &Table, dict: &Arc<Dict>) -> mlua::Result<()> {
    for name in ["keys", "get_keys"] {
        let own = Arc::clone(dict);
        let keys = move |lua: &Lua, (_, max): (Itself, Option<usize>)| {
            let keys = lua.create_table()?;
            for key in own.keys(max.unwrap_or(KEYS_MAX)) {
                keys.raw_push(text(lua, &key)?)?;
            }
            Ok(keys)
        };
        table.set(name, lua.create_function(keys)?)?;
    }
    let own = Arc::clone(dict);
    let flush_all = move |_: &Lua, _: Itself| {
        own.flush_all();
        Ok(())
    };
    table.set("flush_all", lua.create_function(flush_all)?)?;
    let own = Arc::clone(dict);
    let flush_expired = move |_: &Lua, (_, max): (Itself, Option<usize>)| Ok(own.flush_expired(max.unwrap_or(0)));
    table.set("flush_expired", lua.create_function(flush_expired)?)?;
    let own = Arc::clone(dict);
    table.set("capacity", lua.create_function(move |_, _: Itself| Ok(own.capacity()))?)?;
    let own = Arc::clone(dict);
    table.set("free_space", lua.create_function(move |_, _: Itself| Ok(own.free_space()))?)
}
