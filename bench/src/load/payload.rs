//! What is sent and what must come back: one prebuilt frame whose stamp changes with every request.
//!
//! All frames of a payload have one length, so a received stream is checked by position with a
//! `memcmp` and nothing has to be remembered per request.

use crate::wire::nshead::Header;
use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Bytes that a body is made of, again and again.
const PATTERN: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-";
const LEN32_BYTES: usize = 4;

/// Hexadecimal digits of a stamp where the message has room for them.
const STAMP_DIGITS_MAX: usize = 16;

/// How messages are delimited on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Frame {
    /// Ends with a newline.
    Line,
    /// No delimiter: the echo is counted in bytes.
    Raw,
    /// Four bytes of big-endian length, then the body.
    Len32,
    /// A 36-byte little-endian header, then the body.
    Nshead,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Frame::Line => "line",
            Frame::Raw => "raw",
            Frame::Len32 => "len32",
            Frame::Nshead => "nshead",
        })
    }
}

/// What a request asks of the server besides the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The echo only.
    Nothing,
    /// Sleep that long first.
    Block(Duration),
    /// Burn CPU that long first.
    Work(Duration),
}

impl Ask {
    fn prefix(self) -> String {
        match self {
            Ask::Nothing => String::new(),
            Ask::Block(time) => format!("@block={};", time.as_micros()),
            Ask::Work(time) => format!("@work={};", time.as_micros()),
        }
    }
}

/// A frame and the place of its stamp.
#[derive(Clone)]
pub(crate) struct Payload {
    frame: Vec<u8>,
    stamp_at: usize,
    stamp_digits: usize,
}

impl Payload {
    /// A message of `size` bytes: with the newline of `line`, without the header of `len32` and `nshead`.
    pub(crate) fn new(frame: Frame, size: usize, ask: Ask) -> Result<Self> {
        let prefix = ask.prefix();
        let newline = usize::from(frame == Frame::Line);
        let size_min = prefix.len() + 1 + newline;
        if size < size_min {
            bail!(
                "--size {size}: a {frame} message \"{prefix}...\" needs {size_min} bytes; give --size {size_min} or more"
            );
        }
        let mut bytes = header(frame, size)?;
        let body_at = bytes.len();
        bytes.extend_from_slice(prefix.as_bytes());
        let stamp_at = bytes.len();
        bytes.extend(PATTERN.iter().cycle().take(body_at + size - stamp_at));
        if newline == 1 {
            bytes[body_at + size - 1] = b'\n';
        }
        let stamp_digits = (body_at + size - newline - stamp_at).min(STAMP_DIGITS_MAX);
        Ok(Payload { frame: bytes, stamp_at, stamp_digits })
    }

    /// An nshead message with this header and a body of `size` bytes, which may be 0.
    pub(crate) fn nshead(header: Header, size: usize) -> Result<Self> {
        let mut frame = Header { body_len: body_len(size)?, ..header }.to_bytes().to_vec();
        let stamp_at = frame.len();
        frame.extend(PATTERN.iter().cycle().take(size));
        Ok(Payload { frame, stamp_at, stamp_digits: size.min(STAMP_DIGITS_MAX) })
    }

    /// Bytes of one frame on the wire.
    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    /// The frame with `stamp` written into it. The buffer is reused by the next call.
    pub(crate) fn stamped(&mut self, stamp: u64) -> &[u8] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let field = &mut self.frame[self.stamp_at..self.stamp_at + self.stamp_digits];
        let mut rest = stamp;
        for byte in field.iter_mut().rev() {
            *byte = DIGITS[(rest & 15) as usize];
            rest >>= 4;
        }
        &self.frame
    }
}

fn header(frame: Frame, size: usize) -> Result<Vec<u8>> {
    let body_len = body_len(size)?;
    Ok(match frame {
        Frame::Line | Frame::Raw => Vec::new(),
        Frame::Len32 => {
            debug_assert_eq!(LEN32_BYTES, size_of_val(&body_len));
            body_len.to_be_bytes().to_vec()
        }
        Frame::Nshead => {
            let provider = *b"lf-bench\0\0\0\0\0\0\0\0";
            Header { id: 1, version: 1, log_id: 7, provider, reserved: 0, body_len }.to_bytes().to_vec()
        }
    })
}

fn body_len(size: usize) -> Result<u32> {
    let Ok(body) = u32::try_from(size) else { bail!("--size {size}: at most {} bytes fit a frame", u32::MAX) };
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_asked_size_and_one_newline_at_its_end() {
        let mut payload = Payload::new(Frame::Line, 64, Ask::Nothing).unwrap();
        let frame = payload.stamped(0xabc).to_vec();
        assert_eq!(frame.len(), 64);
        assert_eq!(frame.iter().position(|b| *b == b'\n'), Some(63));
        assert!(frame.starts_with(b"0000000000000abc"));
    }

    #[test]
    fn two_stamps_give_two_frames_even_where_only_one_digit_fits() {
        let mut payload = Payload::new(Frame::Line, 2, Ask::Nothing).unwrap();
        let first = payload.stamped(1).to_vec();
        assert_ne!(first, payload.stamped(2));
    }

    #[test]
    fn a_prefix_comes_first_and_too_small_a_size_names_the_remedy() {
        let ask = Ask::Block(Duration::from_millis(10));
        assert!(Payload::new(Frame::Line, 64, ask).unwrap().stamped(0).starts_with(b"@block=10000;"));
        let error = Payload::new(Frame::Line, 14, ask).err().unwrap().to_string();
        assert!(error.contains("--size 14") && error.contains("--size 15 or more"), "{error}");
    }

    #[test]
    fn headers_declare_the_body_that_follows() {
        let len32 = Payload::new(Frame::Len32, 5, Ask::Nothing).unwrap();
        assert_eq!((len32.len(), &len32.frame[..4]), (9, &[0, 0, 0, 5][..]));
        let nshead = Payload::new(Frame::Nshead, 5, Ask::Nothing).unwrap();
        assert_eq!(nshead.len(), 41);
        assert_eq!(nshead.frame[24..28], 0xfb70_9394_u32.to_le_bytes());
        assert_eq!(nshead.frame[32..36], 5u32.to_le_bytes());
    }
}
