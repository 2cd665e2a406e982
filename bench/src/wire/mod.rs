//! The client's side of HTTP, Server-Sent Events, WebSocket and nshead: small, and indifferent to where reads cut.
//!
//! Every parser looks at the bytes that are there and either takes one whole piece or asks for more; what is
//! unfinished is kept by the [`Reader`] and nowhere else.

mod decoder;
mod frame;
mod head;
pub(crate) mod nshead;
mod reader;
mod sse;

pub(crate) use decoder::{Decoder, Heard, Transport};
pub(crate) use frame::{PONG, masked};
pub(crate) use reader::{Content, Piece, Reader};

use crate::load::Fault;
use std::fmt;

/// What a server has sent that no client could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// An answer with another status than a stream has.
    Status(u16),
    /// Bytes that do not follow the format.
    Format(&'static str),
    /// A piece that does not end within the limit.
    Endless(usize),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Status(status) => write!(f, "status {status}"),
            Broken::Format(what) => write!(f, "malformed {what}"),
            Broken::Endless(limit) => write!(f, "a message of more than {limit} bytes"),
        }
    }
}

/// Why a connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broke {
    Stream(Fault),
    Format(Broken),
}

/// Up to the first newline: the line without its end, and how many bytes that took.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}
