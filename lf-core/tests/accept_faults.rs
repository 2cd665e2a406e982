//! Trouble while accepting: the listener pauses and resumes, nobody who is connected notices, and nothing spins.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Host, echo_line, in_every_mode, lines};
use lf_core::Count;
use lf_core::codec::Line;
use lf_core::fault::{Fault, Site, inject, pending};
use std::time::{Duration, Instant};

fn say(client: &mut Client, line: &str) {
    client.send(format!("{line}\n").as_bytes());
    assert_eq!(client.line(), line);
}

fn assert_pauses_for(host: &Host, code: i32) {
    const TIMES: usize = 3;
    let before = host.count(Count::AcceptPauses);
    let mut old = host.connect();
    say(&mut old, "before");
    let began = Instant::now();
    inject(Site::Accept, [Fault::Errno(code); TIMES]);
    let mut new = host.connect();
    new.send(b"let me in\n");
    while pending(Site::Accept) > 0 {
        say(&mut old, "connected ones go on");
    }
    assert_eq!(new.line(), "let me in");
    let pauses = host.count(Count::AcceptPauses) - before;
    assert_eq!(pauses, TIMES as u64);
    // A spin would meet all the faults at once.
    assert!(began.elapsed() >= Duration::from_millis(50 * pauses), "{pauses} in {:?}", began.elapsed());
    say(&mut host.connect(), "and the next one, too");
}

#[test]
fn want_of_descriptors_or_memory_pauses_the_listener_and_resumes() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            println!("errno {code}");
            assert_pauses_for(&host, code);
        }
    });
}

#[test]
fn a_peer_that_left_while_it_waited_is_passed_over_without_a_pause() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        let codes = [
            libc::ECONNABORTED,
            libc::EPROTO,
            libc::EINTR,
            libc::ENETDOWN,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
            libc::EPERM,
        ];
        inject(Site::Accept, codes.map(Fault::Errno));
        say(&mut host.connect(), "let me in");
        assert_eq!(pending(Site::Accept), 0);
        assert_eq!(host.count(Count::AcceptPauses), 0);
        assert_eq!(host.count(Count::Accepted), 1);
    });
}

#[test]
fn a_listener_that_cannot_be_registered_again_at_once_is_later() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        inject(Site::EpollAdd, [Fault::Errno(libc::ENOMEM); 2]);
        inject(Site::Accept, [Fault::Errno(libc::EMFILE)]);
        say(&mut host.connect(), "let me in");
        assert_eq!((pending(Site::Accept), pending(Site::EpollAdd)), (0, 0));
        assert_eq!(host.count(Count::AcceptPauses), 1);
    });
}

#[test]
fn a_server_that_rests_can_be_stopped() {
    in_every_mode(|mode| {
        let host = mode.serve(Line::default(), lines(echo_line));
        inject(Site::Accept, [Fault::Errno(libc::EMFILE)]);
        let _waits = host.connect();
        host.until_count(Count::AcceptPauses, 1);
        assert_eq!(host.running.stop().threads_left, 0);
    });
}
