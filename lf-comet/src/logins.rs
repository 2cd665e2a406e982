//! Who is connected under an id.

use crate::publication::Encoding;
use lf_core::Token;
use std::collections::HashSet;

/// A connection that gets what is sent to an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Login {
    pub(crate) token: Token,
    pub(crate) encoding: Encoding,
}

/// The connections of an id, in 16 bytes while there is one at most.
#[derive(Debug, Default)]
pub enum Logins {
    #[default]
    /// Nobody.
    None,
    /// The usual case.
    One(Login),
    /// Several.
    Many(Box<HashSet<Login>>),
}

impl Logins {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) fn insert(&mut self, login: Login) {
        match self {
            Self::None => *self = Self::One(login),
            Self::One(first) => *self = Self::Many(Box::new(HashSet::from([*first, login]))),
            Self::Many(all) => {
                all.insert(login);
            }
        }
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, login: Login) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => {
                let found = *one == login;
                if found {
                    *self = Self::None;
                }
                found
            }
            Self::Many(all) => {
                let found = all.remove(&login);
                if all.is_empty() {
                    *self = Self::None;
                } else if all.capacity() > 4 * all.len().max(8) {
                    all.shrink_to_fit();
                }
                found
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Login> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(login) => (Some(login), None),
            Self::Many(all) => (None, Some(all.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(all) => all.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(slot: u64) -> Login {
        Login { token: Token::from_bits(slot), encoding: Encoding::Event }
    }

    #[test]
    fn an_id_with_one_connection_takes_sixteen_bytes() {
        assert_eq!(size_of::<Logins>(), 16);
    }

    #[test]
    fn logins_come_and_go() {
        let mut logins = Logins::default();
        assert!(!logins.remove(login(1)));
        (1..=3).for_each(|slot| logins.insert(login(slot)));
        logins.insert(login(2));
        assert_eq!(logins.len(), 3);
        let mut all: Vec<_> = logins.iter().copied().collect();
        all.sort();
        assert_eq!(all, [login(1), login(2), login(3)]);
        assert!(logins.remove(login(2)) && !logins.remove(login(2)));
        assert!(logins.remove(login(1)) && logins.remove(login(3)));
        assert!(logins.is_empty());
    }
}
