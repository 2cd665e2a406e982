//! Where a server listens: several places at once, of every kind, each with its own codec and handler.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Echo, Host, any_port, in_every_mode, lines, until};
use lf_core::codec::{Len32, Line, Raw};
use lf_core::{Address, CloseReason, Context, Count, Error, Handler, ListenOptions, Outcome, Peer, Server, Timeouts};
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// Tells who the peer is.
struct Who;

impl Handler<Line> for Who {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, Line, ()>, _line: &[u8]) -> Outcome {
        Ok(cx.send(cx.peer().to_string().as_bytes())?)
    }
}

/// Speaks first.
struct Greeter;

impl Handler<Line> for Greeter {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn greets(&self) -> bool {
        true
    }

    fn opened(&self, cx: &mut Context<'_, Line, ()>) -> Outcome {
        Ok(cx.send(b"welcome")?)
    }

    fn frame(&self, cx: &mut Context<'_, Line, ()>, line: &[u8]) -> Outcome {
        Ok(cx.send(line)?)
    }
}

const NO_TIMEOUTS: Timeouts = Timeouts { first_byte: None, frame: None, idle: None, write_stall: None };

fn abstract_name(what: &str) -> Address {
    Address::Abstract(format!("lf-test-{what}-{}", std::process::id()))
}

#[test]
fn several_listeners_each_have_their_own_codec_and_handler() {
    in_every_mode(|mode| {
        let dir = tempfile::tempdir().unwrap();
        let path = Address::Unix(dir.path().join("socket"));
        let name = abstract_name("several");
        let builder = mode
            .builder()
            .listen(any_port(), Line::default(), Echo)
            .listen("[::1]:0".parse().unwrap(), Len32::default(), Echo)
            .listen(path.clone(), Raw, Echo)
            .listen(name.clone(), Line::default(), Greeter);
        let host = Host::start(builder);
        let addresses = host.running.addresses().to_vec();
        assert_eq!(addresses[2..], [path, name]);
        let mut clients: Vec<_> = addresses.iter().map(Client::connect).collect();
        clients[0].exchange(b"line\n", b"line\n");
        clients[1].exchange(&[0, 0, 0, 2, b'v', b'6'], &[0, 0, 0, 2, b'v', b'6']);
        clients[2].exchange(b"raw", b"raw");
        clients[3].expect(b"welcome\n");
        clients[3].exchange(b"thanks\n", b"thanks\n");
    });
}

#[test]
fn a_handler_that_greets_speaks_before_its_peer_does() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), Greeter);
        for _ in 0..50 {
            let mut client = host.connect();
            client.expect(b"welcome\n");
            client.exchange(b"x\n", b"x\n");
        }
    });
}

#[test]
fn a_handler_knows_its_peer() {
    in_every_mode(|mode| {
        let dir = tempfile::tempdir().unwrap();
        let path = Address::Unix(dir.path().join("socket"));
        let everywhere: Address = ":0".parse().unwrap();
        let builder =
            mode.builder().listen(everywhere, Line::default(), Who).listen(path.clone(), Line::default(), Who);
        let host = Host::start(builder);
        let Address::Tcp(at) = host.address() else { panic!("it listens on TCP") };
        let mut v4 = Client::connect_from("127.0.0.2", &Address::Tcp(([127, 0, 0, 1], at.port()).into()));
        v4.send(b"who?\n");
        assert!(v4.line().starts_with("127.0.0.2:"), "an IPv4 peer of an IPv6 listener is IPv4");
        let mut v6 = Client::connect(&format!("[::1]:{}", at.port()).parse().unwrap());
        v6.send(b"who?\n");
        assert!(v6.line().starts_with("[::1]:"));
        let mut unix = Client::connect(&path);
        unix.send(b"who?\n");
        assert_eq!(unix.line(), "unix");
    });
}

fn build_error(address: &Address) -> Error {
    match Server::builder().groups(1).listen(address.clone(), Line::default(), Echo).build() {
        Ok(_) => panic!("it was built"),
        Err(error) => error,
    }
}

#[test]
fn an_address_that_is_in_use_is_an_error_that_names_it() {
    in_every_mode(|mode| {
        let dir = tempfile::tempdir().unwrap();
        for address in [any_port(), Address::Unix(dir.path().join("socket")), abstract_name("in-use")] {
            let host = Host::start(mode.builder().listen(address, Line::default(), Echo));
            let error = build_error(&host.address());
            assert!(matches!(error, Error::Listen { .. }), "{error}");
            assert!(error.to_string().contains(&host.address().to_string()), "{error}");
            host.assert_serves_lines();
        }
    });
}

#[test]
fn a_socket_file_that_nobody_listens_on_is_replaced_and_other_files_are_not() {
    in_every_mode(|mode| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let host = Host::start(mode.builder().listen(Address::Unix(path.clone()), Line::default(), Echo));
        host.assert_serves_lines();
        let _ = host.running.stop();
        assert!(!path.exists(), "what the server made, it removes");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(build_error(&Address::Unix(path.clone())), Error::Listen { .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    });
}

#[test]
fn two_servers_share_a_port_when_both_want_to() {
    in_every_mode(|mode| {
        let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
        let start = |address| Host::start(mode.builder().listen_with(address, options, Line::default(), Echo));
        let one = start(any_port());
        let two = start(one.address());
        // Which of them gets a connection, the kernel says by the hash of its addresses.
        let mut clients: Vec<_> = (0..64).map(|_| one.connect()).collect();
        clients.iter_mut().for_each(|client| client.exchange(b"x\n", b"x\n"));
        let (ones, twos) = (one.count(Count::Accepted), two.count(Count::Accepted));
        assert_eq!(ones + twos, 64);
        assert!(ones > 0 && twos > 0, "{ones} and {twos}");
    });
}

#[test]
fn a_deferred_connection_is_accepted_when_its_first_bytes_are_there() {
    in_every_mode(|mode| {
        let options = ListenOptions { defer_accept: Some(Duration::from_secs(30)), ..ListenOptions::default() };
        let host = Host::start(mode.builder().listen_with(any_port(), options, Line::default(), Echo));
        let mut silent = host.connect();
        let mut speaks = host.connect();
        speaks.exchange(b"x\n", b"x\n");
        assert_eq!(host.count(Count::Accepted), 1, "the silent one came first, and is not there");
        silent.exchange(b"y\n", b"y\n");
        assert_eq!(host.count(Count::Accepted), 2);
    });
}

#[test]
fn the_user_timeout_ends_a_connection_whose_peer_takes_nothing() {
    in_every_mode(|mode| {
        let options = ListenOptions { user_timeout: Some(Duration::from_millis(200)), ..ListenOptions::default() };
        let more_than_buffers_hold = lines(|cx, _| Ok(cx.send(&[b'x'; 8 << 20])?));
        // Nothing else would end it within the patience of a test.
        let builder = mode.builder().timeouts(NO_TIMEOUTS);
        let host = Host::start(builder.listen_with(any_port(), options, Line::default(), more_than_buffers_hold));
        let mut client = Client::connect_slow(&host.address());
        client.send(b"much\n");
        host.until_closed(CloseReason::System, 1);
        host.until_connected(0);
    });
}

#[test]
fn a_listen_queue_longer_than_the_system_allows_is_no_error() {
    in_every_mode(|mode| {
        let options = ListenOptions { backlog: u32::MAX, ..ListenOptions::default() };
        let host = Host::start(mode.builder().listen_with(any_port(), options, Line::default(), Echo));
        host.assert_serves_lines();
    });
}

#[test]
fn a_socket_that_was_not_passed_is_an_error_that_says_so() {
    let error = build_error(&Address::Inherited(0)).to_string();
    assert!(error.contains("fd:0") && error.contains("LISTEN_FDS"), "{error}");
}

#[test]
fn connections_of_a_burst_all_get_in() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(common::echo_line));
        let mut clients: Vec<_> = (0..500).map(|_| host.connect()).collect();
        until("all were accepted", || host.count(Count::Accepted) == 500);
        clients.iter_mut().for_each(|client| client.exchange(b"x\n", b"x\n"));
    });
}
