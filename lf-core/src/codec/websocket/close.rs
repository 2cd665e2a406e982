//! Why a WebSocket is closed.

use super::write;
use crate::codec::FrameError;

/// A status code that may stand in a close frame (RFC 6455, section 7.4, and its registry): 1000-1003, 1007-1014, 3000-4999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The connection has served its purpose.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// Frames that the protocol does not allow.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of message that the receiver does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// A payload that is not what its kind says, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A rule of the receiver's, where no other code fits.
    pub const POLICY: Self = Self(1008);
    /// A message over the receiver's limit.
    pub const TOO_BIG: Self = Self(1009);
    /// The server cannot go on.
    pub const INTERNAL: Self = Self(1011);
    /// The server restarts: come back after a random delay.
    pub const RESTART: Self = Self(1012);
    /// The server has too much to do: come back later.
    pub const TRY_LATER: Self = Self(1013);

    /// `None` for a number that is not assigned, or that stands for a connection without a close frame.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The peer broke the protocol or went over a limit; the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (close code {})", .code.get())]
pub struct Violation {
    /// What the close frame says.
    pub code: CloseCode,
    /// What was wrong, short enough for a close frame.
    pub reason: &'static str,
}

impl Violation {
    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self { code: CloseCode::PROTOCOL, reason }
    }

    pub(super) const fn too_big(reason: &'static str) -> Self {
        Self { code: CloseCode::TOO_BIG, reason }
    }

    pub(super) const fn policy(reason: &'static str) -> Self {
        Self { code: CloseCode::POLICY, reason }
    }

    pub(super) const fn payload(reason: &'static str) -> Self {
        Self { code: CloseCode::INVALID_PAYLOAD, reason }
    }

    /// Appends the close frame that tells the peer.
    pub fn write_close(&self, out: &mut Vec<u8>) {
        write::write_close(out, self.code, self.reason);
    }
}

impl From<Violation> for FrameError {
    fn from(Violation { code, reason }: Violation) -> Self {
        Self::Refused { code: code.get(), reason }
    }
}

/// The code and the reason in the payload of a close frame.
pub(super) fn parse(payload: &[u8]) -> Result<(Option<CloseCode>, String), Violation> {
    let code = match *payload {
        [] => return Ok((None, String::new())),
        [_] => return Err(Violation::protocol("a close frame of one byte")),
        [high, low, ..] => CloseCode::new(u16::from_be_bytes([high, low])),
    };
    if code.is_none() {
        return Err(Violation::protocol("a close code that must not be sent"));
    }
    let reason =
        std::str::from_utf8(&payload[2..]).map_err(|_| Violation::payload("a close reason that is not UTF-8"))?;
    Ok((code, reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_stand_for_no_close_frame_or_for_nothing_are_refused() {
        let allowed = |code| CloseCode::new(code).is_some();
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert!(allowed(code), "{code}");
        }
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
            assert!(!allowed(code), "{code}");
        }
    }

    #[test]
    fn a_violation_says_what_was_wrong_and_its_code() {
        let violation = Violation::protocol("a reserved bit is set");
        assert_eq!(violation.to_string(), "a reserved bit is set (close code 1002)");
        assert_eq!(FrameError::from(violation), FrameError::Refused { code: 1002, reason: "a reserved bit is set" });
    }
}
