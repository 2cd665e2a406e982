//! Connections as scripts name them: two numbers, because one of theirs has no room for a token.
//!
//! A script that is not trusted could make numbers up, and name a connection that is none of its calls': one of the
//! server's own, for instance. So each of the two carries half of a code that only this process can make for its VM.

use lf_core::Token;
use std::hash::{BuildHasher, RandomState};

/// Bits of the code in each number: with the 32 below them all that a double holds exactly.
const CODE_BITS: u32 = 21;
const CODE_MASK: u64 = (1 << CODE_BITS) - 1;

/// The two numbers.
pub(crate) type Named = (f64, f64);

/// Makes and reads the names of a VM.
#[derive(Clone, Debug)]
pub(crate) struct Seal(Option<RandomState>);

impl Seal {
    /// With or without a code.
    pub(crate) fn new(with_code: bool) -> Self {
        Self(with_code.then(RandomState::new))
    }

    fn code(&self, bits: u64) -> (u64, u64) {
        let code = self.0.as_ref().map_or(0, |keys| keys.hash_one(bits));
        (code & CODE_MASK, code >> CODE_BITS & CODE_MASK)
    }

    /// The name of a connection.
    #[allow(clippy::cast_precision_loss, reason = "53 bits, which a double holds")]
    pub(crate) fn split(&self, token: Token) -> Named {
        let bits = token.to_bits();
        let (low, high) = self.code(bits);
        ((low << 32 | bits & u64::from(u32::MAX)) as f64, (high << 32 | bits >> 32) as f64)
    }

    /// The connection of a name, unless the name was made up.
    pub(crate) fn joined(&self, (slot, generation): Named) -> Option<Token> {
        let (slot, generation) = (whole(slot)?, whole(generation)?);
        let bits = generation << 32 | slot & u64::from(u32::MAX);
        (self.code(bits) == (slot >> 32, generation >> 32)).then(|| Token::from_bits(bits))
    }
}

/// A number without a fraction that both halves fit in.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "in range")]
fn whole(number: f64) -> Option<u64> {
    let max = (1_u64 << (32 + CODE_BITS)) as f64;
    (number >= 0.0 && number < max && number.fract() == 0.0).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_made(bits: u64) {
            for with_code in [false, true] {
                let seal = Seal::new(with_code);
                prop_assert_eq!(seal.joined(seal.split(Token::from_bits(bits))), Some(Token::from_bits(bits)));
            }
        }

        #[test]
        fn a_name_that_was_changed_is_none(bits: u64, step in 1..1000_u32) {
            let seal = Seal::new(true);
            let (slot, generation) = seal.split(Token::from_bits(bits));
            prop_assert_eq!(seal.joined((slot + f64::from(step), generation)), None);
            prop_assert_eq!(seal.joined((slot, generation + f64::from(step))), None);
            prop_assert_eq!(Seal::new(true).joined((slot, generation)), None);
        }
    }

    #[test]
    fn what_is_no_number_of_ours_is_no_name() {
        let seal = Seal::new(false);
        for number in [f64::NAN, f64::INFINITY, -1.0, 0.5, 1e300] {
            assert_eq!(seal.joined((number, 0.0)), None, "{number}");
        }
    }
}
