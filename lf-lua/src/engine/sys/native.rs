//! Functions of ours that Lua calls as it calls its own library: without a handle for each value, as in `call.rs`.

use super::call::Values;
use mlua::{Function, Lua, ffi};
use std::cell::RefCell;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A function for the prelude, which gives it what it expects; what is missing or of another type is `None` to it.
pub(crate) trait Native {
    /// What all calls of it share.
    type Context: Send + Sync + 'static;

    /// Does its work. It gets at nothing of this Lua state but its arguments.
    fn run(context: &Self::Context, args: &Values) -> Reply;
}

/// What a native function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Bool(bool),
    /// What was given to [`Reply::bytes`] last.
    Bytes,
    /// An error of the script.
    Error(&'static CStr),
}

thread_local! {
    /// A string on its way to Lua. Not in the frame that hands it over: for want of memory, Lua leaves that by a jump.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Reply {
    /// A string.
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        BYTES.with_borrow_mut(|kept| {
            kept.clear();
            kept.extend_from_slice(bytes);
        });
        Self::Bytes
    }
}

fn run<N: Native>(context: &N::Context, args: &Values) -> Reply {
    catch_unwind(AssertUnwindSafe(|| N::run(context, args))).unwrap_or_else(|_| {
        tracing::error!("a function of the prelude has panicked");
        Reply::Nil
    })
}

unsafe extern "C-unwind" fn enter<N: Native>(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the upvalue is the one that `native` gave it, and the context lives as long as the state. One value fits on the
    // stack of every C function. A jump leaves a frame in which no value has a destructor.
    unsafe {
        let context = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<N::Context>();
        match run::<N>(&*context, &Values { state, base: 0, count: ffi::lua_gettop(state) }) {
            Reply::Nil => return 0,
            Reply::Bool(value) => ffi::lua_pushboolean(state, value.into()),
            Reply::Bytes => {
                let (bytes, len) = BYTES.with_borrow(|kept| (kept.as_ptr(), kept.len()));
                ffi::lua_pushlstring(state, bytes.cast(), len);
            }
            Reply::Error(text) => {
                ffi::lua_pushstring(state, text.as_ptr());
                ffi::lua_error(state);
            }
        }
        1
    }
}

/// Makes a native function.
pub(crate) fn native<N: Native>(lua: &Lua, context: &Arc<N::Context>) -> mlua::Result<Function> {
    let pointer = Arc::as_ptr(context).cast_mut().cast::<c_void>();
    // The state keeps it until it is closed.
    lua.set_app_data(Arc::clone(context));
    // SAFETY: there is room for one value; errors are caught by `exec_raw`.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::lua_pushlightuserdata(state, pointer);
            ffi::lua_pushcclosure(state, enter::<N>, 1);
        })
    }
}
