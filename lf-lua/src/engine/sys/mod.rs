//! What cannot be done without `unsafe`: Lua states with their whole library, and interrupting a script that runs.
//!
//! The hook that ends a script is not armed while it runs as it should, because it would cost as much as the call. A
//! thread that finds a script overdue sends a signal to the thread that runs it; the handler arms the hook there, as
//! `lua.c` does for an interrupt from the keyboard: that is what `lua_sethook` may be called from.
#![allow(unsafe_code, reason = "the one place of this crate that needs it; each block says why it is sound")]

mod call;
#[cfg(feature = "lua54")]
mod coroutine;
mod native;

pub(crate) use call::{Arg, Entry, Gate, Returned, Values, call};
pub(crate) use native::{Native, Reply, native};

use super::vm::LoadError;
use mlua::{Lua, LuaOptions, StdLib, ffi};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU64, Ordering};

/// What an overdue script is ended with; never shown as it is.
const OVERDUE: &std::ffi::CStr = c"the call has used up its time: see --budget";

/// A Lua state. A script that is not trusted gets no library that reaches the machine.
pub(super) fn new_lua(untrusted: bool) -> Result<Lua, LoadError> {
    let options = LuaOptions::new();
    if untrusted {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS | StdLib::PACKAGE;
        #[cfg(feature = "lua54")]
        let libs = libs | StdLib::COROUTINE | StdLib::UTF8;
        #[cfg(feature = "luajit")]
        let libs = libs | StdLib::BIT | StdLib::JIT;
        let lua = Lua::new_with(libs, options)?;
        make_room(&lua)?;
        return Ok(lua);
    }
    // SAFETY: the whole library lets a script do what C can, which is what its author is trusted with.
    Ok(unsafe { Lua::unsafe_new_with(StdLib::ALL, options) })
}

/// Handles of mlua that a state has room for from the start.
const HANDLES: usize = 256;
/// LuaJIT packs pointers, and keeps a list of what they begin with: one entry for each 512 GiB.
const POINTER_SEGMENT: usize = 1 << 39;

/// Takes the memory that a state with a limit may need where nothing catches the error that there is none left, which would be
/// the end of the process: mlua moves a value to its handles, and points to its stack, outside of protected calls.
fn make_room(lua: &Lua) -> mlua::Result<()> {
    // LuaJIT takes back stack that is not used; what handles have used once counts as used.
    drop((0..HANDLES).map(|_| lua.create_string("")).collect::<mlua::Result<Vec<_>>>()?);
    let mapped = libc::getpid as *const () as usize;
    // Stacks of threads lie beneath the libraries, and this one may be the first thread's.
    let here = &raw const mapped as usize;
    for address in [here, mapped, mapped.saturating_sub(POINTER_SEGMENT)] {
        // SAFETY: there is room for one value; errors are caught by `exec_raw`. Nobody follows the pointer.
        unsafe {
            lua.exec_raw::<()>((), |state| {
                ffi::lua_pushlightuserdata(state, ptr::without_provenance_mut(address));
                ffi::lua_pop(state, 1);
            })?;
        }
    }
    Ok(())
}

thread_local! {
    /// The watch of the script that this thread runs; null while it runs none.
    static RUNNING: Cell<*const Watch> = const { Cell::new(ptr::null()) };
    static THREAD: Cell<c_int> = const { Cell::new(0) };
}

/// Who runs a VM, and since when.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Whose it is.
    pub(crate) number: u64,
    pub(crate) group: usize,
    /// The main state.
    state: AtomicPtr<c_void>,
    /// Odd while a script runs; each run has its own number.
    run: AtomicU64,
    /// The thread that runs it, for the kernel.
    thread: AtomicI32,
    /// Whether this run has to end, and how.
    overdue: AtomicU8,
    /// The main chunk runs, which has no coroutine of its own.
    loading: AtomicBool,
    /// The driver itself was ended: nobody knows what it has left undone.
    broken: AtomicBool,
}

/// The run is in time.
const IN_TIME: u8 = 0;
/// The script has to end; the driver, which cleans up after it, is spared.
const SCRIPT_ENDS: u8 = 1;
/// So does the driver: the script has led it astray.
const ALL_ENDS: u8 = 2;

impl Watch {
    pub(super) fn new(lua: &Lua, number: u64, group: usize) -> Self {
        // Reading a pointer is all that is done with it here.
        let state = lua.state().cast::<c_void>();
        Self {
            number,
            group,
            state: AtomicPtr::new(state),
            run: AtomicU64::new(0),
            thread: AtomicI32::new(0),
            overdue: AtomicU8::new(IN_TIME),
            loading: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }
    }

    /// A script begins to run on this thread.
    pub(super) fn begin(&self) {
        if THREAD.get() == 0 {
            // SAFETY: it has no preconditions.
            THREAD.set(unsafe { libc::gettid() });
        }
        self.thread.store(THREAD.get(), Ordering::Relaxed);
        #[cfg(feature = "lua54")]
        coroutine::begin(self.state.load(Ordering::Relaxed).cast());
        RUNNING.set(self);
        self.run.store(self.run.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// It has come to an end, or waits.
    pub(super) fn end(&self) {
        self.run.store(self.run.load(Ordering::Relaxed) + 1, Ordering::Release);
        RUNNING.set(ptr::null());
        match self.overdue.load(Ordering::Relaxed) {
            IN_TIME => {}
            stage => {
                self.broken.fetch_or(stage == ALL_ENDS, Ordering::Relaxed);
                self.disarm();
            }
        }
    }

    /// Runs the main chunk, which has no coroutine to run in.
    pub(super) fn loading<R>(&self, main: impl FnOnce() -> R) -> R {
        self.loading.store(true, Ordering::Relaxed);
        self.begin();
        let result = main();
        self.end();
        self.loading.store(false, Ordering::Relaxed);
        result
    }

    /// Whose instructions run, on the thread that runs them.
    fn running_state(&self) -> *mut ffi::lua_State {
        #[cfg(feature = "lua54")]
        return coroutine::current();
        #[cfg(feature = "luajit")]
        self.state.load(Ordering::Relaxed).cast()
    }

    /// The number of the run that goes on, if one does.
    pub(crate) fn run(&self) -> Option<u64> {
        let run = self.run.load(Ordering::Acquire);
        (run % 2 == 1).then_some(run)
    }

    /// Whether the VM cannot be trusted to work any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The VM cannot be trusted to work any more.
    pub(super) fn condemn(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether the run that goes on has to end.
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed) != IN_TIME
    }

    /// Ends the run with that number, if it still goes on: its next instruction fails. `wholly`: also one of the driver.
    pub(crate) fn interrupt(&self, run: u64, wholly: bool) {
        if self.run.load(Ordering::Acquire) != run {
            return;
        }
        self.overdue.store(if wholly { ALL_ENDS } else { SCRIPT_ENDS }, Ordering::Release);
        let thread = self.thread.load(Ordering::Relaxed);
        // SAFETY: a signal that has a handler, to a thread of this process; if that is gone, or runs something else by
        // now, the handler finds nothing to do.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
    }

    /// No instruction fails any more: for who has seen the error.
    pub(super) fn disarm(&self) {
        self.overdue.store(IN_TIME, Ordering::Relaxed);
        // Those of coroutines of Lua 5.4 find that there is nothing to do, and go.
        #[cfg(feature = "luajit")]
        // SAFETY: called by who runs the VM, between two runs or from within one; the state lives as long as the VM.
        unsafe {
            ffi::lua_sethook(self.state.load(Ordering::Relaxed).cast(), None, 0, 0);
        }
    }
}

/// Whether the script that this thread runs has to end: for loops in Rust, which no hook ends.
pub(crate) fn is_overdue() -> bool {
    // SAFETY: as in `on_signal`.
    unsafe { RUNNING.get().as_ref() }.is_some_and(Watch::is_overdue)
}

/// The same, as an error: the hook ends the script at its next instruction.
pub(crate) fn in_time() -> Result<(), String> {
    if is_overdue() { Err("the call has used up its time".to_owned()) } else { Ok(()) }
}

fn signal() -> c_int {
    libc::SIGRTMIN() + 7
}

/// Runs on the thread that runs the script, between any two instructions of it.
extern "C" fn on_signal(_signal: c_int) {
    let watch = RUNNING.get();
    // SAFETY: it is set by `begin` and cleared by `end` on this very thread, and the VM lives in between.
    let Some(watch) = (unsafe { watch.as_ref() }) else { return };
    if watch.overdue.load(Ordering::Acquire) != IN_TIME {
        arm(watch.running_state());
    }
}

/// Has the hook look at the next instruction of a coroutine; with LuaJIT, of all.
fn arm(state: *mut ffi::lua_State) {
    // SAFETY: `lua_sethook` may be called at any time on the state's own thread, also from a signal handler.
    unsafe {
        ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, 1);
    }
}

/// Ends the script if it has to end. The driver runs on the main state, which is spared: it has to clean up.
unsafe extern "C-unwind" fn hook(state: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    let watch = RUNNING.get();
    // SAFETY: as in `on_signal`.
    let Some(watch) = (unsafe { watch.as_ref() }) else { return };
    let stage = watch.overdue.load(Ordering::Relaxed);
    if stage == IN_TIME {
        // SAFETY: a hook may take itself away.
        unsafe {
            ffi::lua_sethook(state, None, 0, 0);
        }
        return;
    }
    // SAFETY: a hook may push, pop and raise errors; no value with a destructor lives in this frame.
    unsafe {
        let is_main = ffi::lua_pushthread(state) == 1;
        ffi::lua_pop(state, 1);
        if is_main && stage < ALL_ENDS && !watch.loading.load(Ordering::Relaxed) {
            return;
        }
        // What catches this error has no instruction of its own left.
        #[cfg(feature = "lua54")]
        arm(state);
        ffi::lua_pushstring(state, OVERDUE.as_ptr());
        ffi::lua_error(state);
    }
}

/// Makes scripts interruptible, once for the process.
pub(crate) fn install() -> std::io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        // SAFETY: a zeroed `sigaction` is a valid one; the handler touches nothing but atomics and the hook.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal(), &raw const action, ptr::null_mut())
        };
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
    });
    installed.map_err(std::io::Error::from_raw_os_error)
}

/// Makes the coroutines of a state interruptible.
pub(super) fn prepare(lua: &Lua) -> mlua::Result<()> {
    #[cfg(feature = "lua54")]
    coroutine::install(lua)?;
    #[cfg(feature = "luajit")]
    let _ = lua;
    Ok(())
}
