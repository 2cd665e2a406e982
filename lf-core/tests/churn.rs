//! Connections that come and go by the hundred thousand while other threads send to the living and to the dead: not one
//! byte may reach anybody but whom it was meant for.
//!
//! `LF_CHURN` says how many connections there are in all; the gate runs a million.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Host, Mode, Stop, open_descriptors, until};
use lf_core::codec::Raw;
use lf_core::{CloseReason, Context, Count, Handler, Outcome, Peer, Promotion, Refusal, Remote, Token, Trigger};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CLIENT_THREADS: usize = 4;
const SENDER_THREADS: usize = 2;
/// Names of connections that the senders know, most of them dead.
const KNOWN: usize = 4096;

/// Who a connection said it was, by its token.
struct Register {
    known: Mutex<Vec<(Token, u64)>>,
    next: AtomicUsize,
}

impl Register {
    fn note(&self, token: Token, id: u64) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % KNOWN;
        let mut known = self.known.lock().unwrap();
        if at < known.len() { known[at] = (token, id) } else { known.push((token, id)) }
    }

    fn pick(&self, random: u64) -> Option<(Token, u64)> {
        let known = self.known.lock().unwrap();
        // Half of the time one of the latest, which is likely to be alive.
        let latest = self.next.load(Ordering::Relaxed);
        let back = usize::try_from(random % if random & 1 << 40 == 0 { 8 } else { KNOWN as u64 }).unwrap();
        let at = latest.checked_sub(1 + back)? % KNOWN;
        known.get(at).copied()
    }
}

/// A connection says its number once; it is sent back, and from then on it may be sent to.
struct Numbered {
    register: Arc<Register>,
}

impl Handler<Raw> for Numbered {
    type State = Vec<u8>;

    fn open(&self, _peer: &Peer) -> Vec<u8> {
        Vec::new()
    }

    fn frame(&self, cx: &mut Context<'_, Raw, Vec<u8>>, bytes: &[u8]) -> Outcome {
        cx.state.extend_from_slice(bytes);
        if let Ok(id) = cx.state.as_slice().try_into().map(u64::from_le_bytes) {
            self.register.note(cx.token(), id);
            cx.send_bytes(&id.to_le_bytes());
        }
        Ok(())
    }
}

/// One short life: says its number, reads it and whatever else comes, leaves one way or another.
fn live(address: SocketAddr, id: u64, misdelivered: &AtomicU64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(common::PATIENCE))?;
    stream.set_nodelay(true)?;
    let check = |bytes: &[u8]| {
        // All that is ever sent to a connection is its own number, over and over.
        let wrong = bytes.iter().zip(id.to_le_bytes().iter().cycle()).filter(|(got, wanted)| got != wanted).count();
        misdelivered.fetch_add(wrong as u64, Ordering::Relaxed);
    };
    if id % 16 == 3 {
        // One that never speaks.
        return Ok(());
    }
    stream.write_all(&id.to_le_bytes())?;
    if id % 16 == 5 {
        // One that does not wait for its answer: what comes, meets nobody.
        return Ok(());
    }
    let mut first = [0; 8];
    stream.read_exact(&mut first)?;
    check(&first);
    if id.is_multiple_of(4) {
        // Finishes, and reads until the server does, too.
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        check(&rest);
        assert_eq!(rest.len() % 8, 0, "a message came in part");
    } else {
        stream.set_nonblocking(true)?;
        let mut buffer = [0; 8000];
        let count = stream.read(&mut buffer).unwrap_or(0);
        check(&buffer[..count]);
        // A reset leaves no port in TIME_WAIT.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

fn send_until(stop: &Stop, register: &Register, remote: &Remote, mut random: u64) {
    while !stop.is_set() {
        for _ in 0..64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if let Some((token, id)) = register.pick(random) {
                let _ = remote.send(token, id.to_le_bytes());
                if random.is_multiple_of(257) {
                    remote.close(token);
                }
            }
        }
        // The clients need the cores, too.
        std::thread::yield_now();
    }
}

fn churn(mode: Mode, connections: u64) {
    let descriptors = open_descriptors();
    let register = Arc::new(Register { known: Mutex::default(), next: AtomicUsize::new(0) });
    let handler = Numbered { register: Arc::clone(&register) };
    let host = Host::start(mode.builder().groups(2).listen(common::any_port(), Raw, handler));
    let lf_core::Address::Tcp(address) = host.address() else { panic!("it listens on TCP") };
    let (next, failed, misdelivered) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let _at_the_end = stop.at_the_end();
        for thread in 0..SENDER_THREADS as u64 {
            let (stop, register, remote) = (&stop, &register, host.running.remote());
            scope.spawn(move || send_until(stop, register, &remote, 0x9e37_79b9_7f4a_7c15 + thread));
        }
        let clients: Vec<_> = (0..CLIENT_THREADS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let id = next.fetch_add(1, Ordering::Relaxed);
                        if id >= connections {
                            return;
                        }
                        // Who was closed by the senders may see a reset.
                        if live(address, id, &misdelivered).is_err() {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    assert_eq!(misdelivered.load(Ordering::Relaxed), 0, "bytes reached somebody else");
    let failed = failed.load(Ordering::Relaxed);
    assert!(failed <= host.stats().closed(CloseReason::Requested), "{failed} were cut by nobody");
    host.until_connected(0);
    let stats = host.stats();
    assert_eq!(stats.count(Count::Accepted), connections);
    let refused: u64 = Refusal::ALL.iter().map(|why| stats.refused(*why)).sum();
    assert_eq!(stats.closed_total() + refused, connections);
    assert_eq!(stats.queued_bytes(), 0);
    assert!(stats.count(Count::DirectSends) > 0 && stats.count(Count::RefusedSends) > 0, "there was traffic");
    drop(host);
    until("all descriptors are closed", || open_descriptors() == descriptors);
}

/// A share of all connections, in one mode.
fn share() -> u64 {
    std::env::var("LF_CHURN").ok().map_or(100_000, |count| count.parse::<u64>().unwrap()) / 4
}

#[test]
fn not_one_byte_is_misdelivered_with_oneshot_and_adaptive() {
    churn(Mode { trigger: Trigger::OneShot, promotion: Promotion::Adaptive }, share());
}

#[test]
fn not_one_byte_is_misdelivered_with_oneshot_and_kernel() {
    churn(Mode { trigger: Trigger::OneShot, promotion: Promotion::Kernel }, share());
}

#[test]
fn not_one_byte_is_misdelivered_with_edge_and_adaptive() {
    churn(Mode { trigger: Trigger::Edge, promotion: Promotion::Adaptive }, share());
}

#[test]
fn not_one_byte_is_misdelivered_with_edge_and_kernel() {
    churn(Mode { trigger: Trigger::Edge, promotion: Promotion::Kernel }, share());
}
