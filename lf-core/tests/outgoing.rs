//! Connections that the server opens, and tasks: they come, talk, time out and end, and they are no guests.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{
    Client, Host, LineContext, Mode, PATIENCE, any_port, echo_line, in_every_mode, lines, silent_port, until,
};
use lf_core::codec::Line;
use lf_core::{
    Address, Builder, CloseReason, Closed, Context, Count, DialError, DialFailure, DialOptions, Dialer, Error, Handler,
    Message, Outcome, Peer, Server, Timeout, Token,
};
use socket2::Socket;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What the handler of an outgoing connection was told, and on which thread.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Opened,
    Line(String),
    Message(String),
    Timer,
    Closed(CloseReason, Option<i32>),
}

/// The state of an outgoing connection: where to tell what was told.
struct Caller(Sender<(Told, String, Instant)>);

impl Caller {
    fn tell(&self, told: Told) {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        // A test that has seen enough does not listen any more.
        let _ = self.0.send((told, thread, Instant::now()));
    }
}

/// The other end of it.
struct Ears(Receiver<(Told, String, Instant)>);

impl Ears {
    fn new() -> (Caller, Self) {
        let (tell, hear) = channel();
        (Caller(tell), Self(hear))
    }

    fn hear(&self) -> (Told, String, Instant) {
        self.0.recv_timeout(PATIENCE).expect("the handler is told something")
    }

    fn expect(&self, told: &Told) {
        assert_eq!(&self.hear().0, told);
    }

    /// Nothing more comes, because the state is gone.
    fn expect_end(&self) {
        assert!(
            self.0.recv_timeout(PATIENCE).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected)
        );
    }
}

/// Tells all; messages that begin with `!` are orders.
struct Probe;

impl Handler<Line> for Probe {
    type State = Caller;

    fn open(&self, _peer: &Peer) -> Caller {
        panic!("an outgoing connection has its state already")
    }

    fn opened(&self, cx: &mut Context<'_, Line, Caller>) -> Outcome {
        cx.state.tell(Told::Opened);
        Ok(())
    }

    fn frame(&self, cx: &mut Context<'_, Line, Caller>, frame: &[u8]) -> Outcome {
        cx.state.tell(Told::Line(String::from_utf8_lossy(frame).into_owned()));
        Ok(())
    }

    fn message(&self, cx: &mut Context<'_, Line, Caller>, message: &Message) -> Outcome {
        let text = String::from_utf8_lossy(message).into_owned();
        match text.split_once(' ') {
            Some(("!timer", ms)) => cx.set_timer(Duration::from_millis(ms.parse()?)),
            None if text == "!close" => cx.close(),
            None if text == "!abort" => cx.abort(),
            None if text == "!fail" => return Err("told to".into()),
            _ => {
                cx.state.tell(Told::Message(text.clone()));
                cx.send(text.as_bytes())?;
            }
        }
        Ok(())
    }

    fn timeout(&self, cx: &mut Context<'_, Line, Caller>, which: Timeout) -> Outcome {
        assert_eq!(which, Timeout::User);
        cx.state.tell(Told::Timer);
        Ok(())
    }

    fn closed(&self, state: &mut Caller, closed: &Closed) {
        state.tell(Told::Closed(closed.why, closed.error));
    }
}

type Probing = Dialer<Line, Probe>;

fn start(mut builder: Builder) -> (Host, Probing) {
    let dialer = builder.dialer(Line::default(), Probe);
    (Host::start(builder.listen(any_port(), Line::default(), lines(echo_line))), dialer)
}

fn serve(mode: Mode) -> (Host, Probing) {
    start(mode.builder().groups(2))
}

fn connect(host: &Host, dialer: &Probing, to: &Address) -> (Token, Ears) {
    let (caller, ears) = Ears::new();
    let token = dialer.connect(&host.running.remote(), 1, to, &DialOptions::default(), caller).unwrap();
    (token, ears)
}

fn task(host: &Host, dialer: &Probing, group: usize) -> (Token, Ears) {
    let (caller, ears) = Ears::new();
    (dialer.task(&host.running.remote(), group, caller).unwrap(), ears)
}

fn say(host: &Host, token: Token, text: &str) {
    host.running.remote().send(token, text.as_bytes()).unwrap();
}

/// A port that nobody listens on.
fn closed_port() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Address::Tcp(listener.local_addr().unwrap())
}

#[test]
fn what_is_sent_before_the_other_side_has_answered_comes_after_opened() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        let (token, ears) = connect(&host, &dialer, &host.address());
        say(&host, token, "early");
        ears.expect(&Told::Opened);
        ears.expect(&Told::Message("early".into()));
        ears.expect(&Told::Line("early".into()));
        for turn in 0..100 {
            say(&host, token, &format!("line {turn}"));
            ears.expect(&Told::Message(format!("line {turn}")));
            ears.expect(&Told::Line(format!("line {turn}")));
        }
        assert_eq!((host.stats().connections(), host.stats().outgoing()), (1, 1));
        until("it is in no turn, and seen", || {
            let sight = host.running.remote().look_at(token);
            sight.is_some_and(|sight| sight.peer.address().map(Address::Tcp) == Some(host.address()))
        });
        say(&host, token, "!close");
        ears.expect(&Told::Closed(CloseReason::Handler, None));
        ears.expect_end();
        until("both ends are gone", || (host.stats().connections(), host.stats().outgoing()) == (0, 0));
        assert_eq!(host.stats().outgoing_closed(CloseReason::Handler), 1);
        assert_eq!(host.stats().closed_total(), 1, "only the end that came in is a guest");
    });
}

#[test]
fn many_small_messages_and_big_ones_come_back_in_order() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        let (token, ears) = connect(&host, &dialer, &host.address());
        ears.expect(&Told::Opened);
        let big = "x".repeat(60_000);
        for round in 0..20 {
            say(&host, token, &format!("{round} {big}"));
        }
        let mut lines = Vec::new();
        while lines.len() < 20 {
            if let Told::Line(line) = ears.hear().0 {
                lines.push(line);
            }
        }
        assert!(lines.iter().enumerate().all(|(round, line)| *line == format!("{round} {big}")));
    });
}

#[test]
fn a_port_that_refuses_tells_the_handler_so() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        let (_, ears) = connect(&host, &dialer, &closed_port());
        ears.expect(&Told::Closed(CloseReason::ConnectFailed, Some(libc::ECONNREFUSED)));
        ears.expect_end();
        until("it is gone", || host.stats().outgoing() == 0);
        assert_eq!((host.count(Count::OutgoingOpened), host.count(Count::OutgoingFailed)), (0, 1));
    });
}

#[test]
fn who_does_not_answer_in_time_is_given_up_and_not_before() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        let (address, _kept) = silent_port();
        let address = Address::Tcp(address);
        let (caller, ears) = Ears::new();
        let time = Duration::from_millis(60);
        let options = DialOptions { connect_timeout: Some(time), ..DialOptions::default() };
        let began = Instant::now();
        let token = dialer.connect(&host.running.remote(), 0, &address, &options, caller).unwrap();
        say(&host, token, "never said");
        let (told, _, at) = ears.hear();
        assert_eq!(told, Told::Closed(CloseReason::ConnectTimeout, None));
        assert!(at - began >= time, "{:?}", at - began);
        until("it is gone", || host.stats().outgoing() == 0);
        assert_eq!(host.stats().queued_bytes(), 0, "the message went with it");
    });
}

#[test]
fn unix_sockets_are_reached_by_path_and_by_name() {
    in_every_mode(|mode| {
        let dir = tempfile::tempdir().unwrap();
        let path = Address::Unix(dir.path().join("socket"));
        let name = Address::Abstract(format!("lf-outgoing-{}", std::process::id()));
        let builder = mode.builder().listen(path.clone(), Line::default(), lines(echo_line));
        let mut builder = builder.listen(name.clone(), Line::default(), lines(echo_line));
        let dialer = builder.dialer(Line::default(), Probe);
        let host = Host::start(builder);
        for address in [&path, &name] {
            let (caller, ears) = Ears::new();
            let token = dialer.connect(&host.running.remote(), 0, address, &DialOptions::default(), caller).unwrap();
            ears.expect(&Told::Opened);
            say(&host, token, "over unix");
            ears.expect(&Told::Message("over unix".into()));
            ears.expect(&Told::Line("over unix".into()));
        }
        let missing = Address::Unix(dir.path().join("nobody"));
        let (caller, ears) = Ears::new();
        let refused = dialer.connect(&host.running.remote(), 0, &missing, &DialOptions::default(), caller);
        let DialError { error, state } = refused.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert!(error.to_string().contains("nobody"), "{error}");
        state.tell(Told::Timer);
        ears.expect(&Told::Timer);
    });
}

/// Asks a back end for every line, and answers with what it says.
struct Front {
    dialer: Dialer<Line, Back>,
    back: Arc<OnceLock<Address>>,
}

/// Carries one answer back to the connection that asked.
struct Back;

impl Handler<Line> for Back {
    type State = (Token, String);

    fn open(&self, _peer: &Peer) -> Self::State {
        panic!("an outgoing connection has its state already")
    }

    fn opened(&self, cx: &mut Context<'_, Line, Self::State>) -> Outcome {
        let question = std::mem::take(&mut cx.state.1);
        Ok(cx.send(question.as_bytes())?)
    }

    fn frame(&self, cx: &mut Context<'_, Line, Self::State>, frame: &[u8]) -> Outcome {
        let answer = cx.encode(frame)?;
        cx.remote().send(cx.state.0, answer)?;
        cx.close();
        Ok(())
    }
}

impl Handler<Line> for Front {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, line: &[u8]) -> Outcome {
        cx.hold();
        let state = (cx.token(), String::from_utf8_lossy(line).into_owned());
        let back = self.back.get().ok_or("no back end")?;
        self.dialer.connect(&cx.remote(), cx.group(), back, &DialOptions::default(), state).map_err(|e| e.error)?;
        Ok(())
    }

    fn message(&self, cx: &mut LineContext<'_>, message: &Message) -> Outcome {
        cx.send_shared(message);
        cx.release_hold();
        Ok(())
    }
}

#[test]
fn a_turn_opens_a_connection_elsewhere_and_its_answer_comes_back_in_order() {
    in_every_mode(|mode| {
        let mut builder = mode.builder().groups(2);
        let dialer = builder.dialer(Line::default(), Back);
        let back = Arc::<OnceLock<Address>>::default();
        let front = Front { dialer, back: Arc::clone(&back) };
        let builder = builder.listen(any_port(), Line::default(), front);
        let shout = lines(|cx, line| Ok(cx.send(line.to_uppercase().as_bytes())?));
        let host = Host::start(builder.listen(any_port(), Line::default(), shout));
        back.set(host.running.addresses()[1].clone()).unwrap();
        let mut clients: Vec<_> = (0..4).map(|_| host.connect()).collect();
        for round in 0..10 {
            for (index, client) in clients.iter_mut().enumerate() {
                client.send(format!("a {index} {round}\nb {index} {round}\n").as_bytes());
            }
            for (index, client) in clients.iter_mut().enumerate() {
                client.expect(format!("A {index} {round}\nB {index} {round}\n").as_bytes());
            }
        }
        until("the outgoing connections have ended", || host.stats().outgoing() == 0);
        assert_eq!(host.count(Count::OutgoingOpened), 80);
    });
}

#[test]
fn a_task_hears_messages_and_its_timer_on_its_group_and_never_early() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        for group in [0, 1] {
            let (token, ears) = task(&host, &dialer, group);
            ears.expect(&Told::Opened);
            for ms in [1, 7, 30] {
                let began = Instant::now();
                say(&host, token, &format!("!timer {ms}"));
                let (told, thread, at) = ears.hear();
                assert_eq!(told, Told::Timer);
                assert!(at - began >= Duration::from_millis(ms), "{ms} ms took {:?}", at - began);
                assert!(thread.starts_with(&format!("lf-{group}.")), "on {thread}, of group {group}");
            }
            say(&host, token, "hello");
            ears.expect(&Told::Message("hello".into()));
            say(&host, token, "!close");
            ears.expect(&Told::Closed(CloseReason::Handler, None));
        }
        until("both are gone", || host.stats().outgoing() == 0);
    });
}

#[test]
fn timers_of_tasks_in_reused_slots_fire_on_their_own_group_while_others_send() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        let (stop, slot) = (common::Stop::default(), Mutex::new(None));
        let (stop, slot, host, dialer) = (&stop, &slot, &host, &dialer);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while !stop.is_set() {
                    let token = *slot.lock().unwrap();
                    // It may be gone; what counts is that this thread gets into its turns.
                    token.map(|token| host.running.remote().send(token, *b"noise"));
                }
            });
            let _ended = stop.at_the_end();
            for round in 0..60 {
                let group = round % 2;
                let (token, ears) = task(host, dialer, group);
                *slot.lock().unwrap() = Some(token);
                // The entry stays on this group's wheel after the task has gone.
                say(host, token, "!timer 5");
                let (_, thread, _) =
                    std::iter::repeat_with(|| ears.hear()).find(|(told, ..)| *told == Told::Timer).unwrap();
                assert!(thread.starts_with(&format!("lf-{group}.")), "on {thread}, of group {group}");
                say(host, token, "!timer 3");
                say(host, token, "!close");
                until("it is gone", || host.stats().outgoing() == 0);
            }
        });
    });
}

#[test]
fn a_stop_closes_what_the_server_opened_and_tells_the_handlers() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        let (address, _kept) = silent_port();
        let address = Address::Tcp(address);
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_, open) = connect(&host, &dialer, &Address::Tcp(backend.local_addr().unwrap()));
        open.expect(&Told::Opened);
        let (_, connecting) = connect(&host, &dialer, &address);
        let (_, idle) = task(&host, &dialer, 0);
        idle.expect(&Told::Opened);
        let remote = host.running.remote();
        assert_eq!(host.running.stop().threads_left, 0);
        for ears in [open, connecting, idle] {
            ears.expect(&Told::Closed(CloseReason::Requested, None));
            ears.expect_end();
        }
        let (caller, _ears) = Ears::new();
        let late = dialer.task(&remote, 0, caller);
        assert!(matches!(late, Err(DialError { error: DialFailure::Gone, .. })));
    });
}

#[test]
fn a_drain_waits_for_guests_and_not_for_what_the_server_opened() {
    in_every_mode(|mode| {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let (host, dialer) = start(mode.builder().groups(2).drain_timeout(PATIENCE));
        let (_, open) = connect(&host, &dialer, &Address::Tcp(backend.local_addr().unwrap()));
        open.expect(&Told::Opened);
        let (_, idle) = task(&host, &dialer, 1);
        idle.expect(&Told::Opened);
        let mut guest = host.connect();
        guest.exchange(b"here\n", b"here\n");
        let began = Instant::now();
        let ended = host.running.drain();
        assert!(began.elapsed() < PATIENCE / 2, "it took {:?}", began.elapsed());
        assert_eq!((ended.cut, ended.exit_code()), (0, 0));
        open.expect(&Told::Closed(CloseReason::Requested, None));
        idle.expect(&Told::Closed(CloseReason::Requested, None));
        guest.expect_end();
    });
}

#[test]
fn the_server_opens_no_more_than_it_may_and_its_guests_have_their_own_room() {
    in_every_mode(|mode| {
        let (host, dialer) = start(mode.builder().groups(2).max_connections(2).max_per_address(2).outgoing_max(2));
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Address::Tcp(backend.local_addr().unwrap());
        let (first, ears) = connect(&host, &dialer, &to);
        ears.expect(&Told::Opened);
        let (_, other) = task(&host, &dialer, 0);
        other.expect(&Told::Opened);
        let (caller, given_back) = Ears::new();
        let refused = dialer.connect(&host.running.remote(), 0, &to, &DialOptions::default(), caller).unwrap_err();
        assert!(matches!(refused.error, DialFailure::Full { limit: 2 }), "{refused}");
        assert!(refused.to_string().contains("outgoing_max"), "{refused}");
        drop(refused);
        given_back.expect_end();
        let mut guests: Vec<_> = (0..2).map(|_| host.connect()).collect();
        guests.iter_mut().for_each(|guest| guest.exchange(b"in\n", b"in\n"));
        host.connect().expect_end();
        assert!(host.running.remote().close(first));
        ears.expect(&Told::Closed(CloseReason::Requested, None));
        until("its place is free", || host.stats().outgoing() == 1);
        let (_, again) = connect(&host, &dialer, &to);
        again.expect(&Told::Opened);
    });
}

#[test]
fn what_cannot_be_begun_gives_the_state_back_and_says_why() {
    let (host, dialer) = start(Server::builder().groups(1));
    let remote = host.running.remote();
    let mut other = Server::builder();
    let stranger: Probing = other.dialer(Line::default(), Probe);
    let options = DialOptions::default();
    let failure = |result: Result<Token, DialError<Caller>>| result.unwrap_err().error;
    let state = || Ears::new().0;
    let error = failure(dialer.connect(&remote, 7, &host.address(), &options, state()));
    assert!(matches!(error, DialFailure::NoGroup { group: 7, groups: 1 }), "{error}");
    let error = failure(stranger.task(&remote, 0, state()));
    assert!(matches!(error, DialFailure::Stranger), "{error}");
    let error = failure(dialer.connect(&remote, 0, &Address::Inherited(0), &options, state()));
    assert!(matches!(error, DialFailure::NoTarget(Address::Inherited(0))), "{error}");
    drop(host);
    let error = failure(dialer.connect(&remote, 0, &Address::Inherited(0), &options, state()));
    assert!(matches!(error, DialFailure::Gone), "{error}");
}

#[test]
fn a_reset_and_a_failing_handler_end_it_with_their_reasons() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Address::Tcp(backend.local_addr().unwrap());
        let (_, ears) = connect(&host, &dialer, &to);
        let accepted = Socket::from(backend.accept().unwrap().0);
        ears.expect(&Told::Opened);
        accepted.set_linger(Some(Duration::ZERO)).unwrap();
        drop(accepted);
        ears.expect(&Told::Closed(CloseReason::PeerReset, Some(libc::ECONNRESET)));
        let (token, ears) = connect(&host, &dialer, &to);
        ears.expect(&Told::Opened);
        say(&host, token, "!fail");
        ears.expect(&Told::Closed(CloseReason::HandlerError, None));
        let (token, ears) = connect(&host, &dialer, &to);
        ears.expect(&Told::Opened);
        say(&host, token, "!abort");
        ears.expect(&Told::Closed(CloseReason::Handler, None));
    });
}

#[test]
fn an_outgoing_connection_has_no_deadline_but_its_own_timer() {
    in_every_mode(|mode| {
        let short = Some(Duration::from_millis(20));
        let timeouts = lf_core::Timeouts { first_byte: short, frame: short, idle: short, write_stall: short };
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let (host, dialer) = start(mode.builder().groups(2).timeouts(timeouts));
        let (token, ears) = connect(&host, &dialer, &Address::Tcp(backend.local_addr().unwrap()));
        let (mut accepted, _) = backend.accept().unwrap();
        ears.expect(&Told::Opened);
        std::io::Write::write_all(&mut accepted, b"half a li").unwrap();
        say(&host, token, "!timer 120");
        // What comes next is neither an idle nor a frame timeout, which would have come sooner.
        ears.expect(&Told::Timer);
        std::io::Write::write_all(&mut accepted, b"ne\n").unwrap();
        ears.expect(&Told::Line("half a line".into()));
    });
}

#[test]
fn connections_come_and_go_while_others_send_to_them() {
    in_every_mode(|mode| {
        let (host, dialer) = serve(mode);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (host, dialer) = (&host, &dialer);
                scope.spawn(move || {
                    for round in 0..150 {
                        let (token, ears) = connect(host, dialer, &host.address());
                        let text = format!("{thread} {round}");
                        say(host, token, &text);
                        ears.expect(&Told::Opened);
                        ears.expect(&Told::Message(text.clone()));
                        ears.expect(&Told::Line(text));
                        host.running.remote().close(token);
                        ears.expect(&Told::Closed(CloseReason::Requested, None));
                        ears.expect_end();
                    }
                });
            }
        });
        until("all have gone", || (host.stats().connections(), host.stats().outgoing()) == (0, 0));
        assert_eq!(host.count(Count::OutgoingOpened), 450);
        assert_eq!(host.stats().outgoing_closed(CloseReason::Requested), 450);
        assert_eq!(host.stats().queued_bytes(), 0);
    });
}

#[test]
fn the_admin_pages_show_what_the_server_opened() {
    let (host, dialer) = start(Server::builder().groups(2).outgoing_max(77).admin(any_port()));
    let (token, ears) = connect(&host, &dialer, &host.address());
    ears.expect(&Told::Opened);
    let (chore, ears) = task(&host, &dialer, 0);
    ears.expect(&Told::Opened);
    let get = |path: &str| {
        let mut client = Client::connect(host.running.admin_address().unwrap());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
        String::from_utf8(client.rest()).unwrap()
    };
    let metrics = get("/metrics");
    for line in ["lf_outgoing_connections 2\n", "lf_outgoing_connections_max 77\n", "lf_outgoing_opened_total 2\n"] {
        assert!(metrics.contains(line), "{line} {metrics}");
    }
    let list = get("/connections");
    let line_of = |token: Token| list.lines().find(|line| line.starts_with(&format!("{token} "))).unwrap().to_owned();
    assert!(list.contains("# 1 connections, 2 outgoing\n"), "{list}");
    assert!(line_of(token).contains(" open ") && line_of(token).ends_with(" outgoing"), "{list}");
    assert!(line_of(chore).ends_with(" task"), "{list}");
    assert!(get("/status").contains("Outgoing: 2 of 77"));
}

#[test]
fn the_descriptors_of_outgoing_connections_are_kept_for_them() {
    let build = |outgoing| {
        let mut builder = Server::builder().groups(1).outgoing_max(outgoing);
        let _dialer = builder.dialer(Line::default(), Probe);
        builder.listen(any_port(), Line::default(), lines(echo_line)).build()
    };
    let most = |outgoing| build(outgoing).unwrap().max_connections();
    assert_eq!(most(0) - most(100), 100);
    let error = build(1 << 29).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Descriptors { outgoing, .. } if outgoing == 1 << 29), "{error}");
    assert!(error.to_string().contains("outgoing_max"), "{error}");
    let error = build(usize::MAX).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("outgoing_max = "), "{error}");
}
