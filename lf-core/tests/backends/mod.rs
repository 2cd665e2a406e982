//! Back ends that do as they are told, and a server that calls them.
#![allow(dead_code, reason = "every test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use crate::common::{Host, PATIENCE, any_port, echo_line, lines};
use lf_core::codec::Line;
use lf_core::upstream::{
    Answer, Call, CallError, Protocol, Servers, Upstream, UpstreamConfig, Upstreams, UpstreamsOptions,
};
use lf_core::{Builder, Server};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A back end: a thread for each connection, which does what its script says.
pub(crate) struct Backend {
    pub(crate) at: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

/// A connection to a back end.
pub(crate) struct Visit {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// How many came before it.
    pub(crate) number: usize,
    requests: Arc<AtomicUsize>,
}

impl Backend {
    pub(crate) fn start(script: impl Fn(&mut Visit) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, script)
    }

    pub(crate) fn on(listener: TcpListener, script: impl Fn(&mut Visit) + Send + Sync + 'static) -> Self {
        let at = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let ended = Arc::<AtomicUsize>::default();
        let backend = Self {
            at,
            connections: Arc::clone(&connections),
            requests: Arc::clone(&requests),
            ended: Arc::clone(&ended),
        };
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let reader = BufReader::new(stream.try_clone().unwrap());
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let (script, requests, ended) = (Arc::clone(&script), Arc::clone(&requests), Arc::clone(&ended));
                std::thread::spawn(move || {
                    script(&mut Visit { stream, reader, number, requests });
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        backend
    }

    /// Answers every line with `name:` and itself.
    pub(crate) fn echo(name: &'static str) -> Self {
        Self::start(move |visit| while visit.answer_with(|line| Some(format!("{name}:{line}"))) {})
    }

    /// Takes requests and answers none.
    pub(crate) fn silent() -> Self {
        Self::start(|visit| while visit.line().is_some() {})
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections that are there now.
    pub(crate) fn open(&self) -> usize {
        self.connections() - self.ended.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Visit {
    /// The next line; `None` if the other side has left.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.reader.read_line(&mut line).ok()?;
        if count == 0 {
            return None;
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        Some(line.trim_end().to_owned())
    }

    pub(crate) fn read(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Whatever becomes of it.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Answers a line with a line; `false` if there was none.
    pub(crate) fn answer_with(&mut self, answer: impl FnOnce(&str) -> Option<String>) -> bool {
        let Some(line) = self.line() else { return false };
        let Some(answer) = answer(&line) else { return false };
        self.say(format!("{answer}\n"));
        true
    }

    /// The head of an HTTP request, and its body.
    pub(crate) fn http(&mut self) -> Option<(String, Vec<u8>)> {
        let mut head = String::new();
        loop {
            let begin = head.len();
            if self.reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
            if head[begin..].trim_end().is_empty() {
                break;
            }
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.trim().parse().ok());
        let body = self.read(length.unwrap_or(0))?;
        Some((head, body))
    }

    /// Waits until the other side leaves.
    pub(crate) fn until_left(&mut self) {
        let _ = self.reader.read_to_end(&mut Vec::new());
    }
}

/// A server and its upstreams.
pub(crate) struct Caller {
    pub(crate) host: Host,
    pub(crate) upstreams: Upstreams,
}

impl Caller {
    pub(crate) fn new() -> Self {
        Self::with(Server::builder().groups(2), Duration::from_millis(20))
    }

    pub(crate) fn with(mut builder: Builder, file_poll: Duration) -> Self {
        let upstreams = Upstreams::new(&mut builder, UpstreamsOptions { file_poll });
        let host = Host::start(builder.listen(any_port(), Line::default(), lines(echo_line)));
        Self { host, upstreams }
    }

    pub(crate) fn add(&self, config: UpstreamConfig) -> Upstream {
        self.upstreams.add("be", config).unwrap()
    }

    /// Begins a call in group 0.
    pub(crate) fn begin(&self, upstream: &Upstream, call: Call) -> Pending {
        self.begin_in(0, upstream, call)
    }

    pub(crate) fn begin_in(&self, group: usize, upstream: &Upstream, call: Call) -> Pending {
        let (tell, hear) = channel();
        upstream.call(&self.host.running.remote(), group, call, move |outcome| {
            // A test that has seen enough does not listen any more.
            let _ = tell.send(outcome);
        });
        Pending(hear)
    }

    pub(crate) fn call(&self, upstream: &Upstream, call: Call) -> Result<Answer, CallError> {
        self.begin(upstream, call).outcome()
    }

    /// What a line is answered with.
    pub(crate) fn ask(&self, upstream: &Upstream, line: &str) -> Result<String, CallError> {
        self.call(upstream, Call::new(line)).map(|answer| String::from_utf8(answer.body).unwrap())
    }

    /// A number on the metrics page.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.host.running.remote().metrics().unwrap();
        let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {series} in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn count(&self, name: &str) -> f64 {
        self.metric(&format!("lf_upstream_{name}_total{{upstream=\"be\"}}"))
    }
}

/// A call under way.
pub(crate) struct Pending(Receiver<Result<Answer, CallError>>);

impl Pending {
    /// Its outcome; there is exactly one.
    pub(crate) fn outcome(self) -> Result<Answer, CallError> {
        let outcome = self.0.recv_timeout(PATIENCE).expect("a call has an outcome");
        assert!(self.0.recv_timeout(Duration::from_millis(0)).is_err(), "a call has one outcome");
        outcome
    }

    pub(crate) fn has_none_yet(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Lines, and no second chances unless a test asks for them.
pub(crate) fn lines_to<S: ToString>(servers: impl IntoIterator<Item = S>) -> UpstreamConfig {
    UpstreamConfig {
        servers: Servers::List(servers.into_iter().map(|server| server.to_string()).collect()),
        protocol: Protocol::Line,
        timeout: PATIENCE,
        retries: 0,
        ..UpstreamConfig::default()
    }
}

/// An address that refuses.
pub(crate) fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs `f` and answers how long it took.
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let value = f();
    (value, began.elapsed())
}
