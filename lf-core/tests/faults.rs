//! System calls that fail or do half of what they were asked: the bytes are right or the connection is closed for the
//! right reason, and the server goes on. Each test is a process of its own under nextest, so the plan of faults is its own.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Client, Echo, Gate, Host, Mode, echo_line, in_every_mode, lines, numbered_lines, until};
use lf_core::codec::{Len32, Line};
use lf_core::fault::{Fault, Site, inject, pending};
use lf_core::{CloseReason, Delivery, Promotion, Trigger};
use std::sync::Arc;

const EAGAIN: i32 = libc::EAGAIN;

/// An edge-triggered socket is never short and never asks to wait without an edge to follow: there, these faults would be
/// lies.
fn with_oneshot(test: impl Fn(Mode)) {
    for promotion in [Promotion::Adaptive, Promotion::Kernel] {
        let mode = Mode { trigger: Trigger::OneShot, promotion };
        println!("{mode:?}");
        test(mode);
    }
}

fn serve(mode: Mode) -> Host {
    mode.serve(Line::default(), lines(echo_line))
}

fn all_met(site: Site) {
    until(&format!("all faults of {site:?} are met"), || pending(site) == 0);
}

/// Echoes many lines while `faults` happen at `site`.
fn assert_bytes_are_right(mode: Mode, site: Site, faults: impl IntoIterator<Item = Fault>) {
    let host = serve(mode);
    let mut client = host.connect();
    client.send(b"warm\n");
    client.expect(b"warm\n");
    inject(site, faults);
    let sent = numbered_lines(3_000);
    client.exchange(&sent, &sent);
    until(&format!("all faults of {site:?} are met"), || {
        client.send(b"more\n");
        client.expect(b"more\n");
        pending(site) == 0
    });
    host.assert_serves_lines();
    assert_eq!(host.stats().closed(CloseReason::System), 0);
}

/// A connection whose `site` fails is closed with `why`, and its neighbours are not.
fn assert_closes(mode: Mode, site: Site, code: i32, why: CloseReason) {
    let host = serve(mode);
    let (mut victim, mut neighbour) = (host.connect(), host.connect());
    for client in [&mut victim, &mut neighbour] {
        let token = client.token();
        // Whoever can be sent to directly is in no turn any more.
        until("its turn has ended", || {
            let delivery = host.running.remote().send(token, *b".").unwrap();
            client.expect(b".");
            delivery == Delivery::Direct
        });
    }
    inject(site, [Fault::Errno(code)]);
    victim.send(b"hit\n");
    host.until_closed(why, 1);
    assert_eq!(pending(site), 0);
    neighbour.send(b"still here\n");
    neighbour.expect(b"still here\n");
    host.assert_serves_lines();
    assert!(matches!(victim.rest().as_slice(), b"" | b"hit\n"));
}

#[test]
fn interrupted_calls_are_made_again() {
    in_every_mode(|mode| {
        for site in [Site::Recv, Site::Send, Site::EpollWait] {
            assert_bytes_are_right(mode, site, [Fault::Errno(libc::EINTR); 50]);
        }
    });
}

#[test]
fn calls_that_have_to_wait_are_made_again_when_the_socket_is_ready() {
    with_oneshot(|mode| {
        for site in [Site::Recv, Site::Send] {
            assert_bytes_are_right(mode, site, [Fault::Errno(EAGAIN); 50]);
        }
    });
}

#[test]
fn short_reads_lose_nothing() {
    with_oneshot(|mode| {
        for bytes in [1, 2, 7, 100, 4095] {
            assert_bytes_are_right(mode, Site::Recv, [Fault::Short(bytes); 200]);
        }
    });
}

#[test]
fn short_writes_lose_nothing() {
    with_oneshot(|mode| {
        for bytes in [1, 2, 7, 100, 4095] {
            assert_bytes_are_right(mode, Site::Send, [Fault::Short(bytes); 200]);
        }
    });
}

#[test]
fn short_and_failing_calls_may_mix() {
    with_oneshot(|mode| {
        let mix = [Fault::Short(1), Fault::Errno(libc::EINTR), Fault::Short(3), Fault::Errno(EAGAIN), Fault::Short(50)];
        inject(Site::EpollWait, [Fault::Errno(libc::EINTR); 50]);
        inject(Site::Recv, mix.repeat(20));
        assert_bytes_are_right(mode, Site::Send, mix.repeat(20));
    });
}

#[test]
fn short_reads_and_writes_of_a_big_frame_lose_nothing() {
    with_oneshot(|mode| {
        let host = mode.serve(Len32::new(1 << 20), Echo);
        let mut frame = (1u32 << 20).to_be_bytes().to_vec();
        frame.extend(common::pattern(1 << 20));
        inject(Site::Recv, [Fault::Short(1), Fault::Short(2), Fault::Short(1000)].repeat(50));
        inject(Site::Send, [Fault::Short(1), Fault::Short(2), Fault::Short(1000)].repeat(50));
        host.connect().exchange(&frame, &frame);
        assert_eq!((pending(Site::Recv), pending(Site::Send)), (0, 0));
    });
}

#[test]
fn a_reset_while_reading_or_writing_closes_as_reset() {
    in_every_mode(|mode| {
        for site in [Site::Recv, Site::Send] {
            for code in [libc::ECONNRESET, libc::EPIPE] {
                assert_closes(mode, site, code, CloseReason::PeerReset);
            }
        }
    });
}

#[test]
fn another_error_while_reading_or_writing_closes_as_a_system_error() {
    in_every_mode(|mode| {
        for site in [Site::Recv, Site::Send] {
            for code in [libc::ENOMEM, libc::ENOBUFS, libc::EIO] {
                assert_closes(mode, site, code, CloseReason::System);
            }
        }
    });
}

#[test]
fn a_connection_that_cannot_be_armed_again_is_closed() {
    with_oneshot(|mode| {
        for code in [libc::ENOMEM, libc::ENOSPC] {
            assert_closes(mode, Site::EpollMod, code, CloseReason::System);
        }
    });
}

#[test]
fn a_connection_that_cannot_be_registered_is_turned_away_and_its_slot_is_good_again() {
    in_every_mode(|mode| {
        for code in [libc::ENOSPC, libc::ENOMEM] {
            let gate = Gate::new();
            let inside = Arc::clone(&gate);
            let handler = lines(move |cx, line| {
                if line == "busy" {
                    inside.pass();
                }
                echo_line(cx, line)
            });
            let host = mode.serve(Line::default(), handler);
            // A registration may be tried twice, by the acceptor and by the worker.
            inject(Site::EpollAdd, [Fault::Errno(code); 3]);
            until("all faults are met", || {
                let mut client = host.connect();
                client.try_send(b"x\n");
                client.try_finish();
                assert!(matches!(client.rest().as_slice(), b"" | b"x\n"));
                pending(Site::EpollAdd) == 0
            });
            host.until_connected(0);
            let stats = host.stats();
            assert!(stats.closed(CloseReason::System) >= 1, "it is counted");
            // The next one lives in the same slot; also messages that have to wait reach it.
            let mut client = host.connect();
            let token = client.token();
            client.send(b"busy\n");
            gate.until_waiting(1);
            assert_eq!(host.running.remote().send(token, *b"queued\n"), Ok(Delivery::Queued));
            gate.open();
            client.expect(b"busy\nqueued\n");
        }
    });
}

#[test]
fn a_wait_that_fails_is_tried_again() {
    in_every_mode(|mode| assert_bytes_are_right(mode, Site::EpollWait, [Fault::Errno(libc::ENOMEM); 3]));
}

#[test]
fn an_interrupted_wake_up_still_wakes() {
    in_every_mode(|mode| {
        let host = serve(mode);
        inject(Site::EventFd, [Fault::Errno(libc::EINTR); 10]);
        let mut client = host.connect();
        // More frames than a turn takes: the rest is queued, and the leader has to hear of it.
        let sent = numbered_lines(20_000);
        client.exchange(&sent, &sent);
        let began = std::time::Instant::now();
        assert_eq!(host.running.stop().threads_left, 0);
        assert!(began.elapsed() < common::PATIENCE);
        all_met(Site::EventFd);
    });
}

#[test]
fn a_connection_that_cannot_be_shut_down_is_closed_all_the_same() {
    in_every_mode(|mode| {
        let handler = lines(|cx, line| {
            cx.close();
            echo_line(cx, line)
        });
        let host = mode.serve(Line::default(), handler);
        inject(Site::Shutdown, [Fault::Errno(libc::ENOTCONN); 1]);
        let mut client = host.connect();
        // More than one read takes: unread input is why the connection is shut down before it is closed.
        client.try_send(&[b"last words\n".to_vec(), vec![b'x'; 200_000]].concat());
        host.until_closed(CloseReason::Handler, 1);
        host.until_connected(0);
        drop(client);
        Client::connect(&host.address()).expect_end_after_finishing();
    });
}

/// The outgoing side tells its test how it ended.
struct Ends(std::sync::mpsc::Sender<(CloseReason, Option<i32>)>);

impl lf_core::Handler<Line> for Ends {
    type State = ();

    fn open(&self, _peer: &lf_core::Peer) {}

    fn frame(&self, _cx: &mut common::LineContext<'_>, _frame: &[u8]) -> lf_core::Outcome {
        Ok(())
    }

    fn closed(&self, (): &mut (), closed: &lf_core::Closed) {
        let _ = self.0.send((closed.why, closed.error));
    }
}

#[test]
fn a_connection_that_cannot_be_opened_leaves_nothing_behind() {
    in_every_mode(|mode| {
        let (tell, ends) = std::sync::mpsc::channel();
        let mut builder = mode.builder().outgoing_max(1);
        let dialer = builder.dialer(Line::default(), Ends(tell));
        let host = Host::start(builder.listen(common::any_port(), Line::default(), lines(echo_line)));
        let remote = host.running.remote();
        // Not the host itself: its own registrations would meet the faults.
        let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = lf_core::Address::Tcp(elsewhere.local_addr().unwrap());
        let dial = || dialer.connect(&remote, 0, &to, &lf_core::DialOptions::default(), ());
        let descriptors = common::open_descriptors();
        for (site, code) in [(Site::Connect, libc::EADDRNOTAVAIL), (Site::EpollAdd, libc::ENOSPC)] {
            inject(site, [Fault::Errno(code)]);
            assert_eq!(dial().unwrap_err().error.raw_os_error(), Some(code));
            assert_eq!((pending(site), host.stats().outgoing()), (0, 0));
        }
        assert_eq!(common::open_descriptors(), descriptors);
        inject(Site::Connected, [Fault::Errno(libc::ETIMEDOUT)]);
        dial().unwrap();
        assert_eq!(ends.recv_timeout(common::PATIENCE), Ok((CloseReason::ConnectFailed, Some(libc::ETIMEDOUT))));
        // The slot of all of them is good again, for messages that have to wait, too.
        until("its place is free", || host.stats().outgoing() == 0);
        let token = dialer.connect(&remote, 0, &host.address(), &lf_core::DialOptions::default(), ()).unwrap();
        remote.send(token, *b"echo me\n").unwrap();
        host.until_count(lf_core::Count::FramesReceived, 2);
        assert!(remote.close(token));
        assert_eq!(ends.recv_timeout(common::PATIENCE), Ok((CloseReason::Requested, None)));
    });
}
