//! Calling the driver's functions without a handle for each value.
//!
//! mlua keeps a reference for every string that it hands over or takes. For a request of a few microseconds those cost as much
//! as the script, so the few calls that every request makes go to Lua's own interface. Everything that can fail (a string
//! may find no memory) happens inside one protected call; what comes back is read off the stack before anything else runs.

use mlua::{Function, Lua, ffi};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg<'a> {
    Nil,
    Bool(bool),
    Number(f64),
    Bytes(&'a [u8]),
}

impl From<u32> for Arg<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Arg<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

impl<'a> From<Option<&'a [u8]>> for Arg<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Self::Nil, Self::Bytes)
    }
}

/// A function that is called often: its place in the registry. It stays there as long as the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry(c_int);

impl Entry {
    /// Makes a function ready for [`call`].
    pub(crate) fn new(lua: &Lua, function: &Function) -> mlua::Result<Self> {
        let mut key = 0;
        // SAFETY: the function is on the top of the stack, which `luaL_ref` takes; errors are caught by `exec_raw`.
        unsafe {
            lua.exec_raw::<()>(function, |state| key = ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX))?;
        }
        Ok(Self(key))
    }
}

thread_local! {
    /// What [`invoke`] is to do. It is not given as a value: a VM that is full has no room for one.
    static INVOCATION: Cell<*const c_void> = const { Cell::new(ptr::null()) };
}

/// The function that all calls go through, made once: a VM that is full has no room for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate(Entry);

impl Gate {
    /// Makes the function.
    pub(crate) fn new(lua: &Lua) -> mlua::Result<Self> {
        // SAFETY: only `call` gets at it, which has left an invocation.
        let gate = unsafe { lua.create_c_function(invoke)? };
        Entry::new(lua, &gate).map(Self)
    }
}

struct Invocation<'a> {
    entry: Entry,
    args: &'a [Arg<'a>],
}

/// Values on the stack: read before anything else is called.
pub(crate) struct Values {
    pub(super) state: *mut ffi::lua_State,
    /// Below the first value.
    pub(super) base: c_int,
    pub(super) count: c_int,
}

/// What a call has returned.
pub(crate) struct Returned(Values);

/// A number as scripts expect it: with Lua 5.4, whole ones are integers, which show without a fraction.
///
/// # Safety
/// The stack has to have room for it.
unsafe fn push_number(state: *mut ffi::lua_State, value: f64) {
    #[cfg(feature = "lua54")]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        #[allow(clippy::cast_possible_truncation, reason = "whole, and in range")]
        // SAFETY: as the caller says.
        return unsafe { ffi::lua_pushinteger(state, value as ffi::lua_Integer) };
    }
    // SAFETY: as the caller says.
    unsafe { ffi::lua_pushnumber(state, value) }
}

/// Runs inside the protected call.
unsafe extern "C-unwind" fn invoke(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: `call` has left a pointer to an invocation that outlives it, and nothing ran in between. Errors leave by a jump
    // over this frame, in which no value has a destructor.
    unsafe {
        let invocation = INVOCATION.get().cast::<Invocation<'_>>();
        let Invocation { entry, args } = &*invocation;
        ffi::lua_settop(state, 0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a handful")]
        let count = args.len() as c_int;
        ffi::luaL_checkstack(state, count + 2, std::ptr::null());
        ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, entry.0.into());
        for arg in *args {
            match *arg {
                Arg::Nil => ffi::lua_pushnil(state),
                Arg::Bool(value) => ffi::lua_pushboolean(state, value.into()),
                Arg::Number(value) => push_number(state, value),
                Arg::Bytes(bytes) => {
                    ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len());
                }
            }
        }
        ffi::lua_call(state, count, ffi::LUA_MULTRET);
        ffi::lua_gettop(state)
    }
}

/// Calls a function; its error as text. Only who owns the VM may, and not from inside another call of it.
pub(crate) fn call(lua: &Lua, gate: Gate, entry: Entry, args: &[Arg<'_>]) -> Result<Returned, String> {
    let invocation = Invocation { entry, args };
    let state = lua.state();
    INVOCATION.set((&raw const invocation).cast::<c_void>());
    // SAFETY: the state is ours alone while we own the VM, and outlives `lua`. What is pushed here is there already, so that
    // nothing is allocated, and fits into the room that every function has; the rest is protected.
    unsafe {
        let base = ffi::lua_gettop(state);
        ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, gate.0.0.into());
        let status = ffi::lua_pcall(state, 0, ffi::LUA_MULTRET, 0);
        let returned = Returned(Values { state, base, count: ffi::lua_gettop(state) - base });
        if status == ffi::LUA_OK {
            return Ok(returned);
        }
        let text = returned.bytes(0).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Err(text.unwrap_or_else(|| format!("an error without words (status {status})")))
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        // SAFETY: the stack was that high before the call, and nothing of ours is above.
        unsafe { ffi::lua_settop(self.0.state, self.0.base) }
    }
}

impl std::ops::Deref for Returned {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.0
    }
}

impl Values {
    fn index(&self, place: c_int) -> Option<c_int> {
        (place < self.count).then_some(self.base + 1 + place)
    }

    /// The number at a place, from 0; `None` if there is something else, or nothing.
    pub(crate) fn number(&self, place: c_int) -> Option<f64> {
        let index = self.index(place)?;
        // SAFETY: the index is on the stack.
        unsafe { (ffi::lua_type(self.state, index) == ffi::LUA_TNUMBER).then(|| ffi::lua_tonumber(self.state, index)) }
    }

    /// The same, and what a string says that reads as a number.
    pub(crate) fn number_or_text(&self, place: c_int) -> Option<f64> {
        let index = self.index(place)?;
        // SAFETY: the index is on the stack; reading a number of a string leaves it as it is.
        unsafe { (ffi::lua_isnumber(self.state, index) != 0).then(|| ffi::lua_tonumber(self.state, index)) }
    }

    /// A number as one of 32 bits; 0 if it is none.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    pub(crate) fn u32(&self, place: c_int) -> u32 {
        self.number(place).unwrap_or(0.0) as u32
    }

    /// The string at a place, until the next call.
    pub(crate) fn bytes(&self, place: c_int) -> Option<&[u8]> {
        let index = self.index(place)?;
        // SAFETY: the index is on the stack, which keeps the string alive; that it is a string already means that nothing is
        // converted, and so nothing allocated.
        unsafe { string_at(self.state, index) }
    }

    /// Calls `f` with each string of the list at a place; false if there is no list.
    pub(crate) fn each(&self, place: c_int, mut f: impl FnMut(&[u8])) -> bool {
        let Some(index) = self.index(place) else { return false };
        // SAFETY: the index is on the stack; `lua_rawgeti` calls nothing and allocates nothing, and each value is taken off
        // again.
        unsafe {
            if ffi::lua_type(self.state, index) != ffi::LUA_TTABLE {
                return false;
            }
            let len = ffi::lua_rawlen(self.state, index);
            for place in 1..=len {
                #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a list of ours")]
                ffi::lua_rawgeti(self.state, index, place as ffi::lua_Integer);
                if let Some(bytes) = string_at(self.state, -1) {
                    f(bytes);
                }
                ffi::lua_pop(self.state, 1);
            }
        }
        true
    }
}

/// The string at an index of the stack.
///
/// # Safety
/// The index has to be a valid one, and the value has to stay where it is for as long as the bytes are used.
unsafe fn string_at<'a>(state: *mut ffi::lua_State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
            return None;
        }
        let mut len = 0;
        let bytes = ffi::lua_tolstring(state, index, &raw mut len);
        Some(std::slice::from_raw_parts(bytes.cast(), len))
    }
}
