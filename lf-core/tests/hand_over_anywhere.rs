//! A handler that has nothing but its arguments can say that it blocks.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use lf_core::codec::Line;
use lf_core::{Context, Count, Handler, Outcome, Peer, Server};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};

struct Gate {
    open: parking_lot::Mutex<Receiver<()>>,
}

fn deep_inside(gate: &Gate) {
    lf_core::hand_over();
    // Nothing is left to hand over the second time.
    lf_core::hand_over();
    gate.open.lock().recv().unwrap();
}

impl Handler<Line> for Gate {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, Line, ()>, frame: &[u8]) -> Outcome {
        if frame == b"block" {
            deep_inside(self);
        }
        Ok(cx.send(frame)?)
    }
}

fn ask(stream: &mut TcpStream, line: &str) {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn answer(stream: &TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn another_worker_serves_at_once_while_the_one_that_said_so_blocks() {
    let (release, open): (Sender<()>, _) = channel();
    let gate = Gate { open: parking_lot::Mutex::new(open) };
    // A tick so long that the monitor does not come into it.
    let server = Server::builder()
        .groups(1)
        .tick(std::time::Duration::from_secs(1))
        .listen("127.0.0.1:0".parse().unwrap(), Line::default(), gate)
        .build()
        .unwrap();
    let lf_core::Address::Tcp(address) = server.addresses()[0].clone() else { panic!("TCP") };
    let running = server.start().unwrap();
    let (mut blocked, mut quick) = (TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap());
    ask(&mut quick, "first");
    assert_eq!(answer(&quick), "first\n");
    ask(&mut blocked, "block");
    while running.stats().count(Count::HandOvers) == 0 {
        std::thread::yield_now();
    }
    ask(&mut quick, "second");
    assert_eq!(answer(&quick), "second\n");
    release.send(()).unwrap();
    assert_eq!(answer(&blocked), "block\n");
    assert_eq!(running.stats().count(Count::HandOvers), 1);
    assert_eq!(running.stats().count(Count::Depositions), 0);
}
