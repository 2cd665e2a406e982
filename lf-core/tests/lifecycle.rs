//! Servers as parts of a program: several of them, started and stopped again and again, leaving nothing behind.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Echo, Host, Mode, any_port, in_every_mode, open_descriptors, threads, until};
use lf_core::codec::Line;
use lf_core::{Address, SendError, Server};

fn start(mode: Mode) -> Host {
    let builder = mode.builder().groups(2).admin(any_port());
    Host::start(builder.listen(any_port(), Line::default(), common::lines(common::echo_line)))
}

#[test]
fn two_servers_in_one_process_know_nothing_of_each_other() {
    in_every_mode(|mode| {
        let (one, two) = (start(mode), start(mode));
        let (mut of_one, mut of_two) = (one.connect(), two.connect());
        let (token, _) = (of_one.token(), of_two.token());
        of_two.exchange(b"x\n", b"x\n");
        assert_eq!((one.stats().connections(), two.stats().connections()), (1, 1));
        one.running.remote().send(token, *b"for one").unwrap();
        of_one.expect(b"for one");
        let remote = one.running.remote();
        assert_eq!(one.running.stop().cut, 1);
        assert_eq!(remote.send(token, *b"x"), Err(SendError::Gone));
        of_two.exchange(b"still here\n", b"still here\n");
        two.assert_serves_lines();
    });
}

#[test]
fn starting_and_stopping_fifty_times_leaves_no_descriptor_and_no_thread() {
    in_every_mode(|mode| {
        let end = |round: usize, host: Host| match round % 3 {
            0 => assert_eq!(host.running.drain().threads_left, 0),
            1 => assert_eq!(host.running.stop().threads_left, 0),
            _ => drop(host),
        };
        end(0, start(mode));
        let before = (open_descriptors(), threads());
        for round in 0..50 {
            let host = start(mode);
            let mut client = host.connect();
            client.exchange(b"x\n", b"x\n");
            end(round, host);
        }
        until("all is as it was before", || (open_descriptors(), threads()) == before);
    });
}

#[test]
fn a_server_that_was_built_but_not_started_gives_its_port_back() {
    in_every_mode(|mode| {
        let before = open_descriptors();
        let built = mode.builder().listen(any_port(), Line::default(), Echo).build().unwrap();
        let address = built.addresses()[0].clone();
        drop(built);
        assert_eq!(open_descriptors(), before);
        let host = Host::start(mode.builder().listen(address, Line::default(), Echo));
        host.assert_serves_lines();
    });
}

#[test]
fn connections_made_before_the_start_are_served_after_it() {
    in_every_mode(|mode| {
        let built = mode.builder().listen(any_port(), Line::default(), Echo).build().unwrap();
        let mut early = Client::connect(&built.addresses()[0]);
        early.send(b"early\n");
        let _running = built.start().unwrap();
        early.expect(b"early\n");
    });
}

#[test]
fn a_failed_build_leaves_nothing_open() {
    let before = open_descriptors();
    let one = Server::builder().listen(any_port(), Line::default(), Echo).build().unwrap();
    let taken = one.addresses()[0].clone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let builder = Server::builder().listen(Address::Unix(path.clone()), Line::default(), Echo);
    assert!(builder.listen(taken, Line::default(), Echo).build().is_err());
    assert!(!path.exists());
    drop(one);
    assert_eq!(open_descriptors(), before);
}
