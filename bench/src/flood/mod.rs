//! Idle connections in numbers: how fast they come, and what each costs the server and the kernel.
//!
//! The generator keeps four bytes per connection, its descriptor, and epoll entries only for those in flight.

mod broadcast;
mod open;
mod touch;

use crate::account::wait_quiet;
use crate::cli::FloodArgs;
use crate::footprint::{Before, Memory};
use crate::limits;
use crate::load::{Faults, Sources, Target};
use crate::progress::Progress;
use crate::wire::{Decoder, Transport};
use anyhow::{Context, Result, bail};
use broadcast::Broadcast;
use mio::{Events, Poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use serde::Serialize;
use socket2::Socket;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

const DESCRIPTORS_BESIDE: u64 = 64;
const POLL_PATIENCE: Duration = Duration::from_millis(100);

/// What connections do once they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nothing, as clients of an echo server.
    Echo,
    /// They subscribe.
    Subscribe(Transport),
}

impl FromStr for Manner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "echo" {
            return Ok(Manner::Echo);
        }
        let transport = <Transport as clap::ValueEnum>::from_str(text, false);
        transport.map(Manner::Subscribe).map_err(|_| "give echo, chunked, stream, ndjson, sse, poll or ws".to_owned())
    }
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Manner::Echo => f.write_str("echo"),
            Manner::Subscribe(transport) => transport.fmt(f),
        }
    }
}

/// What a flood has found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FloodOutcome {
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    pub(crate) connections_per_second: f64,
    pub(crate) idle: Memory,
    /// Still open after the hold.
    pub(crate) alive: usize,
    /// With `--touch`: connections that echoed, and memory after that.
    pub(crate) echoed: usize,
    pub(crate) touched: Option<Memory>,
    /// With `--publish`: one message to each subscriber, and memory after that.
    pub(crate) broadcast: Option<Broadcast>,
    pub(crate) errors: Faults,
}

impl FloodOutcome {
    /// Whether nothing came that had not been sent, and every subscriber got its message.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors.mismatch == 0
            && self.broadcast.as_ref().is_none_or(|broadcast| broadcast.received == self.connections)
    }
}

struct Flood<'a> {
    args: &'a FloodArgs,
    poll: Poll,
    sources: Sources,
    /// Connections that stand, in the order of their ids. Sockets are four bytes each.
    held: Vec<Socket>,
    /// How the first subscriber was let in: the streams of the others go on in the same manner.
    opening: Option<Decoder>,
    errors: Faults,
    last_error: Option<std::io::Error>,
}

/// Opens, holds, optionally touches or publishes, and closes. Blocks for all of that.
///
/// # Errors
/// If a limit or the ports do not suffice, or the server takes no more connections.
pub(crate) fn run(args: &FloodArgs, progress: &Progress) -> Result<FloodOutcome> {
    if args.subscribe.publish.is_some() && args.subscribe.transport == Manner::Echo {
        bail!("--publish: nobody listens on a connection that echoes; give --transport sse or another");
    }
    if args.touch && args.subscribe.transport != Manner::Echo {
        bail!("--touch: a subscriber has nothing to say; give --publish ADDR instead");
    }
    limits::require_descriptors("--connections", u64::from(args.connections), DESCRIPTORS_BESIDE)?;
    let sources = Sources::enough(&args.target, args.connections, args.sources)?;
    args.target.probe()?;
    // The probe's own close is worked off before the server is looked at.
    if let Some(pid) = args.server_pid {
        wait_quiet(pid, POLL_PATIENCE * 5)?;
    }
    let before = Before::look(args.server_pid)?;
    let mut flood = Flood {
        args,
        poll: Poll::new().context("epoll instance")?,
        sources,
        held: Vec::new(),
        opening: None,
        errors: Faults::default(),
        last_error: None,
    };
    let begun = Instant::now();
    progress.note("connecting");
    flood.open_all(progress)?;
    let seconds = begun.elapsed().as_secs_f64();
    let count = flood.held.len();
    let idle = before.grown(args.server_pid, count)?;
    progress.note("holding");
    std::thread::sleep(args.hold);
    let alive = flood.held.iter().filter(|socket| is_alive(socket)).count();
    let (mut echoed, mut touched) = (0, None);
    if args.touch {
        progress.note("touching");
        echoed = flood.touch_all()?;
        touched = Some(before.grown(args.server_pid, count)?);
    }
    let broadcast = match &args.subscribe.publish {
        Some(control) => {
            progress.note("publishing");
            Some(flood.broadcast(control, &before)?)
        }
        None => None,
    };
    flood.close_all();
    Ok(FloodOutcome {
        target: args.target.to_string(),
        connections: count,
        seconds,
        connections_per_second: crate::load::count(count as u64) / seconds,
        idle,
        alive,
        echoed,
        touched,
        broadcast,
        errors: flood.errors,
    })
}

impl Flood<'_> {
    /// By reset: a million ports in TIME_WAIT would spoil the next run.
    fn close_all(&mut self) {
        for socket in self.held.drain(..) {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

fn poll(poll: &mut Poll, events: &mut Events) -> Result<()> {
    match poll.poll(events, Some(POLL_PATIENCE)) {
        Err(error) if error.kind() != std::io::ErrorKind::Interrupted => Err(error).context("epoll_wait"),
        _ => Ok(()),
    }
}

/// Whether the server has not closed this connection.
fn is_alive(socket: &Socket) -> bool {
    let peeked = recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    match peeked {
        Ok((_, count)) => count > 0,
        Err(error) => error == Errno::AGAIN,
    }
}

impl FloodArgs {
    /// A flood with the defaults of the command line.
    pub(crate) fn of(target: Target, connections: u32, server_pid: u32) -> Self {
        FloodArgs {
            target,
            connections,
            sources: None,
            in_flight: 512,
            hold: Duration::ZERO,
            timeout: Duration::from_secs(15),
            touch: false,
            size: 64,
            frame: crate::load::Frame::Line,
            subscribe: crate::cli::SubscribeArgs {
                transport: Manner::Echo,
                path_id_from: 1,
                publish: None,
                via: crate::publish::Via::Batch,
                settle: Duration::ZERO,
            },
            server_pid: Some(server_pid),
            output: crate::cli::OutputArgs { json: false, quiet: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manner_is_echo_or_a_transport_and_nonsense_names_the_choice() {
        for text in ["echo", "chunked", "stream", "ndjson", "sse", "poll", "ws"] {
            assert_eq!(text.parse::<Manner>().unwrap().to_string(), text);
        }
        assert!("smoke".parse::<Manner>().unwrap_err().contains("ndjson"));
    }
}
