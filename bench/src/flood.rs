//! Idle connections in numbers: how fast they come, and what each costs the server and the kernel.
//!
//! The generator keeps four bytes per connection, its descriptor, and epoll entries only for those in flight.

use crate::account::{Account, slab_bytes, wait_quiet};
use crate::cli::FloodArgs;
use crate::limits;
use crate::load::{Ask, Fault, Faults, PORTS_PER_SOURCE, Payload, SOURCES_MAX, Sources, Target};
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::Serialize;
use socket2::Socket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const DESCRIPTORS_BESIDE: u64 = 64;
const POLL_PATIENCE: Duration = Duration::from_millis(100);
/// How long a server may work on after the last connection before its memory is read.
const QUIET_PATIENCE: Duration = Duration::from_secs(30);
/// Connects that may fail one after the other before the flood gives up.
const FAILURES_IN_A_ROW_MAX: u32 = 1000;

/// Memory beyond what it was before the flood.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// Of the server process; 0 without `--server-pid`.
    pub(crate) rss_bytes: u64,
    pub(crate) rss_bytes_per_connection: f64,
    /// Of the whole machine. On loopback both ends of a connection are in it.
    pub(crate) slab_bytes: i64,
    pub(crate) slab_bytes_per_connection: f64,
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
    pub(crate) errors: Faults,
}

/// Memory before the flood.
struct Before {
    rss_bytes: u64,
    slab_bytes: u64,
}

impl Before {
    fn look(pid: Option<u32>) -> Result<Self> {
        let rss_bytes = pid.map(Account::of).transpose()?.map_or(0, |account| account.rss_bytes());
        Ok(Before { rss_bytes, slab_bytes: slab_bytes() })
    }

    fn grown(&self, pid: Option<u32>, connections: usize) -> Result<Memory> {
        if let Some(pid) = pid {
            wait_quiet(pid, QUIET_PATIENCE)?;
        }
        let now = Before::look(pid)?;
        let slab = now.slab_bytes.cast_signed() - self.slab_bytes.cast_signed();
        let rss = now.rss_bytes.saturating_sub(self.rss_bytes);
        let each = float(connections.max(1).try_into()?);
        Ok(Memory {
            rss_bytes: now.rss_bytes,
            rss_bytes_per_connection: float(rss.cast_signed()) / each,
            slab_bytes: slab,
            slab_bytes_per_connection: float(slab) / each,
        })
    }
}

struct Flood<'a> {
    args: &'a FloodArgs,
    poll: Poll,
    sources: Sources,
    /// Connections that stand. Sockets are four bytes each.
    held: Vec<Socket>,
    errors: Faults,
    last_error: Option<std::io::Error>,
}

/// Opens, holds, optionally touches, and closes. Blocks for all of that.
///
/// # Errors
/// If a limit or the ports do not suffice, or the server takes no more connections.
pub(crate) fn run(args: &FloodArgs, progress: &Progress) -> Result<FloodOutcome> {
    limits::require_descriptors("--connections", u64::from(args.connections), DESCRIPTORS_BESIDE)?;
    let sources = sources_of(args)?;
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
        held: Vec::with_capacity(args.connections as usize),
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
    flood.close_all();
    Ok(FloodOutcome {
        target: args.target.to_string(),
        connections: count,
        seconds,
        connections_per_second: float(count.try_into()?) / seconds,
        idle,
        alive,
        echoed,
        touched,
        errors: flood.errors,
    })
}

/// As many source addresses as the connections need, or what was asked for if that suffices.
fn sources_of(args: &FloodArgs) -> Result<Sources> {
    let needed = args.connections.div_ceil(PORTS_PER_SOURCE);
    let count = match args.sources {
        Some(0) => 0,
        Some(count) if count < needed => bail!(
            "--sources {count}: {count} addresses have {} ports of {PORTS_PER_SOURCE} each; --connections {} need --sources {needed}",
            count * PORTS_PER_SOURCE,
            args.connections
        ),
        Some(count) => count,
        None if needed <= SOURCES_MAX && Sources::new(&args.target, needed).is_ok() => needed,
        None => 0,
    };
    Sources::new(&args.target, count)
}

impl Flood<'_> {
    fn open_all(&mut self, progress: &Progress) -> Result<()> {
        let wanted = self.args.connections as usize;
        let mut flying: Vec<Option<Socket>> = (0..self.args.in_flight.max(1)).map(|_| None).collect();
        let mut free: Vec<usize> = (0..flying.len()).collect();
        let mut events = Events::with_capacity(1024);
        let (mut moved, mut failures) = (Instant::now(), 0);
        while self.held.len() < wanted {
            while self.held.len() + flying.len() - free.len() < wanted
                && let Some(place) = free.pop()
            {
                match self.begin(place) {
                    Ok(socket) => {
                        failures = 0;
                        flying[place] = Some(socket);
                    }
                    Err(error) => {
                        free.push(place);
                        failures += 1;
                        self.failed(error, failures)?;
                    }
                }
            }
            poll(&mut self.poll, &mut events)?;
            for event in &events {
                let place = event.token().0;
                let Some(socket) = flying[place].take() else { continue };
                free.push(place);
                let _ = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
                match socket.take_error() {
                    Ok(None) => {
                        moved = Instant::now();
                        self.held.push(socket);
                        progress.advance(1);
                    }
                    Ok(Some(error)) | Err(error) => {
                        failures += 1;
                        self.failed(error, failures)?;
                    }
                }
            }
            if moved.elapsed() > self.args.timeout {
                bail!("{}", self.stalled());
            }
        }
        Ok(())
    }

    fn begin(&mut self, place: usize) -> std::io::Result<Socket> {
        let socket = self.args.target.connect(self.sources.advance())?;
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(place), Interest::WRITABLE)?;
        Ok(socket)
    }

    /// Counts a connect that failed; too many in a row, or one that names a limit, end the flood.
    fn failed(&mut self, error: std::io::Error, in_a_row: u32) -> Result<()> {
        self.errors.add(Fault::of_connect(&error));
        let have = self.held.len();
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE) => bail!(
                "--connections {}: RLIMIT_NOFILE is reached at {have}; raise the hard limit (ulimit -Hn) or ask for fewer",
                self.args.connections
            ),
            Some(Errno::NFILE) => bail!(
                "--connections {}: the machine's file limit is reached at {have}; raise sysctl fs.file-max",
                self.args.connections
            ),
            _ if in_a_row >= FAILURES_IN_A_ROW_MAX => {
                self.last_error = Some(error);
                bail!("{}", self.stalled())
            }
            _ => {
                self.last_error = Some(error);
                Ok(())
            }
        }
    }

    fn stalled(&self) -> String {
        let have = self.held.len();
        let asked = self.args.connections;
        let last = self.last_error.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        if self.errors.ports > 0 {
            return format!(
                "--connections {asked}: the local ports of the source addresses run out at {have} ({last}); \
                 give more --sources, or wait a minute for TIME_WAIT to pass"
            );
        }
        format!(
            "--connections {asked}: no progress at {have}; errors: {}; the last: {last}; \
             look at the server's limits: descriptors, its greatest number of connections, backlog",
            self.errors.describe()
        )
    }

    /// One message on each connection, as many at a time as connects were; counts right answers.
    fn touch_all(&mut self) -> Result<usize> {
        let mut payload = Payload::new(self.args.frame, self.args.size, Ask::Nothing)?;
        let mut echoed = 0;
        let mut first = 0;
        while first < self.held.len() {
            let end = (first + self.args.in_flight.max(1)).min(self.held.len());
            echoed += self.touch(first, end, &mut payload)?;
            first = end;
        }
        Ok(echoed)
    }

    fn touch(&mut self, first: usize, end: usize, payload: &mut Payload) -> Result<usize> {
        let (registry, held) = (self.poll.registry().try_clone()?, &self.held);
        let mut expected = 0;
        let mut received: Vec<Vec<u8>> = vec![Vec::new(); end - first];
        for (index, socket) in held.iter().enumerate().take(end).skip(first) {
            match send(socket, payload.stamped(index as u64), SendFlags::NOSIGNAL) {
                Ok(taken) if taken == payload.len() => {
                    registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(index), Interest::READABLE)?;
                    expected += 1;
                }
                // A buffer that is empty and yet too small for one message.
                Ok(_) | Err(Errno::AGAIN) => self.errors.add(Fault::Io),
                Err(error) => self.errors.add(Fault::of_stream(error)),
            }
        }
        let (mut done, mut echoed) = (0, 0);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; payload.len() + 1];
        let mut moved = Instant::now();
        while done < expected && moved.elapsed() < self.args.timeout {
            poll(&mut self.poll, &mut events)?;
            for event in &events {
                let index = event.token().0;
                let so_far = &mut received[index - first];
                moved = Instant::now();
                match read_answer(&held[index], payload.stamped(index as u64), so_far, &mut buffer) {
                    None => continue,
                    Some(Ok(())) => echoed += 1,
                    Some(Err(fault)) => self.errors.add(fault),
                }
                done += 1;
                let _ = registry.deregister(&mut SourceFd(&held[index].as_raw_fd()));
            }
        }
        for _ in done..expected {
            self.errors.add(Fault::Timeout);
        }
        Ok(echoed)
    }

    /// By reset: a million ports in TIME_WAIT would spoil the next run.
    fn close_all(&mut self) {
        for socket in self.held.drain(..) {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

/// Reads what is there; `None` while the answer is not complete.
fn read_answer(socket: &Socket, expected: &[u8], so_far: &mut Vec<u8>, buffer: &mut [u8]) -> Option<Result<(), Fault>> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return Some(Err(Fault::Closed)),
            Ok((_, count)) => so_far.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN) => return None,
            Err(Errno::INTR) => continue,
            Err(error) => return Some(Err(Fault::of_stream(error))),
        }
        if so_far.len() >= expected.len() {
            return Some(if so_far == expected { Ok(()) } else { Err(Fault::Mismatch) });
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

#[expect(clippy::cast_precision_loss, reason = "bytes of one machine's memory are far below 2^53")]
fn float(number: i64) -> f64 {
    number as f64
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
            server_pid: Some(server_pid),
            output: crate::cli::OutputArgs { json: false, quiet: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(connections: u32, sources: Option<u32>) -> FloodArgs {
        FloodArgs { sources, ..FloodArgs::of("127.0.0.1:1".parse().unwrap(), connections, 1) }
    }

    #[test]
    fn a_million_connections_take_twenty_addresses_unless_told_otherwise() {
        assert_eq!(sources_of(&args(1_000_000, None)).unwrap().capacity(), Some(1_000_000));
        assert_eq!(sources_of(&args(1_000_000, Some(0))).unwrap().capacity(), None);
    }

    #[test]
    fn too_few_addresses_name_how_many_are_needed() {
        let error = sources_of(&args(120_000, Some(2))).unwrap_err().to_string();
        assert!(error.contains("--sources 2") && error.contains("--sources 3"), "{error}");
    }
}
