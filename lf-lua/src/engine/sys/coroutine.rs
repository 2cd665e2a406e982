//! Lua 5.4 has a hook for each coroutine: to end the one that runs, one has to know which it is. So `coroutine.resume` is ours.

use mlua::{Lua, Table, ffi};
use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

thread_local! {
    /// What runs on this thread.
    static CURRENT: Cell<*mut ffi::lua_State> = const { Cell::new(ptr::null_mut()) };
}

/// The coroutine, or the main state, whose instructions this thread runs.
pub(super) fn current() -> *mut ffi::lua_State {
    CURRENT.get()
}

/// A run begins on the main state.
pub(super) fn begin(main: *mut ffi::lua_State) {
    CURRENT.set(main);
}

/// Puts ours in the place of the library's.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    // SAFETY: `resume` keeps to the rules of C functions: it takes its arguments from the stack, and answers how many
    // results it has left there.
    let resume = unsafe { lua.create_c_function(resume)? };
    lua.globals().get::<Table>("coroutine")?.raw_set("resume", resume)
}

/// `coroutine.resume(co, ...)`: true and what it yields or returns; or false and its error.
unsafe extern "C-unwind" fn resume(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the stacks have room for what is moved, which is asked for first; errors leave by a jump over this frame, in which
    // no value has a destructor.
    unsafe {
        let co = ffi::lua_tothread(state, 1);
        if co.is_null() {
            ffi::luaL_argerror(state, 1, c"coroutine expected".as_ptr());
        }
        let arguments = ffi::lua_gettop(state) - 1;
        if ffi::lua_checkstack(co, arguments) == 0 {
            return failed(state, c"too many arguments to resume");
        }
        ffi::lua_xmove(state, co, arguments);
        let mut results = 0;
        CURRENT.set(co);
        let status = ffi::lua_resume(co, state, arguments, &raw mut results);
        CURRENT.set(state);
        if super::is_overdue() {
            super::arm(state);
        }
        if status != ffi::LUA_OK && status != ffi::LUA_YIELD {
            // One that resumes itself finds its error where it is.
            ffi::lua_xmove(co, state, 1);
            ffi::lua_pushboolean(state, 0);
            ffi::lua_insert(state, -2);
            return 2;
        }
        if ffi::lua_checkstack(state, results + 1) == 0 {
            ffi::lua_pop(co, results);
            return failed(state, c"too many results to resume");
        }
        ffi::lua_pushboolean(state, 1);
        ffi::lua_xmove(co, state, results);
        results + 1
    }
}

/// # Safety
/// The stack has to have room for two values.
unsafe fn failed(state: *mut ffi::lua_State, why: &std::ffi::CStr) -> c_int {
    // SAFETY: as the caller says.
    unsafe {
        ffi::lua_pushboolean(state, 0);
        ffi::lua_pushstring(state, why.as_ptr());
    }
    2
}
