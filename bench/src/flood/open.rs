//! Connections made, some at a time, until all stand.

use super::{Flood, Manner, poll};
use crate::load::Fault;
use crate::progress::Progress;
use crate::wire::Decoder;
use anyhow::{Result, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

/// Connects that may fail one after the other before the flood gives up.
const FAILURES_IN_A_ROW_MAX: u32 = 1000;
/// What a server says to let a subscriber in.
const GREETING_BYTES: usize = 4096;

/// A connection on its way.
struct Flying {
    socket: Socket,
    /// Of its id among all.
    index: usize,
    /// Set once a subscriber has asked.
    decoder: Option<Decoder>,
}

/// What an event has brought a connection.
enum Step {
    Wait,
    Stands,
}

impl Flood<'_> {
    pub(super) fn open_all(&mut self, progress: &Progress) -> Result<()> {
        let wanted = self.args.connections as usize;
        let mut flying: Vec<Option<Flying>> = (0..self.args.in_flight.max(1)).map(|_| None).collect();
        let mut free: Vec<usize> = (0..flying.len()).collect();
        let mut held: Vec<Option<Socket>> = (0..wanted).map(|_| None).collect();
        // The least is taken first, so that connections come in the order of their ids.
        let mut indices: Vec<usize> = (0..wanted).rev().collect();
        let mut events = Events::with_capacity(1024);
        let (mut moved, mut failures, mut have) = (Instant::now(), 0, 0);
        while have < wanted {
            while let Some(place) = free.pop() {
                let Some(index) = indices.pop() else {
                    free.push(place);
                    break;
                };
                match self.begin(place) {
                    Ok(socket) => {
                        failures = 0;
                        flying[place] = Some(Flying { socket, index, decoder: None });
                    }
                    Err(error) => {
                        free.push(place);
                        indices.push(index);
                        failures += 1;
                        self.failed(error, failures, have)?;
                        break;
                    }
                }
            }
            poll(&mut self.poll, &mut events)?;
            for event in &events {
                let place = event.token().0;
                let Some(mut flight) = flying[place].take() else { continue };
                match self.step(&mut flight)? {
                    Ok(Step::Wait) => {
                        flying[place] = Some(flight);
                        continue;
                    }
                    Ok(Step::Stands) => {
                        let _ = self.poll.registry().deregister(&mut SourceFd(&flight.socket.as_raw_fd()));
                        moved = Instant::now();
                        held[flight.index] = Some(flight.socket);
                        have += 1;
                        progress.advance(1);
                    }
                    Err(error) => {
                        failures += 1;
                        indices.push(flight.index);
                        self.failed(error, failures, have)?;
                    }
                }
                free.push(place);
            }
            if moved.elapsed() > self.args.timeout {
                bail!("{}", self.stalled(have));
            }
        }
        self.held = held.into_iter().flatten().collect();
        Ok(())
    }

    fn begin(&mut self, place: usize) -> io::Result<Socket> {
        let socket = self.args.target.connect(self.sources.advance())?;
        let interest = match self.args.subscribe.transport {
            Manner::Echo => Interest::WRITABLE,
            Manner::Subscribe(_) => Interest::WRITABLE | Interest::READABLE,
        };
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(place), interest)?;
        Ok(socket)
    }

    /// Goes on with a connection that has had an event. The outer error ends the flood.
    fn step(&mut self, flight: &mut Flying) -> Result<io::Result<Step>> {
        let transport = match self.args.subscribe.transport {
            Manner::Echo => return Ok(connected(&flight.socket).map(|()| Step::Stands)),
            Manner::Subscribe(transport) => transport,
        };
        let id = self.id_at(flight.index);
        let decoder = match &mut flight.decoder {
            Some(decoder) => decoder,
            None => {
                if let Err(error) = connected(&flight.socket).and_then(|()| ask(&flight.socket, &transport.request(id)))
                {
                    return Ok(Err(error));
                }
                flight.decoder.insert(Decoder::new(transport))
            }
        };
        let mut buffer = [0; GREETING_BYTES];
        loop {
            let count = match recv(&flight.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, 0)) => return Ok(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok((_, count)) => count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Ok(Err(error.into())),
            };
            if let Err(broken) = decoder.push(&buffer[..count], |_| {}) {
                bail!("--transport {transport}: the server does not let id {id} in: {broken}");
            }
        }
        if !decoder.is_ready() || !decoder.is_at_boundary() {
            return Ok(Ok(Step::Wait));
        }
        if let Some(request) = decoder.next_poll(id)
            && let Err(error) = ask(&flight.socket, &request)
        {
            return Ok(Err(error));
        }
        if self.opening.is_none() {
            self.opening = flight.decoder.take();
        }
        Ok(Ok(Step::Stands))
    }

    /// The id of a subscriber by its place in the order.
    pub(super) fn id_at(&self, index: usize) -> u32 {
        self.args.subscribe.path_id_from.saturating_add(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Counts a connect that failed; too many in a row, or one that names a limit, end the flood.
    fn failed(&mut self, error: io::Error, in_a_row: u32, have: usize) -> Result<()> {
        self.errors.add(Fault::of_connect(&error));
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
                bail!("{}", self.stalled(have))
            }
            _ => {
                self.last_error = Some(error);
                Ok(())
            }
        }
    }

    fn stalled(&self, have: usize) -> String {
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
}

fn connected(socket: &Socket) -> io::Result<()> {
    socket.take_error()?.map_or(Ok(()), Err)
}

/// A request fits an empty send buffer.
fn ask(socket: &Socket, request: &str) -> io::Result<()> {
    match send(socket, request.as_bytes(), SendFlags::NOSIGNAL) {
        Ok(taken) if taken == request.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) => Err(error.into()),
    }
}
