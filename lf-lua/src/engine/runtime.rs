//! What the prelude, which is Lua, needs of Rust; and the prelude itself.

use super::command::{BINARY, CHUNK, CLOSE, Command, FINISH, PING, RELEASE, SEND, TEXT, WATCH, write_field};
use super::host::Host;
use super::seal::{Named, Seal};
use super::sys::{self, Native, Reply, Values};
use super::vm::{Compat, Completion, LoadError, Report, Source, Stage, Vm, header_of};
use crate::api;
use bstr::ByteSlice;
use lf_core::codec::{Codec, Nshead, NsheadFrame};
use mlua::{Function, Lua, LuaString, Table};
use parking_lot::Mutex;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Commands that are nothing but a tag, or a tag and bytes, as the prelude names them.
const TAGS: [(&str, u8); 9] = [
    ("SEND", SEND),
    ("CHUNK", CHUNK),
    ("TEXT", TEXT),
    ("BINARY", BINARY),
    ("PING", PING),
    ("CLOSE", CLOSE),
    ("RELEASE", RELEASE),
    ("WATCH", WATCH),
    ("FINISH", FINISH),
];

/// Bytes of a message in the log.
const LOG_BYTES_MAX: usize = 16 << 10;
/// Bytes of the address of a socket: names have 253 at most, paths 107.
const ADDRESS_BYTES_MAX: usize = 512;

/// Memory of all shared dictionaries of a script that is not trusted, in bytes.
const SHARED_BYTES_MAX: usize = 64 << 20;

/// No wait is longer.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

const PRELUDE: [(&str, &str); 8] = [
    ("=lf.tasks", include_str!("../prelude/tasks.lua")),
    ("=lf", include_str!("../prelude/lf.lua")),
    ("=lf.http", include_str!("../prelude/http.lua")),
    ("=lf.tcp", include_str!("../prelude/tcp.lua")),
    ("=lf.socket", include_str!("../prelude/socket.lua")),
    ("=lf.compat", include_str!("../prelude/compat.lua")),
    ("=lf.upstream", include_str!("../prelude/upstream.lua")),
    ("=lf.comet", include_str!("../prelude/comet.lua")),
];

/// Where the functions that the prelude calls find things.
pub(crate) struct Runtime {
    pub(crate) host: Arc<Host>,
    stage: Arc<Mutex<Stage>>,
    vm: Arc<OnceLock<Weak<Vm>>>,
    seal: Seal,
    untrusted: bool,
}

/// What a Lua function answers that can fail: `true`, or `nil` and an error.
type Done = (Option<bool>, Option<String>);

const DONE: Done = (Some(true), None);

fn failed(error: impl Into<String>) -> Done {
    (None, Some(error.into()))
}

impl Runtime {
    pub(crate) fn vm(&self) -> Option<Arc<Vm>> {
        self.vm.get()?.upgrade()
    }

    /// Carries a command out at the end of the turn if it is for the connection whose turn this is; else sends it.
    fn command(&self, connection: Named, command: &Command<'_>) -> Done {
        let Some(token) = self.seal.joined(connection) else { return failed("closed") };
        {
            let mut stage = self.stage.lock();
            if stage.current == Some(token) {
                if stage.commands.len() > self.host.limits.vm_bytes {
                    return failed("too much is to be sent at once; wait in between");
                }
                command.write(&mut stage.commands);
                return DONE;
            }
            match *command {
                Command::Want(ticket) | Command::Unwant(ticket) | Command::Drained(ticket) => {
                    stage.waits.insert(token, ticket);
                }
                Command::Release
                | Command::Close
                | Command::Finish
                | Command::Respond { .. }
                | Command::CloseSocket { .. } => {
                    stage.waits.remove(&token);
                    stage.suspended.remove(&token);
                }
                Command::Send(_)
                | Command::Watch
                | Command::Start { .. }
                | Command::Chunk(_)
                | Command::Text(_)
                | Command::Binary(_)
                | Command::Ping(_) => {}
            }
        }
        match self.host.send(token, command) {
            Ok(()) => DONE,
            Err(lf_core::SendError::Gone) => failed("closed"),
            Err(error) => failed(error.to_string()),
        }
    }

    fn bytes(&self, connection: Named, tag: u8, bytes: &[u8]) -> Done {
        let command = match tag {
            SEND => Command::Send(bytes),
            CHUNK => Command::Chunk(bytes),
            TEXT => Command::Text(bytes),
            BINARY => Command::Binary(bytes),
            PING => Command::Ping(bytes),
            _ => return failed("no such command"),
        };
        self.command(connection, &command)
    }

    fn plain(&self, connection: Named, tag: u8) -> Done {
        let command = match tag {
            CLOSE => Command::Close,
            RELEASE => Command::Release,
            WATCH => Command::Watch,
            FINISH => Command::Finish,
            _ => return failed("no such command"),
        };
        self.command(connection, &command)
    }

    pub(crate) fn deadline(&self, ticket: f64, seconds: f64) {
        // What is no time at all, such as NaN, is over at once.
        let wait = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(WAIT_MAX).min(WAIT_MAX);
        // A millisecond at least: who waits for no time at all would never let others have their turn.
        let due_ms = self.host.now_ms() + u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(0).max(1);
        self.stage.lock().deadlines.set(ticket, due_ms);
    }

    fn peer(&self, connection: Named) -> Option<String> {
        let token = self.seal.joined(connection)?;
        let stage = self.stage.lock();
        let peer = stage.peer.filter(|_| stage.current == Some(token));
        drop(stage);
        let peer = peer.or_else(|| Some(self.host.remote()?.look_at(token)?.peer));
        peer.map(|peer| peer.to_string())
    }
}

/// `respond(slot, generation, status, body, type, fields)`: a whole answer; `fields` as name, value, name, value ..., or nil.
struct Respond;

impl Native for Respond {
    type Context = Runtime;

    fn run(runtime: &Runtime, args: &Values) -> Reply {
        let (Some(slot), Some(generation), Some(body)) = (args.number(0), args.number(1), args.bytes(3)) else {
            return Reply::Nil;
        };
        let (mut fields, mut name) = (Vec::new(), Vec::new());
        let mut is_name = true;
        args.each(5, |bytes| {
            if is_name {
                name.clear();
                name.extend_from_slice(bytes);
            } else {
                write_field(&mut fields, &name, bytes);
            }
            is_name = !is_name;
        });
        let status = u16::try_from(args.u32(2)).unwrap_or(500);
        let kind = args.bytes(4).unwrap_or_default();
        runtime.command((slot, generation), &Command::respond(status, kind, &fields, body));
        Reply::Nil
    }
}

/// `head(slot, generation)`: the lines of the header fields, while the connection's turn lasts.
struct HeadOf;

impl Native for HeadOf {
    type Context = Runtime;

    fn run(runtime: &Runtime, args: &Values) -> Reply {
        let named = args.number(0).zip(args.number(1));
        let Some(token) = named.and_then(|named| runtime.seal.joined(named)) else { return Reply::Nil };
        let stage = runtime.stage.lock();
        if stage.current == Some(token) { Reply::bytes(&stage.head) } else { Reply::Nil }
    }
}

/// `deadline(ticket, seconds)`: who waits with this ticket waits no longer.
struct Deadline;

impl Native for Deadline {
    type Context = Runtime;

    fn run(runtime: &Runtime, args: &Values) -> Reply {
        let Some(seconds) = args.number_or_text(1) else { return Reply::Error(c"a number of seconds expected") };
        if let Some(ticket) = args.number(0) {
            runtime.deadline(ticket, seconds);
        }
        Reply::Nil
    }
}

/// Fields that the prelude gives as name, value, name, value ...
fn fields_of(fields: Option<&Table>) -> mlua::Result<Vec<u8>> {
    let mut out = Vec::new();
    let Some(fields) = fields else { return Ok(out) };
    let len = fields.raw_len();
    for place in (1..len).step_by(2) {
        let name: LuaString = fields.raw_get(place)?;
        let value: LuaString = fields.raw_get(place + 1)?;
        write_field(&mut out, &name.as_bytes(), &value.as_bytes());
    }
    Ok(out)
}

/// Why a script may not connect there.
fn refusal(address: &str, untrusted: bool) -> Option<&'static str> {
    if address.len() > ADDRESS_BYTES_MAX {
        return Some("the address is too long");
    }
    (untrusted && address.starts_with("unix:")).then_some("socket files are not for scripts that run with --untrusted")
}

fn connection_functions(lua: &Lua, rt: &Table, runtime: &Arc<Runtime>) -> mlua::Result<()> {
    let of = || Arc::clone(runtime);
    let r = of();
    rt.set(
        "bytes",
        lua.create_function(move |_, (slot, generation, tag, bytes): (f64, f64, u8, LuaString)| {
            Ok(r.bytes((slot, generation), tag, &bytes.as_bytes()))
        })?,
    )?;
    let r = of();
    rt.set(
        "plain",
        lua.create_function(move |_, (slot, generation, tag): (f64, f64, u8)| Ok(r.plain((slot, generation), tag)))?,
    )?;
    let r = of();
    rt.set(
        "want",
        lua.create_function(move |_, (slot, generation, ticket): (f64, f64, f64)| {
            Ok(r.command((slot, generation), &Command::Want(ticket)))
        })?,
    )?;
    let r = of();
    rt.set(
        "drained",
        lua.create_function(move |_, (slot, generation, ticket): (f64, f64, f64)| {
            Ok(r.command((slot, generation), &Command::Drained(ticket)))
        })?,
    )?;
    let r = of();
    rt.set("peer", lua.create_function(move |_, at: Named| Ok(r.peer(at)))?)?;
    let r = of();
    rt.set(
        "connection_id",
        lua.create_function(move |_, at: Named| {
            Ok(r.seal.joined(at).map_or_else(|| "none".to_owned(), |token| token.to_string()))
        })?,
    )?;
    let r = of();
    rt.set(
        "unwant",
        lua.create_function(move |_, (slot, generation, ticket): (f64, f64, f64)| {
            Ok(r.command((slot, generation), &Command::Unwant(ticket)))
        })?,
    )
}

fn answer_functions(lua: &Lua, rt: &Table, runtime: &Arc<Runtime>) -> mlua::Result<()> {
    type CloseSocket = (f64, f64, u16, LuaString);
    type Rpc = (f64, f64, bool, Option<f64>, Option<f64>, Option<f64>, Option<LuaString>, Option<f64>, LuaString);
    rt.set("respond", sys::native::<Respond>(lua, runtime)?)?;
    rt.set("head", sys::native::<HeadOf>(lua, runtime)?)?;
    let of = || Arc::clone(runtime);
    let r = of();
    rt.set(
        "start",
        lua.create_function(move |_, (slot, generation, status, fields): (f64, f64, u16, Option<Table>)| {
            let fields = fields_of(fields.as_ref())?;
            Ok(r.command((slot, generation), &Command::start(status, &fields)))
        })?,
    )?;
    let r = of();
    rt.set(
        "close_socket",
        lua.create_function(move |_, (slot, generation, code, reason): CloseSocket| {
            Ok(r.command((slot, generation), &Command::CloseSocket { code, reason: &reason.as_bytes() }))
        })?,
    )?;
    let r = of();
    rt.set(
        "nshead",
        lua.create_function(move |_, call: Rpc| {
            let (slot, generation, ok, id, version, log_id, provider, reserved, body) = call;
            let mut header =
                header_of((id, version, log_id, reserved), provider.as_ref().map(LuaString::as_bytes).as_deref());
            if !ok {
                header.provider = crate::serve::NSHEAD_FAILED;
            }
            let mut frame = Vec::new();
            let body = body.as_bytes();
            if Nshead::default().encode(NsheadFrame { header, body: &body }, &mut frame).is_err() {
                return Ok(r.plain((slot, generation), CLOSE));
            }
            r.bytes((slot, generation), SEND, &frame);
            Ok(r.plain((slot, generation), RELEASE))
        })?,
    )
}

/// What goes to the log of one message: a script must not fill a disk with one.
fn shown(text: &[u8]) -> &bstr::BStr {
    text[..text.len().min(LOG_BYTES_MAX)].as_bstr()
}

fn other_functions(lua: &Lua, rt: &Table, runtime: &Arc<Runtime>, number: u64) -> mlua::Result<()> {
    rt.set("deadline", sys::native::<Deadline>(lua, runtime)?)?;
    rt.set(
        "now",
        lua.create_function(|_, ()| {
            Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64()))
        })?,
    )?;
    let r = Arc::clone(runtime);
    rt.set("request_id", lua.create_function(move |_, ()| Ok(r.host.request_id()))?)?;
    let r = Arc::clone(runtime);
    rt.set(
        "vm",
        lua.create_function(move |lua, ()| {
            let group = r.vm().map_or(0, |vm| vm.group);
            lua.create_table_from([("id", number), ("group", group as u64)])
        })?,
    )?;
    rt.set(
        "blocking",
        lua.create_function(|_, ()| {
            lf_core::hand_over();
            Ok(())
        })?,
    )?;
    let r = Arc::clone(runtime);
    let untrusted = runtime.untrusted;
    rt.set(
        "connect",
        lua.create_function(move |_, (ticket, address, seconds): (f64, String, f64)| {
            let (Some(vm), Some(remote), Some(sockets)) = (r.vm(), r.host.remote(), r.host.sockets.get()) else {
                return Ok(());
            };
            if let Some(refusal) = refusal(&address, untrusted) {
                vm.complete(ticket, Completion::Failed(refusal.into()));
                return Ok(());
            }
            let timeout = Duration::try_from_secs_f64(seconds.max(0.001)).unwrap_or(WAIT_MAX);
            sockets.connect(remote, &vm, ticket, address, timeout);
            Ok(())
        })?,
    )?;
    let r = Arc::clone(runtime);
    rt.set(
        "look_up",
        lua.create_function(move |_, (ticket, name): (f64, String)| {
            if let (Some(vm), Some(sockets)) = (r.vm(), r.host.sockets.get()) {
                sockets.look_up(&vm, ticket, name);
            }
            Ok(())
        })?,
    )
}

fn log_functions(lua: &Lua, rt: &Table) -> mlua::Result<()> {
    rt.set(
        "failed",
        lua.create_function(|_, (id, trace): (LuaString, Option<LuaString>)| {
            let trace = trace.as_ref().map(LuaString::as_bytes);
            let trace = trace.as_deref().unwrap_or(b"without a word");
            tracing::error!(id = %id.to_string_lossy(), "the script failed: {}", shown(trace));
            Ok(())
        })?,
    )?;
    rt.set(
        "logs",
        lua.create_function(|_, level: u32| {
            Ok(match level {
                1 => tracing::enabled!(target: "script", tracing::Level::ERROR),
                2 => tracing::enabled!(target: "script", tracing::Level::WARN),
                3 => tracing::enabled!(target: "script", tracing::Level::INFO),
                _ => tracing::enabled!(target: "script", tracing::Level::DEBUG),
            })
        })?,
    )?;
    rt.set(
        "log",
        lua.create_function(|_, (level, text): (u32, LuaString)| {
            let text = text.as_bytes();
            let text = shown(&text);
            match level {
                1 => tracing::error!(target: "script", "{text}"),
                2 => tracing::warn!(target: "script", "{text}"),
                3 => tracing::info!(target: "script", "{text}"),
                _ => tracing::debug!(target: "script", "{text}"),
            }
            Ok(())
        })?,
    )
}

/// Gives a new VM its functions; answers the table that they and the prelude share.
pub(super) fn install(
    lua: &Lua,
    host: &Arc<Host>,
    stage: &Arc<Mutex<Stage>>,
    vm: &Arc<OnceLock<Weak<Vm>>>,
    source: &Source,
    watch: &Arc<sys::Watch>,
    seal: &Seal,
) -> Result<Table, LoadError> {
    sys::prepare(lua)?;
    if source.untrusted {
        lua.set_memory_limit(host.limits.vm_bytes)?;
    }
    let runtime = Arc::new(Runtime {
        host: Arc::clone(host),
        stage: Arc::clone(stage),
        vm: Arc::clone(vm),
        seal: seal.clone(),
        untrusted: source.untrusted,
    });
    let rt = lua.create_table()?;
    TAGS.into_iter().try_for_each(|(name, tag)| rt.set(name, tag))?;
    connection_functions(lua, &rt, &runtime)?;
    answer_functions(lua, &rt, &runtime)?;
    log_functions(lua, &rt)?;
    other_functions(lua, &rt, &runtime, watch.number)?;
    api::upstream::install(lua, &rt, &runtime, source.untrusted)?;
    crate::serve::install_names(lua, &rt, seal)?;
    let internals = lua.create_table()?;
    let lf = lua.create_table()?;
    api::crypto::install(lua, &lf)?;
    api::uri::install(lua, &lf)?;
    api::json::install(lua, &lf)?;
    api::json::preload(lua)?;
    api::re::install(lua, &lf, source.untrusted.then_some(api::re::STEPS_MAX))?;
    api::shared::install(lua, &lf, &host.dicts)?;
    for (name, text) in PRELUDE {
        lua.load(text).set_name(name).call::<()>((&rt, &internals, &lf))?;
    }
    lua.globals().set("lf", lf)?;
    if source.untrusted {
        host.dicts.limit(SHARED_BYTES_MAX);
        let watch = Arc::clone(watch);
        api::pattern::install_string(lua, host.limits.vm_bytes / 4, move || !watch.is_overdue())?;
        let sandbox = include_str!("../prelude/sandbox.lua");
        lua.load(sandbox).set_name("=lf.sandbox").call::<()>(())?;
        return Ok(internals);
    }
    // Most of what a VM holds is there for good, and need not be looked through so often.
    lua.load("collectgarbage('setpause', 400)").exec()?;
    if let Some(path) = &source.lua_path {
        let package: Table = lua.globals().get("package")?;
        let before: String = package.get("path")?;
        package.set("path", format!("{path};{before}"))?;
    }
    Ok(internals)
}

/// Gives a VM what tests need beside the script.
pub(super) fn prepare_tests(
    lua: &Lua,
    internals: &Table,
    servers: &[(String, String)],
    report: Sender<Report>,
) -> mlua::Result<()> {
    let rt = lua.create_table()?;
    rt.set(
        "report",
        lua.create_function(move |_, (what, name, why): (String, String, LuaString)| {
            let report_of = match what.as_str() {
                "ok" => Report::Passed { name },
                "end" => Report::End,
                _ => Report::Failed { name, why: why.to_string_lossy() },
            };
            // Whoever waits for the report may have gone.
            let _ = report.send(report_of);
            Ok(())
        })?,
    )?;
    let list = lua.create_table()?;
    for (kind, address) in servers {
        list.push(lua.create_table_from([("kind", kind.as_str()), ("address", address.as_str())])?)?;
    }
    let lf: Table = lua.globals().get("lf")?;
    lua.load(include_str!("../prelude/test.lua")).set_name("=lf.test").call((rt, internals, lf, list))
}

/// Runs the main chunk, which defines the servers.
pub(super) fn run_main(lua: &Lua, internals: &Table, source: &Source) -> Result<(), LoadError> {
    let name = format!("@{}", source.path.display());
    internals.set("loading", true)?;
    let chunk = lua.load(source.text.as_bstr().as_bytes()).set_name(name).set_mode(mlua::chunk::ChunkMode::Text);
    match &source.compat {
        None => chunk.exec()?,
        Some(Compat { listen, framing }) => {
            let serve: Function = internals.get("compat")?;
            serve.call::<()>((chunk.into_function()?, listen.as_str(), framing.name()))?;
        }
    }
    if let Some(address) = &source.console {
        let lf: Table = lua.globals().get("lf")?;
        let console = lua.load(include_str!("../prelude/repl.lua")).set_name("=lf.repl");
        console.call::<()>((mlua::Value::Nil, mlua::Value::Nil, lf, address.as_str()))?;
    }
    internals.set("loading", false)?;
    Ok(())
}
