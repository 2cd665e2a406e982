//! A call, its answer, and what can go wrong in between.

use super::wire::resp::RespValue;
use crate::codec::NsheadHeader;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The head of an HTTP request; its body is the call's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method; empty means `GET`, or `POST` if there is a body.
    pub method: String,
    /// The path with its query; empty means `/`.
    pub path: String,
    /// More fields. `Host` may be among them; `Content-Length`, `Transfer-Encoding` and `Connection` are ours to write.
    pub headers: Vec<(String, String)>,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The body; for redis, one command as RESP writes it (see [`Call::redis`]).
    pub body: Vec<u8>,
    /// What [`Balance::Hash`](super::Balance::Hash) goes by.
    pub key: Option<Vec<u8>>,
    /// How long it may take, all in all; `None` is the upstream's time.
    pub timeout: Option<Duration>,
    /// The `log_id` of nshead; `None` is the header's, or one of our own.
    pub log_id: Option<u32>,
    /// The other fields of nshead.
    pub nshead: Option<NsheadHeader>,
    /// The head of an HTTP request.
    pub http: Option<HttpRequest>,
    /// It may be sent twice although only one answer is wanted.
    pub idempotent: bool,
}

impl Call {
    /// A call with that body, and nothing else said.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// A redis command and its arguments.
    #[must_use]
    pub fn redis<A: AsRef<[u8]>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let (mut count, mut bytes) = (0, Vec::new());
        for argument in arguments {
            let argument = argument.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
            count += 1;
        }
        let mut body = format!("*{count}\r\n").into_bytes();
        body.extend_from_slice(&bytes);
        Self::new(body)
    }
}

/// What was answered. Fields that the protocol does not have are empty.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status; else 0.
    pub status: u16,
    /// HTTP fields, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The header of nshead.
    pub nshead: Option<NsheadHeader>,
    /// The value that redis answered; its errors are values, too.
    pub value: Option<RespValue>,
    /// Who answered.
    pub server: Arc<str>,
    /// Requests that were begun for it.
    pub tries: u32,
    /// The answer is that of the backup request.
    pub by_backup: bool,
    /// From the call to the answer.
    pub took: Duration,
}

impl Answer {
    /// The first field of that name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }
}

/// Where a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The server that was asked last, if one was.
    pub server: Option<Arc<str>>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upstream {}", self.upstream)?;
        self.server.as_ref().map_or(Ok(()), |server| write!(f, " ({server})"))
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server could not be connected to.
    #[error("{at}: cannot connect{}", said(*.error))]
    Connect {
        /// Where.
        at: Place,
        /// What the system said, as `errno` names it.
        error: Option<i32>,
    },
    /// The call's time was over.
    #[error("{at}: no answer within {after:?}")]
    Timeout {
        /// Where.
        at: Place,
        /// The time that it had.
        after: Duration,
    },
    /// The server closed the connection without an answer, or in the middle of it.
    #[error("{at}: the connection ended before the answer{}", said(*.error))]
    Closed {
        /// Where.
        at: Place,
        /// What the system said, as `errno` names it.
        error: Option<i32>,
    },
    /// What came is no answer to this call.
    #[error("{at}: the answer is malformed: {reason}")]
    Malformed {
        /// Where.
        at: Place,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The answer, or what had to be sent, is over the limit.
    #[error("{at}: the answer is over the limit of {limit} bytes; raise answer_max")]
    TooLarge {
        /// Where.
        at: Place,
        /// The limit, in bytes.
        limit: usize,
    },
    /// As many calls as may be are in flight.
    #[error("{at}: overloaded: {limit} calls are in flight")]
    Overloaded {
        /// Where.
        at: Place,
        /// How many may be.
        limit: usize,
    },
    /// The upstream has no server now.
    #[error("{at}: it has no server")]
    NoServer {
        /// Where.
        at: Place,
    },
    /// As many calls as may be wait for a connection.
    #[error("{at}: all connections are taken, and {limit} calls wait; raise max_connections or queue")]
    QueueFull {
        /// Where.
        at: Place,
        /// How many may wait.
        limit: usize,
    },
    /// The server that calls is stopping, or the upstream was removed.
    #[error("{at}: the call was given up, because the server stops")]
    Stopping {
        /// Where.
        at: Place,
    },
    /// The call cannot be written in the upstream's protocol.
    #[error("{at}: the call cannot be sent: {reason}")]
    Request {
        /// Where.
        at: Place,
        /// What is wrong with it.
        reason: &'static str,
    },
}

fn said(error: Option<i32>) -> String {
    error.map_or_else(String::new, |code| format!(": {}", io::Error::from_raw_os_error(code)))
}

impl CallError {
    /// The names of all kinds, in the order in which they are counted.
    pub const LABELS: [&'static str; 10] = [
        "connect",
        "timeout",
        "closed",
        "malformed",
        "too_large",
        "overloaded",
        "no_server",
        "queue_full",
        "stopping",
        "request",
    ];

    pub(super) const fn index(&self) -> usize {
        match self {
            Self::Connect { .. } => 0,
            Self::Timeout { .. } => 1,
            Self::Closed { .. } => 2,
            Self::Malformed { .. } => 3,
            Self::TooLarge { .. } => 4,
            Self::Overloaded { .. } => 5,
            Self::NoServer { .. } => 6,
            Self::QueueFull { .. } => 7,
            Self::Stopping { .. } => 8,
            Self::Request { .. } => 9,
        }
    }

    /// Its name in metrics, and for scripts.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }
}

/// What hears of the outcome, once.
pub(super) type Done = Box<dyn FnOnce(Result<Answer, CallError>) + Send>;
