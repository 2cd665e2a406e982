//! Where a subscriber is in the stream of all messages.

use std::fmt;
use std::str::FromStr;

/// `EPOCH-OFFSET`: which run of the server, and which message of it. All messages of a server are in one sequence, so that
/// one encoding of a message serves all its recipients; a recipient sees increasing offsets, with gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Different in each run of the server. Eight hexadecimal digits when written.
    pub epoch: u32,
    /// The number of the message, from 1; 0 is before all messages.
    pub offset: u64,
}

impl Position {
    /// Of no run: whatever came before is lost.
    pub(crate) const UNKNOWN: Self = Self { epoch: 0, offset: u64::MAX };
}

/// A position that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no position: give one as it was received, EPOCH-OFFSET (8 hexadecimal digits, a number)")]
pub struct PositionError(String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let wrong = || PositionError(text.chars().take(40).collect());
        let (epoch, offset) = text.split_once('-').ok_or_else(wrong)?;
        if epoch.len() != 8 || !epoch.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        if offset.is_empty() || !offset.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| wrong())?;
        Ok(Self { epoch, offset: offset.parse().map_err(|_| wrong())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let position = Position { epoch: 0xab, offset: u64::MAX };
        assert_eq!(position.to_string(), "000000ab-18446744073709551615");
        assert_eq!(position.to_string().parse(), Ok(position));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["", "-", "1-1", "000000ab", "000000ab-", "000000ab--1", "000000ab-+1", "000000ag-1", "+00000ab-1"]
        {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        assert!("000000ab-18446744073709551616".parse::<Position>().is_err());
    }
}
