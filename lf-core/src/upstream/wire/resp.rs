//! RESP2, the protocol of redis: values as they are answered, and a look at commands before they are sent.

use crate::codec::{Decoded, FrameError};

/// Arrays inside arrays at most.
const DEPTH_MAX: usize = 16;
/// Bytes of a line at most: lengths, numbers, errors.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RespValue {
    /// A short text, such as `OK`.
    Simple(String),
    /// An error of the command; the call itself has worked.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// Nothing: no such key, or no such array.
    Nil,
    /// Values.
    Array(Vec<RespValue>),
}

/// How far a value has been walked through.
#[derive(Debug, Default)]
struct Walk {
    at: usize,
    /// For each array that is open, the values that are missing; the outermost is the value itself.
    missing: Vec<usize>,
}

fn malformed<T>(reason: &'static str) -> Result<T, FrameError> {
    Err(FrameError::Malformed(reason))
}

/// A line without its ending, and where the next one begins.
fn line_at(input: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, FrameError> {
    let rest = input.get(at..).unwrap_or_default();
    match memchr::memchr(b'\n', rest) {
        Some(end) if end > 0 && rest[end - 1] == b'\r' => Ok(Some((&rest[..end - 1], at + end + 1))),
        Some(_) => malformed("a line end without CR"),
        None if rest.len() > LINE_BYTES_MAX => malformed("a line without end"),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, FrameError> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.map_or_else(|| malformed("a number"), Ok)
}

impl Walk {
    fn new() -> Self {
        Self { at: 0, missing: vec![1] }
    }

    /// Goes on. Answers where the value ends, or how many bytes are needed to go on.
    fn on(&mut self, input: &[u8], bytes_max: usize) -> Result<Result<usize, usize>, FrameError> {
        let too_large = |bytes: usize| FrameError::TooLarge { bytes: bytes as u64, limit: bytes_max };
        loop {
            while self.missing.last() == Some(&0) {
                self.missing.pop();
            }
            let Some(missing) = self.missing.last_mut() else { return Ok(Ok(self.at)) };
            if self.at > bytes_max {
                return Err(too_large(self.at));
            }
            let Some((line, next)) = line_at(input, self.at)? else { return Ok(Err(input.len() + 1)) };
            let Some((kind, rest)) = line.split_first() else { return malformed("an empty line") };
            match kind {
                b'+' | b'-' => self.at = next,
                b':' => {
                    number(rest)?;
                    self.at = next;
                }
                b'$' => match usize::try_from(number(rest)?) {
                    Err(_) if rest == b"-1" => self.at = next,
                    Err(_) => return malformed("a negative length"),
                    Ok(len) if len > bytes_max => return Err(too_large(len)),
                    Ok(len) => match input.get(next + len..next + len + 2) {
                        None => return Ok(Err(next + len + 2)),
                        Some(b"\r\n") => self.at = next + len + 2,
                        Some(_) => return malformed("no line end behind a bulk"),
                    },
                },
                b'*' => match usize::try_from(number(rest)?) {
                    Err(_) if rest == b"-1" => self.at = next,
                    Err(_) => return malformed("a negative length"),
                    // Each value takes three bytes at least.
                    Ok(count) if count > bytes_max / 3 => return Err(too_large(count)),
                    Ok(count) => {
                        *missing -= 1;
                        self.at = next;
                        if self.missing.len() >= DEPTH_MAX {
                            return malformed("arrays too deep inside each other");
                        }
                        self.missing.push(count);
                        continue;
                    }
                },
                _ => return malformed("the kind of a value"),
            }
            *missing -= 1;
        }
    }
}

/// Builds the value at `at`, which was walked through before.
fn build(input: &[u8], at: &mut usize) -> Result<RespValue, FrameError> {
    let Some((line, next)) = line_at(input, *at)? else { return malformed("a value that ends early") };
    let Some((kind, rest)) = line.split_first() else { return malformed("an empty line") };
    *at = next;
    let text = || String::from_utf8_lossy(rest).into_owned();
    Ok(match kind {
        b'+' => RespValue::Simple(text()),
        b'-' => RespValue::Error(text()),
        b':' => RespValue::Integer(number(rest)?),
        b'$' => match usize::try_from(number(rest)?) {
            Err(_) => RespValue::Nil,
            Ok(len) => {
                *at = next + len + 2;
                RespValue::Bulk(input.get(next..next + len).unwrap_or_default().to_vec())
            }
        },
        b'*' => match usize::try_from(number(rest)?) {
            Err(_) => RespValue::Nil,
            Ok(count) => RespValue::Array((0..count).map(|_| build(input, at)).collect::<Result<_, _>>()?),
        },
        _ => return malformed("the kind of a value"),
    })
}

/// Reads one value after the other; a value that comes in many pieces is walked through once.
#[derive(Debug)]
pub(super) struct RespReader {
    bytes_max: usize,
    walk: Walk,
}

impl RespReader {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, walk: Walk::new() }
    }

    pub(super) fn read(&mut self, input: &[u8]) -> Result<Decoded<RespValue>, FrameError> {
        match self.walk.on(input, self.bytes_max)? {
            Err(needed) => Ok(Decoded::Partial { examined: input.len(), needed }),
            Ok(consumed) => {
                self.walk = Walk::new();
                Ok(Decoded::Frame { frame: build(input, &mut 0)?, consumed })
            }
        }
    }
}

/// Commands after which answers do not come one for each command, or that change the connection for the calls of others.
const NOT_SHARED: [&str; 21] = [
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
    "MONITOR",
    "SYNC",
    "PSYNC",
    "QUIT",
    "HELLO",
    "RESET",
    "SELECT",
    "AUTH",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH",
    "UNWATCH",
    "CLIENT",
    "REPLCONF",
];

/// Whether `body` is one command that calls may share a connection with.
pub(super) fn check(body: &[u8]) -> Result<(), &'static str> {
    const WANTED: &str = "redis takes one command, an array of bulk strings";
    if body.first() != Some(&b'*') || !matches!(Walk::new().on(body, usize::MAX / 2), Ok(Ok(end)) if end == body.len())
    {
        return Err(WANTED);
    }
    let Ok(RespValue::Array(parts)) = build(body, &mut 0) else { return Err(WANTED) };
    if !parts.iter().all(|part| matches!(part, RespValue::Bulk(_))) {
        return Err(WANTED);
    }
    let Some(RespValue::Bulk(name)) = parts.first() else { return Err(WANTED) };
    if NOT_SHARED.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes())) {
        return Err("this redis command needs a connection of its own");
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::upstream::Call;

    /// Feeds the bytes one by one.
    fn read(bytes: &[u8]) -> Result<Option<(RespValue, usize)>, FrameError> {
        let mut reader = RespReader::new(1000);
        for upto in 1..=bytes.len() {
            match reader.read(&bytes[..upto])? {
                Decoded::Frame { frame, consumed } => return Ok(Some((frame, consumed))),
                Decoded::Partial { needed, .. } => assert!(needed > upto),
            }
        }
        Ok(None)
    }

    #[test]
    fn every_kind_of_value_is_read() {
        use RespValue::{Array, Bulk, Error, Integer, Nil, Simple};
        for (text, value) in [
            ("+OK\r\n", Simple("OK".into())),
            ("-ERR no\r\n", Error("ERR no".into())),
            (":-12\r\n", Integer(-12)),
            ("$3\r\na\r\n\r\n", Bulk(b"a\r\n".to_vec())),
            ("$0\r\n\r\n", Bulk(Vec::new())),
            ("$-1\r\n", Nil),
            ("*-1\r\n", Nil),
            ("*0\r\n", Array(Vec::new())),
            (
                "*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n+y\r\n",
                Array(vec![Integer(1), Array(vec![Bulk(b"x".to_vec()), Array(Vec::new())]), Simple("y".into())]),
            ),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), Some((value, text.len())), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_value_or_too_large_is_refused_before_it_is_there() {
        for text in ["hello\r\n", "\r\n", ":x\r\n", "$-2\r\n", "*-3\r\n", "+a\n", "$1\r\nabc", &"*1\r\n".repeat(17)] {
            assert!(matches!(read(text.as_bytes()), Err(FrameError::Malformed(_))), "{text:?}");
        }
        for text in ["$1001\r\n", "*334\r\n"] {
            assert!(matches!(read(text.as_bytes()), Err(FrameError::TooLarge { .. })), "{text:?}");
        }
    }

    #[test]
    fn only_whole_commands_that_share_a_connection_are_sent() {
        assert_eq!(check(&Call::redis(["SET", "a", "b"]).body), Ok(()));
        assert!(check(&Call::redis(["subscribe", "a"]).body).is_err());
        let mut two = Call::redis(["GET", "a"]).body;
        two.extend_from_slice(&two.clone());
        for body in [&b"GET a\r\n"[..], b"*1\r\n:1\r\n", b"*0\r\n", b"", b"*1\r\n$3\r\nGE", &two] {
            assert!(check(body).is_err());
        }
    }
}
