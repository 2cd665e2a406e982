//! Who gets a message, dealt over the strands.

use crate::logins::Login;

/// Strands: the pieces into which a big audience is cut.
pub(super) const STRANDS: usize = 256;
/// Neighbours in the connection table that are in the same strand.
const STRAND_SLOTS: usize = 64;
/// An audience up to this size is served by the publisher's thread: waking another one would cost more.
pub(super) const INLINE_RECIPIENTS_MAX: usize = 16;

/// An audience, dealt over the strands.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    /// The recipients of a strand, by its number.
    pub(super) pieces: Vec<(usize, Vec<Login>)>,
    len: usize,
}

impl Audience {
    /// Deals `recipients`; each connection once, where `repeats` says that one may be there several times.
    pub(crate) fn deal(mut recipients: Vec<Login>, repeats: bool) -> Self {
        if repeats {
            recipients.sort_unstable();
            recipients.dedup();
        }
        let len = recipients.len();
        if len <= INLINE_RECIPIENTS_MAX {
            let mut audience = Self::default();
            recipients.into_iter().for_each(|login| audience.add(login));
            return audience;
        }
        let mut dealt = vec![Vec::new(); STRANDS];
        recipients.into_iter().for_each(|login| dealt[strand_of(login)].push(login));
        // Neighbours in the table are mostly neighbours in the kernel's memory too.
        dealt.iter_mut().for_each(|piece| piece.sort_unstable());
        let pieces = dealt.into_iter().enumerate().filter(|(_, piece)| !piece.is_empty()).collect();
        Self { pieces, len }
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
        for (_, piece) in self.pieces.iter_mut().filter(|(of, _)| *of == strand) {
            let before = piece.len();
            piece.retain(|other| *other != login);
            self.len -= before - piece.len();
        }
        self.pieces.retain(|(_, piece)| !piece.is_empty());
    }

    pub(crate) fn add(&mut self, login: Login) {
        let strand = strand_of(login);
        self.len += 1;
        match self.pieces.iter_mut().find(|(of, _)| *of == strand) {
            Some((_, piece)) => piece.push(login),
            None => self.pieces.push((strand, vec![login])),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the slot is the lower half")]
fn strand_of(login: Login) -> usize {
    (login.token.to_bits() as u32 as usize / STRAND_SLOTS) % STRANDS
}
