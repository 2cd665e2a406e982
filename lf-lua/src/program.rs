//! The program: its commands, and how a server comes to be.

use crate::engine::{self, Compat, Host, Limits, Source};
use crate::options::{Command, EngineArgs, Options, ServeArgs};
use crate::reload::Reloader;
use crate::script::{Current, Definition, Framing, Kind, Script};
use crate::serve::{HttpServer, NsheadServer, SocketHandler, Sockets, TcpServer, TimerHandler, Timers};
use crate::watchdog;
use anyhow::{Context, bail};
use lf_core::cli::ServerArgs;
use lf_core::codec::http::{self, Http};
use lf_core::codec::{Len32, Line, Nshead, Raw};
use lf_core::upstream::{Upstreams, UpstreamsOptions};
use lf_core::{Address, Builder, Handlers, ListenOptions, Server, Signals, cli};
use std::path::Path;
use std::sync::Arc;

/// The largest frame of `lf.tcp` unless the script says otherwise, in bytes.
const FRAME_BYTES_MAX: u64 = 64 * 1024;
/// ... of an nshead body.
const NSHEAD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// ... of an HTTP body.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// What `main` does; answers the exit code.
///
/// # Errors
/// If the server cannot be started, or the script is none.
pub fn program() -> anyhow::Result<u8> {
    // A call is short beside a system call, so the one that the edge trigger saves counts.
    let options: Options =
        cli::read_with("LF_LUA", |command| command.mut_arg("trigger", |trigger| trigger.default_value("edge")))?;
    match options.command {
        Some(Command::Check { script, engine }) => check(&script, &engine),
        Some(Command::Test { directory, engine }) => crate::tester::run(&directory, &engine),
        Some(Command::Repl { script, engine }) => crate::repl::run(script.as_deref(), &engine),
        None => serve(&options.serve),
    }
}

fn limits(args: &EngineArgs) -> Limits {
    let slow = (!args.slow.is_zero()).then_some(args.slow);
    Limits { budget: args.budget, vm_bytes: args.vm_bytes, slow }
}

/// Reads a script.
pub(crate) fn read(path: &Path, args: &EngineArgs) -> anyhow::Result<Source> {
    let text = std::fs::read(path).with_context(|| format!("cannot read the script {}", path.display()))?;
    Ok(Source {
        path: path.to_owned(),
        text,
        lua_path: args.lua_path.clone(),
        untrusted: args.untrusted,
        console: None,
        compat: args.compat.then(|| Compat { listen: args.listen.clone(), framing: args.frame }),
    })
}

fn check(path: &Path, args: &EngineArgs) -> anyhow::Result<u8> {
    let source = read(path, args)?;
    let host = Arc::new(Host::new(limits(args)));
    engine::install().context("cannot listen for the signal that ends overdue scripts")?;
    watchdog::start(&host).context("cannot start the watchdog")?;
    let script = Script::load(&host, source, 1, 1, 1)?;
    for definition in &script.definitions {
        println!("{} {}", definition.kind.label(), definition.listen.join(" "));
    }
    println!("{}: ok", path.display());
    Ok(0)
}

/// A server with its script loaded, and what belongs to it.
pub(crate) struct Built {
    pub(crate) server: Server,
    pub(crate) host: Arc<Host>,
    pub(crate) shape: Shape,
    pub(crate) current: Current,
}

/// Loads a script, and builds the server that it wants. `anywhere`: on ports that the system chooses.
pub(crate) fn build(args: &ServerArgs, engine: &EngineArgs, source: Source, anywhere: bool) -> anyhow::Result<Built> {
    engine::install().context("cannot listen for the signal that ends overdue scripts")?;
    let path = source.path.clone();
    let host = Arc::new(Host::new(limits(engine)));
    watchdog::start(&host).context("cannot start the watchdog")?;
    let mut builder = args.apply(Server::builder().name("lf-lua"))?;
    let sockets = Sockets::new(builder.dialer(Raw, SocketHandler)).context("cannot start a thread")?;
    let upstreams = Upstreams::new(&mut builder, UpstreamsOptions::default());
    let _ = host.upstreams.set(upstreams.clone());
    if args.admin.is_some() {
        let _ = host.handlers.set(Handlers::new(&mut builder));
    }
    let timers = Timers(builder.dialer(Raw, TimerHandler::new(source.untrusted)));
    let groups = args.groups.unwrap_or_else(cores);
    let shape = Shape { groups, workers: args.workers, workers_max: args.workers_max };
    let mut script = shape.load(&host, source)?;
    if script.definitions.is_empty() {
        bail!("{}: its main chunk defines no server; see lf.http, lf.tcp and lf.nshead, or --compat", path.display());
    }
    if anywhere {
        script.listen_anywhere();
    }
    let current = Current::new(script);
    let script = current.load_full();
    for (index, definition) in script.definitions.iter().enumerate() {
        builder = listen(builder, &current, index, definition, args.listen_options(), engine.output_bytes)?;
    }
    let server = builder.build()?;
    upstreams.bind(&server.remote());
    host.attach(server.remote(), sockets, timers);
    script.begin();
    Ok(Built { server, host, shape, current })
}

fn serve(args: &ServeArgs) -> anyhow::Result<u8> {
    let Some(path) = &args.script else { bail!("no script given; see --help") };
    let source = read(path, &args.engine)?;
    let Built { server, host, shape, current } = build(&args.server, &args.engine, source, false)?;
    let signals = Signals::listen().context("cannot listen for signals")?;
    let reloader = Reloader { path: path.clone(), engine: args.engine.clone(), host, shape, current };
    reloader.start(args.watch).context("cannot listen for SIGHUP")?;
    cli::announce(&server).context("cannot write to standard output")?;
    Ok(server.run_until(&signals, || ())?.exit_code())
}

/// How many VMs a script gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    groups: usize,
    workers: usize,
    workers_max: usize,
}

impl Shape {
    pub(crate) fn load(self, host: &Arc<Host>, source: Source) -> Result<Script, engine::LoadError> {
        Script::load(host, source, self.groups, self.workers, self.workers_max)
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn listen(
    mut builder: Builder,
    current: &Current,
    server: usize,
    definition: &Definition,
    options: ListenOptions,
    output_bytes_max: usize,
) -> anyhow::Result<Builder> {
    let current = || current.clone();
    for address in &definition.listen {
        let at: Address = address.parse()?;
        let bytes_max = |default: u64| definition.bytes_max.unwrap_or(default);
        builder = match &definition.kind {
            Kind::Tcp { framing, .. } => {
                let handler = TcpServer { current: current(), server, raw: *framing == Framing::Raw };
                let bytes_max = size(bytes_max(FRAME_BYTES_MAX));
                match framing {
                    Framing::Raw => builder.listen_with(at, options, Raw, handler),
                    Framing::Line => builder.listen_with(at, options, Line::new(bytes_max), handler),
                    Framing::Len32 => builder.listen_with(at, options, Len32::new(bytes_max), handler),
                }
            }
            Kind::Nshead { .. } => {
                let codec = Nshead::new(size(bytes_max(NSHEAD_BYTES_MAX)));
                builder.listen_with(at, options, codec, NsheadServer { current: current(), server })
            }
            Kind::Http { routes } => {
                let body_bytes_max = bytes_max(BODY_BYTES_MAX);
                let body_bytes = routes.body_bytes_max().unwrap_or(0).max(body_bytes_max);
                let codec = Http::new(http::Limits { body_bytes, ..http::Limits::default() });
                let handler = HttpServer { current: current(), server, body_bytes_max, output_bytes_max };
                builder.listen_with(at, options, codec, handler)
            }
        };
    }
    Ok(builder)
}

/// Groups unless the command line says otherwise, as lf-core counts them.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
