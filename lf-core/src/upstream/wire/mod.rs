//! What goes over the wire: one codec for the client side of every protocol, told by its connection which one it is.

pub(super) mod http;
pub(super) mod request;
pub(super) mod resp;

use super::config::{Protocol, UpstreamConfig};
use crate::codec::{Codec, Decoded, FrameError, Len32, Line, Nshead, NsheadFrame};
use http::{HttpAnswer, HttpReader};
use resp::{RespReader, RespValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Reads answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire;

#[derive(Debug, Default)]
enum Reader {
    #[default]
    None,
    Nshead(Nshead),
    Len32(Len32),
    Line(Line),
    Http(HttpReader),
    Redis(RespReader),
}

/// How far one connection has read.
#[derive(Debug, Default)]
pub(super) struct WireState {
    reader: Reader,
    /// Some of an answer has come.
    begun: Arc<AtomicBool>,
}

impl WireState {
    pub(super) fn new(config: &UpstreamConfig, begun: Arc<AtomicBool>) -> Self {
        let bytes_max = config.answer_max;
        let reader = match config.protocol {
            Protocol::Nshead => Reader::Nshead(Nshead::new(bytes_max)),
            Protocol::Len32 => Reader::Len32(Len32::new(bytes_max)),
            Protocol::Line => Reader::Line(Line::new(bytes_max)),
            Protocol::Http => Reader::Http(HttpReader::new(bytes_max)),
            Protocol::Redis => Reader::Redis(RespReader::new(bytes_max)),
        };
        Self { reader, begun }
    }

    /// The next answer has no body, whatever its head says.
    pub(super) fn expect_head_only(&mut self, head_only: bool) {
        if let Reader::Http(reader) = &mut self.reader {
            reader.head_only = head_only;
        }
    }
}

/// An answer, as its protocol says it.
#[derive(Debug)]
pub(super) enum Reply<'a> {
    Nshead(NsheadFrame<'a>),
    Bytes(&'a [u8]),
    Http(HttpAnswer),
    Redis(RespValue),
    /// The answer is still to come (HTTP 1xx).
    Interim,
}

fn mapped<'a, F>(decoded: Decoded<F>, f: impl FnOnce(F) -> Reply<'a>) -> Decoded<Reply<'a>> {
    match decoded {
        Decoded::Frame { frame, consumed } => Decoded::Frame { frame: f(frame), consumed },
        Decoded::Partial { examined, needed } => Decoded::Partial { examined, needed },
    }
}

impl Codec for Wire {
    type Frame<'a> = Reply<'a>;
    type State = WireState;

    fn decode<'a>(
        &self,
        state: &mut WireState,
        input: &'a [u8],
        examined: usize,
    ) -> Result<Decoded<Reply<'a>>, FrameError> {
        let decoded = match &mut state.reader {
            Reader::None => Err(FrameError::Malformed("nothing was asked")),
            Reader::Nshead(codec) => Ok(mapped(codec.decode(&mut (), input, examined)?, Reply::Nshead)),
            Reader::Len32(codec) => Ok(mapped(codec.decode(&mut (), input, examined)?, Reply::Bytes)),
            Reader::Line(codec) => Ok(mapped(codec.decode(&mut (), input, examined)?, Reply::Bytes)),
            Reader::Http(reader) => reader.read(input),
            Reader::Redis(reader) => Ok(mapped(reader.read(input)?, Reply::Redis)),
        }?;
        if matches!(decoded, Decoded::Partial { .. }) {
            state.begun.store(true, Ordering::Relaxed);
        }
        Ok(decoded)
    }

    fn finish<'a>(&self, state: &mut WireState, rest: &'a [u8]) -> Result<Option<Reply<'a>>, FrameError> {
        match &mut state.reader {
            Reader::Http(reader) => reader.finish(rest).map(|answer| Some(Reply::Http(answer))),
            Reader::None | Reader::Nshead(_) | Reader::Len32(_) | Reader::Line(_) | Reader::Redis(_) => {
                Err(FrameError::Truncated { bytes: rest.len() })
            }
        }
    }

    fn encode(&self, _frame: Reply<'_>, _out: &mut Vec<u8>) -> Result<(), FrameError> {
        Err(FrameError::Unwritable("this side asks"))
    }
}
