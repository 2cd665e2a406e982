//! The handler: sends back what it gets, after the work that a message asks for.

use lf_core::codec::{Codec, Len32, Line, Nshead, NsheadFrame, Raw};
use lf_core::{Context, Handler, Outcome, Peer};
use std::time::{Duration, Instant};

/// What a handler does before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    /// CPU time to burn.
    pub(crate) work: Duration,
    /// Time to sleep, as a query to a database would.
    pub(crate) block: Duration,
}

/// A message cannot ask for more than this.
const EFFORT_MAX: Duration = Duration::from_secs(10);

impl Effort {
    /// What a message asks for that begins with `@work=US;` or `@block=US;` (microseconds).
    #[must_use]
    pub(crate) fn asked_by(message: &[u8]) -> Option<Self> {
        let [b'@', rest @ ..] = message else { return None };
        let (kind, rest) = match rest {
            [b'w', b'o', b'r', b'k', b'=', rest @ ..] => (b'w', rest),
            [b'b', b'l', b'o', b'c', b'k', b'=', rest @ ..] => (b'b', rest),
            _ => return None,
        };
        let end = rest.iter().take(20).position(|byte| *byte == b';')?;
        let us = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        let time = Duration::from_micros(us).min(EFFORT_MAX);
        Some(if kind == b'w' {
            Self { work: time, ..Self::default() }
        } else {
            Self { block: time, ..Self::default() }
        })
    }

    fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Answers every frame with itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Echo {
    /// What every message costs, unless it asks for something itself.
    pub(crate) effort: Effort,
    /// Says beforehand that it will block, instead of being found out.
    pub(crate) announce: bool,
}

/// The bytes of a frame that may ask for work.
pub(crate) trait Payload: Codec {
    /// The payload of a frame.
    fn payload<'f>(frame: &'f Self::Frame<'_>) -> &'f [u8];
}

macro_rules! payload_is_frame {
    ($($codec:ty)+) => {
        $(impl Payload for $codec {
            fn payload<'f>(frame: &'f Self::Frame<'_>) -> &'f [u8] {
                frame
            }
        })+
    };
}

payload_is_frame!(Raw Line Len32);

impl Payload for Nshead {
    fn payload<'f>(frame: &'f NsheadFrame<'_>) -> &'f [u8] {
        frame.body
    }
}

impl<C: Payload> Handler<C> for Echo {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, C, ()>, frame: C::Frame<'_>) -> Outcome {
        let effort = Effort::asked_by(C::payload(&frame)).unwrap_or(self.effort);
        if !effort.is_none() {
            if self.announce && !effort.block.is_zero() {
                cx.blocking(|| make(effort));
            } else {
                make(effort);
            }
        }
        Ok(cx.send(frame)?)
    }
}

fn make(effort: Effort) {
    if !effort.block.is_zero() {
        std::thread::sleep(effort.block);
    }
    let began = Instant::now();
    while began.elapsed() < effort.work {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_asks_for_blocking_or_work() {
        let us = Duration::from_micros;
        assert_eq!(Effort::asked_by(b"@block=250;x"), Some(Effort { block: us(250), ..Effort::default() }));
        assert_eq!(Effort::asked_by(b"@work=7;"), Some(Effort { work: us(7), ..Effort::default() }));
        assert_eq!(Effort::asked_by(b"@work=999999999999;").map(|e| e.work), Some(EFFORT_MAX));
    }

    #[test]
    fn any_other_message_asks_for_nothing() {
        for message in [&b""[..], b"@", b"@work=", b"@work=5", b"@work=-1;", b"@block=x;", b"block=1;", b"@sleep=1;"] {
            assert_eq!(Effort::asked_by(message), None, "{message:?}");
        }
    }
}
