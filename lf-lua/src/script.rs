//! A script that is loaded: its servers, and the VMs that serve them.

use crate::engine::{Host, LoadError, Pool, Source, Vm};
use crate::serve::{Measured, Meter, Pace, Route, Routes};
use arc_swap::{ArcSwap, Guard};
use clap::ValueEnum;
use mlua::Table;
use std::sync::Arc;

/// How a server of `lf.tcp` cuts what comes into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// Bytes as they come
    Raw,
    /// Lines
    Line,
    /// Four bytes of length before each
    Len32,
}

impl Framing {
    /// As scripts write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Line => "line",
            Self::Len32 => "len32",
        }
    }
}

/// What a server speaks.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Tcp { framing: Framing, handler: u32 },
    Nshead { handler: u32 },
    Http { routes: Routes },
}

/// A server that the main chunk defined.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) kind: Kind,
    pub(crate) listen: Vec<String>,
    /// The largest frame or body, in bytes.
    pub(crate) bytes_max: Option<u64>,
    meter: Meter,
    pace: Pace,
}

/// A loaded script.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) definitions: Vec<Definition>,
    pools: Vec<Pool>,
}

/// The script that serves now; it may be replaced at any time.
#[derive(Clone, Debug)]
pub(crate) struct Current(Arc<ArcSwap<Script>>);

impl Current {
    pub(crate) fn new(script: Script) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(script)))
    }

    /// The script, for one call.
    pub(crate) fn load(&self) -> Guard<Arc<Script>> {
        self.0.load()
    }

    /// The script, for longer.
    pub(crate) fn load_full(&self) -> Arc<Script> {
        self.0.load_full()
    }

    /// Lets another script serve from here on; the calls of the old one go on until they are done.
    pub(crate) fn replace(&self, script: Script, host: &Host) {
        let script = Arc::new(script);
        let before = self.0.swap(Arc::clone(&script));
        script.begin();
        for vm in before.vms() {
            host.retire(&vm);
        }
    }
}

impl Kind {
    /// The protocol.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Tcp { framing: Framing::Raw, .. } => "tcp raw",
            Self::Tcp { framing: Framing::Line, .. } => "tcp line",
            Self::Tcp { framing: Framing::Len32, .. } => "tcp len32",
            Self::Nshead { .. } => "nshead",
            Self::Http { .. } => "http",
        }
    }
}

impl Definition {
    /// Whether it takes the place of another one without new sockets.
    pub(crate) fn listens_as(&self, other: &Self) -> bool {
        self.listen == other.listen && self.kind.label() == other.kind.label()
    }
}

impl Script {
    /// Runs the script in a VM for each worker that every one of `groups` groups begins with.
    pub(crate) fn load(
        host: &Arc<Host>,
        source: Source,
        groups: usize,
        workers: usize,
        workers_max: usize,
    ) -> Result<Self, LoadError> {
        let source = Arc::new(source);
        let (first, tables) = Vm::new(host, &source, 0)?;
        let definitions = tables.iter().map(|table| definition_of(table, host)).collect::<Result<Vec<_>, _>>()?;
        let pool = |group| Pool::new(host, &source, group, workers_max, definitions.len());
        let pools: Vec<_> = (0..groups).map(pool).collect();
        if let Some(pool) = pools.first() {
            pool.add(&first);
        }
        for (group, pool) in pools.iter().enumerate() {
            for _ in usize::from(group == 0)..workers {
                pool.grow()?;
            }
        }
        Ok(Self { definitions, pools })
    }

    /// Has all servers listen on ports that the system chooses.
    pub(crate) fn listen_anywhere(&mut self) {
        for definition in &mut self.definitions {
            definition.listen = vec!["127.0.0.1:0".into()];
        }
    }

    /// The server runs: timers begin.
    pub(crate) fn begin(&self) {
        for vm in self.vms() {
            vm.begin();
        }
    }

    /// The VMs of a group.
    pub(crate) fn pool(&self, group: usize) -> &Pool {
        &self.pools[group % self.pools.len()]
    }

    /// All VMs.
    pub(crate) fn vms(&self) -> impl Iterator<Item = Arc<Vm>> {
        self.pools.iter().flat_map(Pool::vms)
    }

    /// The function that serves the frames of a server.
    pub(crate) fn handler(&self, server: usize) -> Option<u32> {
        match self.definitions.get(server)?.kind {
            Kind::Tcp { handler, .. } | Kind::Nshead { handler } => Some(handler),
            Kind::Http { .. } => None,
        }
    }

    /// A call of a server without routes begins.
    pub(crate) fn measure(&self, server: usize) -> Measured {
        self.definitions.get(server).map_or_else(Measured::default, |definition| definition.meter.begin())
    }

    /// How quick a server without routes is.
    pub(crate) fn pace(&self, server: usize) -> Option<&Pace> {
        self.definitions.get(server).map(|definition| &definition.pace)
    }

    /// The routes of a server.
    pub(crate) fn routes(&self, server: usize) -> Option<&Routes> {
        match &self.definitions.get(server)?.kind {
            Kind::Http { routes } => Some(routes),
            Kind::Tcp { .. } | Kind::Nshead { .. } => None,
        }
    }
}

fn definition_of(table: &Table, host: &Host) -> Result<Definition, LoadError> {
    let kind: String = table.raw_get("kind")?;
    let listen: Vec<String> = table.raw_get("listen")?;
    let (kind, limit) = match kind.as_str() {
        "http" => (Kind::Http { routes: routes_of(table, host)? }, "max_body"),
        "nshead" => (Kind::Nshead { handler: table.raw_get("handler")? }, "max"),
        _ => {
            let frame: String = table.raw_get("frame")?;
            let framing = match frame.as_str() {
                "raw" => Framing::Raw,
                "len32" => Framing::Len32,
                _ => Framing::Line,
            };
            (Kind::Tcp { framing, handler: table.raw_get("handler")? }, "max")
        }
    };
    let bytes_max = table.raw_get::<Option<f64>>(limit)?;
    let bytes_max = bytes_max.map(|bytes| bytes_of(limit, bytes)).transpose()?;
    let meter = match &kind {
        Kind::Tcp { .. } | Kind::Nshead { .. } => host.meter(&format!("{} {}", kind.label(), listen.join(" "))),
        // Each route has its own.
        Kind::Http { .. } => Meter::default(),
    };
    Ok(Definition { kind, listen, bytes_max, meter, pace: Pace::default() })
}

/// A number of bytes that a script gave.
fn bytes_of(name: &str, bytes: f64) -> Result<u64, LoadError> {
    if !(1.0..=9e15).contains(&bytes) {
        return Err(LoadError::new(format!("{name} = {bytes}: a number of bytes from 1 expected")));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    Ok(bytes as u64)
}

fn routes_of(table: &Table, host: &Host) -> Result<Routes, LoadError> {
    let mut routes = Routes::default();
    for route in table.raw_get::<Table>("routes")?.sequence_values::<Table>() {
        let route = route?;
        let path: String = route.raw_get("path")?;
        let websocket = route.raw_get::<Option<bool>>("websocket")?.unwrap_or(false);
        let max_body = route.raw_get::<Option<f64>>("max_body")?;
        let method: String = route.raw_get("method")?;
        let made = Route {
            meter: host.meter(&format!("{method} {path}")),
            pace: Pace::default(),
            method,
            handler: route.raw_get("handler")?,
            stream: route.raw_get::<Option<bool>>("stream")?.unwrap_or(false),
            websocket: if websocket { Some(route.raw_get("accept")?) } else { None },
            max_body: max_body.map(|bytes| bytes_of("max_body", bytes)).transpose()?,
        };
        routes.add(&path, made).map_err(LoadError::new)?;
    }
    Ok(routes)
}
