//! Subscribers whose network is gone, so that nothing comes from them any more, not even an end.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::ears::{Ear, Kind};
use common::process::{Process, is_installed, quiet, skip};
use common::wire::Wire;
use common::{Program, comes_true, until};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

/// The networks are seen by nobody else, so that addresses and names are free.
const SERVER: &str = "10.0.0.1";
const PEER: &str = "10.0.0.2";
/// How long the holder of a network may take to say that it is there.
const READY: Duration = Duration::from_secs(5);

/// A network of our own. It is gone with the process that holds it, which reads from us and so ends with us.
struct Network {
    holder: Process,
}

impl Network {
    fn new() -> Option<Self> {
        let mut command = quiet(Command::new("unshare"));
        command.args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"]);
        let holder = Process::spawn(command);
        if comes_true(READY, || holder.lines() == ["ready"]) {
            return Some(Self { holder });
        }
        skip(&format!("no network of our own can be made, which takes root: {}", holder.errors()));
        None
    }

    /// Runs something on a thread that is in this network; sockets and processes that it makes stay there.
    fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                run()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn ip(&self, arguments: &str) {
        let output = self.inside(|| Command::new("ip").args(arguments.split(' ')).output().unwrap());
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A network for the server and one for its subscribers, and a cable between them.
fn cabled() -> Option<[Network; 2]> {
    if !is_installed("ip") || !is_installed("unshare") {
        return None;
    }
    let (server, peers) = (Network::new()?, Network::new()?);
    server.ip(&format!("link add cable type veth peer name cable netns {}", peers.holder.id()));
    for (network, address) in [(&server, SERVER), (&peers, PEER)] {
        network.ip(&format!("address add {address}/24 dev cable"));
        network.ip("link set cable up");
    }
    Some([server, peers])
}

/// Pulls the cable out at the end of the subscribers.
fn pull(peers: &Network) {
    peers.ip("link set cable down");
}

fn start(options: &[&str]) -> Program {
    let listen = format!("{SERVER}:0");
    Program::start(&[&["--listen", &listen], options].concat())
}

fn closed(program: &Program, reason: &str) -> u64 {
    program.metric(&format!("lf_closed_total{{reason=\"{reason}\"}}"))
}

/// Connections that the kernel has given up.
fn given_up(program: &Program) -> u64 {
    closed(program, "system")
}

fn open(to: SocketAddr, kinds: &[Kind], id: &str) -> Vec<Ear> {
    let one = |kind: &Kind| {
        let mut ear = Ear::open(to, *kind, id, None);
        if *kind == Kind::Poll {
            ear.ask_poll();
        }
        ear
    };
    kinds.iter().map(one).collect()
}

/// Nobody is logged in as `id`, and nothing of it is left.
fn is_forgotten(program: &Program, id: &str) {
    program.await_connected(id, 0);
    assert_eq!(program.counter("logins") - program.counter("logouts"), program.connected(None) as u64);
    assert_eq!(program.send(id, "nobody"), 0);
}

#[test]
fn heartbeats_find_those_who_have_vanished_and_nobody_else() {
    const BEATEN: [Kind; 6] =
        [Kind::Ndjson, Kind::NdjsonPlain, Kind::Events, Kind::EventsPlain, Kind::Socket, Kind::SocketJson];
    let Some([server, peers]) = cabled() else { return };
    server.inside(|| {
        let program = start(&["--heartbeat", "1s", "--user-timeout", "2s"]);
        let mut here = open(program.public(), &BEATEN[..4], "here");
        let ears = peers.inside(|| open(program.public(), &BEATEN, "there"));
        program.await_connected("there", BEATEN.len());
        pull(&peers);
        is_forgotten(&program, "there");
        until("their descriptors are closed", || program.metric("lf_connections") == here.len() as u64);
        // Sockets answer to pings; of the others, the kernel finds out that nobody takes in what they were sent.
        let silent = program.counter("silent_disconnects");
        assert_eq!((silent, closed(&program, "requested")), (2, 2));
        assert_eq!(given_up(&program), 4);
        program.send("here", "still here");
        here.iter_mut().for_each(|ear| assert_eq!(ear.text(), "still here", "{:?}", ear.kind));
        drop(ears);
        program.end();
    });
}

#[test]
fn what_is_sent_finds_those_who_have_vanished_and_get_no_heartbeats() {
    let Some([server, peers]) = cabled() else { return };
    server.inside(|| {
        let program = start(&["--heartbeat", "0s", "--user-timeout", "2s"]);
        let ears = peers.inside(|| open(program.public(), &Kind::ALL, "there"));
        program.await_connected("there", Kind::ALL.len());
        pull(&peers);
        assert_eq!(program.send("there", "into the dark"), Kind::ALL.len() as u64);
        is_forgotten(&program, "there");
        until("their descriptors are closed", || program.metric("lf_connections") == 0);
        assert_eq!(given_up(&program), Kind::ALL.len() as u64);
        drop(ears);
        program.end();
    });
}

#[test]
fn who_vanishes_while_nothing_is_sent_is_found_all_the_same() {
    let Some([server, peers]) = cabled() else { return };
    server.inside(|| {
        let program = start(&["--heartbeat", "1s", "--user-timeout", "2s"]);
        let mut here = open(program.public(), &[Kind::Test, Kind::Stream], "here");
        let ears = peers.inside(|| open(program.public(), &[Kind::Test, Kind::Stream], "there"));
        program.await_connected("there", ears.len());
        pull(&peers);
        is_forgotten(&program, "there");
        assert_eq!(given_up(&program), ears.len() as u64);
        program.send("here", "still here");
        here.iter_mut().for_each(|ear| assert_eq!(ear.text(), "still here", "{:?}", ear.kind));
        drop(ears);
        program.end();
    });
}

#[test]
fn who_vanishes_before_or_after_listening_is_found_by_the_deadlines() {
    let Some([server, peers]) = cabled() else { return };
    server.inside(|| {
        let program = start(&[
            "--first-byte",
            "2s",
            "--frame-time",
            "2s",
            "--idle",
            "4s",
            "--user-timeout",
            "0s",
            "--heartbeat",
            "0s",
        ]);
        let wires = peers.inside(|| {
            let mut wires = [(); 4].map(|()| Wire::connect(program.public()));
            wires[1].say("GET /events/there HT");
            wires[2].get("/healthz");
            assert_eq!(wires[2].answer().status, 200);
            wires[3].get("/poll/there?timeout=2");
            wires
        });
        until("all are in", || program.metric("lf_connections") == wires.len() as u64);
        program.await_connected("there", 1);
        pull(&peers);
        is_forgotten(&program, "there");
        until("all are closed", || program.metric("lf_connections") == 0);
        assert_eq!((closed(&program, "first_byte_timeout"), closed(&program, "frame_timeout")), (1, 1));
        // The answer to the poll, and the end of it, have gone into the dark.
        assert_eq!(closed(&program, "idle_timeout"), 2);
        drop(wires);
        program.end();
    });
}
