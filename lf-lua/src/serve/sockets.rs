//! The sockets that scripts open.

use super::call::Call;
use super::meter::Measured;
use crate::engine::{Command, Completion, Vm};
use lf_core::codec::Raw;
use lf_core::{Address, CloseReason, Closed, Context, DialOptions, Dialer, Handler, Message, Outcome, Peer, Remote};
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Serves the connections that scripts have opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketHandler;

/// A connection that a script has opened.
#[derive(Debug)]
pub(crate) struct Link {
    call: Call,
    /// Who waits for it to be connected.
    connects: Option<f64>,
}

/// A name that is to be looked up for `ticket`.
struct Lookup {
    vm: Arc<Vm>,
    ticket: f64,
    /// With its port, if it is to be connected.
    address: String,
    /// How to connect to its address; `None` if that is all that is wanted.
    connect: Option<(Remote, Duration)>,
}

/// Opens sockets for scripts.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    dialer: Dialer<Raw, SocketHandler>,
    /// To the thread that looks names up, which may take long.
    lookups: Sender<Lookup>,
}

impl Sockets {
    /// Starts the thread that looks names up.
    pub(crate) fn new(dialer: Dialer<Raw, SocketHandler>) -> io::Result<Self> {
        let (lookups, asked) = channel::<Lookup>();
        let by_thread = dialer.clone();
        std::thread::Builder::new().name("lf-lua-names".into()).spawn(move || {
            for lookup in asked {
                let Lookup { vm, ticket, address, connect } = lookup;
                let Some((remote, timeout)) = connect else {
                    vm.complete(ticket, addresses_of(&address));
                    continue;
                };
                match address.parse() {
                    Ok(address) => dial(&by_thread, &remote, &vm, ticket, &address, timeout),
                    Err(error) => vm.complete(ticket, Completion::Failed(lf_core::Error::to_string(&error))),
                }
            }
        })?;
        Ok(Self { dialer, lookups })
    }

    /// Connects to `HOST:PORT` or `unix:PATH`, and tells `ticket` what came of it.
    pub(crate) fn connect(&self, remote: &Remote, vm: &Arc<Vm>, ticket: f64, address: String, timeout: Duration) {
        let known =
            if address.starts_with("unix:") { address.parse().ok() } else { address.parse().ok().map(Address::Tcp) };
        match known {
            Some(address) => dial(&self.dialer, remote, vm, ticket, &address, timeout),
            None => self.ask(Lookup { vm: Arc::clone(vm), ticket, address, connect: Some((remote.clone(), timeout)) }),
        }
    }

    /// Looks a name up, and tells `ticket` its addresses.
    pub(crate) fn look_up(&self, vm: &Arc<Vm>, ticket: f64, name: String) {
        self.ask(Lookup { vm: Arc::clone(vm), ticket, address: name, connect: None });
    }

    fn ask(&self, lookup: Lookup) {
        if let Err(unasked) = self.lookups.send(lookup) {
            let Lookup { vm, ticket, .. } = unasked.0;
            vm.complete(ticket, Completion::Failed("the server stops".into()));
        }
    }
}

/// The addresses of a host, with spaces between them.
fn addresses_of(name: &str) -> Completion {
    match (name, 0).to_socket_addrs() {
        Err(error) => Completion::Failed(format!("{name}: {error}")),
        Ok(found) => {
            let mut addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
            addresses.dedup();
            Completion::Bytes(addresses.join(" ").into_bytes())
        }
    }
}

fn dial(
    dialer: &Dialer<Raw, SocketHandler>,
    remote: &Remote,
    vm: &Arc<Vm>,
    ticket: f64,
    address: &Address,
    timeout: Duration,
) {
    let options = DialOptions { connect_timeout: Some(timeout), ..DialOptions::default() };
    let link = Link { call: Call::new(vm, Measured::default()), connects: Some(ticket) };
    if let Err(failed) = dialer.connect(remote, vm.group, address, &options, link) {
        vm.complete(ticket, Completion::Failed(reason(failed.error.raw_os_error(), &failed.error.to_string())));
    }
}

/// As LuaSocket says it.
fn reason(errno: Option<i32>, otherwise: &str) -> String {
    match errno {
        Some(libc::ECONNREFUSED) => "connection refused".into(),
        Some(libc::ETIMEDOUT) => "timeout".into(),
        Some(errno) => io::Error::from_raw_os_error(errno).to_string(),
        None => otherwise.into(),
    }
}

impl Handler<Raw> for SocketHandler {
    type State = Link;

    fn open(&self, _peer: &Peer) -> Link {
        unreachable!("lf-core gives a dialled connection the state that it was dialled with")
    }

    fn opened(&self, cx: &mut Context<'_, Raw, Link>) -> Outcome {
        // Read only when the script wants to.
        cx.hold();
        let (token, peer, from) = (cx.token(), cx.peer(), cx.local_address());
        if let Some(ticket) = cx.state.connects.take() {
            cx.state.call.vm.complete(ticket, Completion::Connected(token, peer, from));
        }
        Ok(())
    }

    fn frame(&self, cx: &mut Context<'_, Raw, Link>, frame: &[u8]) -> Outcome {
        cx.state.call.hand(Completion::Bytes(frame.to_vec()));
        cx.hold();
        Ok(())
    }

    fn message(&self, cx: &mut Context<'_, Raw, Link>, message: &Message) -> Outcome {
        for command in Command::read_all(message) {
            match command {
                Command::Send(bytes) => cx.send_bytes(bytes),
                Command::Close => cx.close(),
                Command::Want(ticket) => {
                    cx.state.call.wants(ticket);
                    cx.release_hold();
                }
                Command::Unwant(ticket) => {
                    cx.state.call.unwants(ticket);
                    cx.hold();
                }
                Command::Drained(ticket) => {
                    cx.flush();
                    let unsent_bytes = cx.unsent_bytes();
                    cx.state.call.tells_drained(ticket, unsent_bytes);
                }
                Command::Release
                | Command::Watch
                | Command::Respond { .. }
                | Command::Start { .. }
                | Command::Chunk(_)
                | Command::Finish
                | Command::Text(_)
                | Command::Binary(_)
                | Command::Ping(_)
                | Command::CloseSocket { .. } => tracing::error!("a command of a server's connection for a socket"),
            }
        }
        Ok(())
    }

    fn drained(&self, cx: &mut Context<'_, Raw, Link>) -> Outcome {
        cx.state.call.is_drained();
        Ok(())
    }

    fn closed(&self, link: &mut Link, closed: &Closed) {
        if let Some(ticket) = link.connects.take() {
            let timed_out = closed.why == CloseReason::ConnectTimeout;
            let why = if timed_out { "timeout".into() } else { reason(closed.error, closed.why.label()) };
            link.call.vm.complete(ticket, Completion::Failed(why));
        }
        link.call.end(closed.token, "closed");
    }
}
