//! Names of connections that outlive them safely.

use std::fmt;

/// One life of one slot of the connection table: an event or a message for an earlier life never matches.
///
/// It is what epoll carries as its 64 bits of user data (`generation << 32 | slot`), and what
/// [`Remote`](crate::Remote) takes to reach a connection from any thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    /// epoll data of a group's wake-up descriptor; no slot has this number.
    pub(crate) const WAKE: u64 = u64::MAX;

    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    pub(crate) const fn slot(self) -> u32 {
        self.slot
    }

    pub(crate) const fn generation(self) -> u32 {
        self.generation
    }

    /// The token as one number, for logs, tables and scripts.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.slot as u64
    }

    /// The token that [`to_bits`](Self::to_bits) gave. A number that never was a token names no connection.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    pub const fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.slot, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_round_trip() {
        let token = Token::new(7, 0xdead_beef);
        assert_eq!(Token::from_bits(token.to_bits()), token);
        assert_eq!(token.to_string(), "7#3735928559");
    }

    #[test]
    fn two_lives_of_a_slot_differ() {
        assert_ne!(Token::new(7, 1), Token::new(7, 2));
    }
}
