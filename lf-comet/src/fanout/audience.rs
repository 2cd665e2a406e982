//! Who gets a message, dealt over the strands.

use crate::logins::Login;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Strands: the pieces into which a big audience is cut.
pub(super) const STRANDS: usize = 256;
/// Neighbours in the connection table that are in the same strand.
const STRAND_SLOTS: usize = 64;
/// An audience up to this size is served by the publisher's thread: waking another one would cost more.
pub(super) const INLINE_RECIPIENTS_MAX: usize = 16;

/// A strand's part of an audience. The audience is one buffer, cut and not copied: a big one is a mapping of its own, which
/// the allocator gives back to the system when the last strand is done, where a buffer for each strand would stay.
#[derive(Debug)]
pub(super) struct Recipients {
    audience: Arc<Vec<Login>>,
    part: Range<usize>,
}

impl Deref for Recipients {
    type Target = [Login];

    fn deref(&self) -> &[Login] {
        &self.audience[self.part.clone()]
    }
}

impl From<Vec<Login>> for Recipients {
    fn from(logins: Vec<Login>) -> Self {
        Self { part: 0..logins.len(), audience: Arc::new(logins) }
    }
}

/// An audience, dealt over the strands.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    /// The recipients of a strand, by its number. Who came late is in a piece of its own.
    pub(super) pieces: Vec<(usize, Recipients)>,
    len: usize,
}

impl Audience {
    /// Deals `recipients`; each connection once, where `repeats` says that one may be there several times.
    pub(crate) fn deal(mut recipients: Vec<Login>, repeats: bool) -> Self {
        // Neighbours in the table are mostly neighbours in the kernel's memory too.
        recipients.sort_unstable_by_key(|login| (strand_of(*login), *login));
        if repeats {
            recipients.dedup();
        }
        let audience = Arc::new(recipients);
        let mut begin = 0;
        let piece = |same: &[Login]| {
            let part = begin..begin + same.len();
            begin = part.end;
            (strand_of(same[0]), Recipients { audience: Arc::clone(&audience), part })
        };
        let pieces = audience.chunk_by(|one, other| strand_of(*one) == strand_of(*other)).map(piece).collect();
        Self { pieces, len: audience.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains(&self, login: Login) -> bool {
        let strand = strand_of(login);
        self.pieces.iter().any(|(of, piece)| *of == strand && piece.contains(&login))
    }

    pub(crate) fn remove(&mut self, login: Login) {
        let strand = strand_of(login);
        for (_, piece) in self.pieces.iter_mut().filter(|(of, piece)| *of == strand && piece.contains(&login)) {
            let others: Vec<_> = piece.iter().copied().filter(|other| *other != login).collect();
            self.len -= piece.len() - others.len();
            *piece = others.into();
        }
        self.pieces.retain(|(_, piece)| !piece.is_empty());
    }

    pub(crate) fn add(&mut self, login: Login) {
        self.len += 1;
        self.pieces.push((strand_of(login), vec![login].into()));
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the slot is the lower half")]
fn strand_of(login: Login) -> usize {
    (login.token.to_bits() as u32 as usize / STRAND_SLOTS) % STRANDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::Encoding;
    use lf_core::Token;

    fn login(slot: u64) -> Login {
        Login { token: Token::from_bits(slot), encoding: Encoding::Event }
    }

    fn recipients(audience: &Audience) -> Vec<Login> {
        for (strand, piece) in &audience.pieces {
            assert!(!piece.is_empty() && piece.iter().all(|login| strand_of(*login) == *strand));
        }
        let mut all: Vec<_> = audience.pieces.iter().flat_map(|(_, piece)| piece.iter().copied()).collect();
        assert_eq!(all.len(), audience.len());
        all.sort_unstable();
        all
    }

    #[test]
    fn everyone_is_dealt_once_whoever_comes_and_goes() {
        for count in [0, 1, 16, 17, 1000, 40_000] {
            let logins: Vec<_> = (0..count).map(login).collect();
            let mut audience = Audience::deal(logins.iter().rev().chain(&logins).copied().collect(), true);
            assert_eq!(recipients(&audience), logins);
            assert!(audience.pieces.len() <= STRANDS);
            audience.add(login(count));
            logins.iter().skip(3).for_each(|gone| audience.remove(*gone));
            audience.remove(login(count + 1));
            let left: Vec<_> = (0..count.min(3)).chain([count]).map(login).collect();
            assert_eq!(recipients(&audience), left);
            assert!(audience.contains(login(count)) && !audience.contains(login(count + 1)));
        }
    }
}
