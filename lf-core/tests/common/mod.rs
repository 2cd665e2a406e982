//! What the integration tests share: the matrix of modes, a server to test, a client, and one way to wait.
#![allow(dead_code, reason = "every test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use lf_core::codec::{Codec, Line};
use lf_core::{
    Address, Builder, CloseReason, Context, Count, Handler, Outcome, Peer, Promotion, Running, Server, Snapshot,
    Timeout, Token, Trigger,
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition, with a deadline.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A port whose listen queue is full: who connects there gets no answer.
pub(crate) fn silent_port() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let at = listener.local_addr().unwrap();
    let mut kept = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&at);
        kept.push(filler);
    }
    (at.as_socket().unwrap(), kept)
}

/// A way for a server to work, of which every promise must be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    pub(crate) trigger: Trigger,
    pub(crate) promotion: Promotion,
}

/// Runs a test with both triggers and both promotions.
pub(crate) fn in_every_mode(test: impl Fn(Mode)) {
    for trigger in [Trigger::OneShot, Trigger::Edge] {
        for promotion in [Promotion::Adaptive, Promotion::Kernel] {
            let mode = Mode { trigger, promotion };
            println!("{mode:?}");
            test(mode);
        }
    }
}

/// Runs a test with both triggers, where only adaptive promotion makes the promise.
pub(crate) fn with_both_triggers(test: impl Fn(Mode)) {
    for trigger in [Trigger::OneShot, Trigger::Edge] {
        let mode = Mode { trigger, promotion: Promotion::Adaptive };
        println!("{mode:?}");
        test(mode);
    }
}

impl Mode {
    /// A server of one group in this mode.
    pub(crate) fn builder(self) -> Builder {
        Server::builder().groups(1).trigger(self.trigger).promotion(self.promotion)
    }

    /// A running server of one group on a port of its own.
    pub(crate) fn serve<C: Codec, H: Handler<C>>(self, codec: C, handler: H) -> Host {
        Host::start(self.builder().listen(any_port(), codec, handler))
    }
}

/// A port that the system chooses.
pub(crate) fn any_port() -> Address {
    "127.0.0.1:0".parse().unwrap()
}

/// A running server.
pub(crate) struct Host {
    pub(crate) running: Running,
}

impl Host {
    pub(crate) fn start(builder: Builder) -> Self {
        Self { running: builder.build().unwrap().start().unwrap() }
    }

    pub(crate) fn address(&self) -> Address {
        self.running.addresses()[0].clone()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.address())
    }

    pub(crate) fn stats(&self) -> Snapshot {
        self.running.stats()
    }

    pub(crate) fn count(&self, count: Count) -> u64 {
        self.stats().count(count)
    }

    /// Waits until that many connections have ended for this reason.
    pub(crate) fn until_closed(&self, why: CloseReason, times: u64) {
        until(&format!("{times} ended for {why:?}"), || self.stats().closed(why) >= times);
        assert_eq!(self.stats().closed(why), times, "ended for {why:?}");
    }

    /// Waits until a count reaches a value.
    pub(crate) fn until_count(&self, count: Count, least: u64) {
        until(&format!("{count:?} reaches {least}"), || self.count(count) >= least);
    }

    pub(crate) fn until_connected(&self, connections: usize) {
        until(&format!("{connections} are connected"), || self.stats().connections() == connections);
    }

    /// The server still serves: a new connection gets a line back.
    pub(crate) fn assert_serves_lines(&self) {
        let mut client = self.connect();
        client.send(b"still there?\n");
        client.expect(b"still there?\n");
    }
}

/// A peer of a server, over any kind of socket.
pub(crate) struct Client {
    socket: Socket,
}

fn open(domain: Domain) -> Socket {
    let socket = Socket::new(domain, Type::STREAM, None).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

impl Client {
    pub(crate) fn connect(address: &Address) -> Self {
        Self::connect_with(address, |_| ())
    }

    /// Connects after `prepare` has set the socket up.
    pub(crate) fn connect_with(address: &Address, prepare: impl FnOnce(&Socket)) -> Self {
        let target = match address {
            Address::Tcp(at) => SockAddr::from(*at),
            Address::Unix(path) => SockAddr::unix(path).unwrap(),
            Address::Abstract(name) => SockAddr::unix(format!("\0{name}")).unwrap(),
            Address::Inherited(_) => panic!("nobody knows where that is"),
        };
        let socket = open(target.domain());
        prepare(&socket);
        socket.connect(&target).unwrap();
        if target.is_ipv4() || target.is_ipv6() {
            socket.set_tcp_nodelay(true).unwrap();
        }
        Self { socket }
    }

    /// Connects from that address.
    pub(crate) fn connect_from(from: &str, address: &Address) -> Self {
        let from: IpAddr = from.parse().unwrap();
        Self::connect_with(address, |socket| socket.bind(&SocketAddr::new(from, 0).into()).unwrap())
    }

    /// A peer whose kernel buffers little, so that it soon takes no more.
    pub(crate) fn connect_slow(address: &Address) -> Self {
        Self::connect_with(address, |socket| socket.set_recv_buffer_size(4096).unwrap())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends, whatever becomes of it.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// Says that no more comes; still reads.
    pub(crate) fn finish(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// As [`finish`](Self::finish), whatever becomes of it.
    pub(crate) fn try_finish(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Leaves with a reset instead of a farewell.
    pub(crate) fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next bytes must be these.
    pub(crate) fn expect(&mut self, expected: &[u8]) {
        let got = self.read(expected.len());
        if got != expected {
            let at = got.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0);
            let (from, to) = (at.saturating_sub(20), (at + 40).min(got.len()));
            panic!("byte {at} differs: {:?}", String::from_utf8_lossy(&got[from..to]));
        }
    }

    /// The next line, without its ending.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            match self.read(1)[0] {
                b'\n' => return String::from_utf8(line).unwrap(),
                byte => line.push(byte),
            }
        }
    }

    /// All that comes until the server ends the connection, by a farewell or a reset.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.socket.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server did not end the connection: {error}"),
        }
        bytes
    }

    /// Nothing more comes, and the connection ends.
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest()), "");
    }

    /// Finishes and waits for the server to do the same.
    pub(crate) fn expect_end_after_finishing(mut self) {
        self.finish();
        self.expect_end();
    }

    /// The same connection once more, for another thread.
    pub(crate) fn duplicate(&self) -> Self {
        Self { socket: self.socket.try_clone().unwrap() }
    }

    /// Sends while reading, so that neither side's buffers fill up for good.
    pub(crate) fn exchange(&mut self, bytes: &[u8], expected: &[u8]) {
        let sender = self.socket.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || (&sender).write_all(bytes).unwrap());
            self.expect(expected);
        });
    }

    /// Asks a [`lines`] handler for its name of this connection.
    pub(crate) fn token(&mut self) -> Token {
        self.send(b"token\n");
        Token::from_bits(self.line().parse().unwrap())
    }
}

/// Answers every frame with itself.
#[derive(Clone, Copy)]
pub(crate) struct Echo;

impl<C: Codec> Handler<C> for Echo {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, C, ()>, frame: C::Frame<'_>) -> Outcome {
        Ok(cx.send(frame)?)
    }
}

pub(crate) type LineContext<'a> = Context<'a, Line, ()>;

/// A handler of lines that is a closure. It tells a connection its token when asked with `token`, and writes `timer` when
/// the connection's timer fires.
pub(crate) struct Lines<F>(F);

pub(crate) fn lines<F>(f: F) -> Lines<F>
where
    F: Fn(&mut LineContext<'_>, &str) -> Outcome + Send + Sync + 'static,
{
    Lines(f)
}

/// The line handler that echoes.
pub(crate) fn echo_line(cx: &mut LineContext<'_>, line: &str) -> Outcome {
    Ok(cx.send(line.as_bytes())?)
}

/// The line handler that echoes once its gate lets it.
pub(crate) fn gated_echo(
    gate: &std::sync::Arc<Gate>,
) -> Lines<impl Fn(&mut LineContext<'_>, &str) -> Outcome + Send + Sync + 'static> {
    let gate = std::sync::Arc::clone(gate);
    lines(move |cx, line| {
        gate.pass();
        echo_line(cx, line)
    })
}

impl<F> Handler<Line> for Lines<F>
where
    F: Fn(&mut LineContext<'_>, &str) -> Outcome + Send + Sync + 'static,
{
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut LineContext<'_>, line: &[u8]) -> Outcome {
        let line = std::str::from_utf8(line)?;
        if line == "token" {
            return Ok(cx.send(cx.token().to_bits().to_string().as_bytes())?);
        }
        (self.0)(cx, line)
    }

    fn timeout(&self, cx: &mut LineContext<'_>, which: Timeout) -> Outcome {
        if which == Timeout::User { Ok(cx.send(b"timer")?) } else { Ok(()) }
    }
}

/// A gate that handlers wait at until the test opens it: how a test makes a handler block for as long as it likes.
#[derive(Default)]
pub(crate) struct Gate {
    state: std::sync::Mutex<GateState>,
    changed: std::sync::Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

impl Gate {
    pub(crate) fn new() -> std::sync::Arc<Self> {
        std::sync::Arc::default()
    }

    /// Blocks until the gate opens, but not for ever: a failing test must end.
    pub(crate) fn pass(&self) {
        self.pass_for(PATIENCE);
    }

    /// Blocks until the gate opens, but not for longer than `time`.
    pub(crate) fn pass_for(&self, time: Duration) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        let (mut state, _) = self.changed.wait_timeout_while(state, time, |state| !state.open).unwrap();
        state.waiting -= 1;
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    pub(crate) fn until_waiting(&self, count: usize) {
        until(&format!("{count} wait at the gate"), || self.state.lock().unwrap().waiting == count);
    }
}

/// Tells threads to stop, also when the test panics.
#[derive(Default)]
pub(crate) struct Stop(std::sync::atomic::AtomicBool);

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Sets it when what is answered is dropped.
    pub(crate) fn at_the_end(&self) -> impl Drop + use<'_> {
        struct Set<'a>(&'a Stop);
        impl Drop for Set<'_> {
            fn drop(&mut self) {
                self.0.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        Set(self)
    }
}

/// Numbered lines: what was lost, repeated or misplaced shows.
pub(crate) fn numbered_lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|i| format!("line {i}\n").into_bytes()).collect()
}

/// Bytes of which no two neighbouring stretches are alike.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
