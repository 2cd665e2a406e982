//! What the generator's connections say, and what they must hear. The loops know nothing of it.

use super::tally::{Class, Fault};

/// An answer that is there whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Which of the dialect's requests it belongs to, where these are reported apart.
    pub(crate) kind: usize,
    /// It is not what was asked for. The connection goes on.
    pub(crate) fault: Option<Fault>,
    /// The server closes the connection after it.
    pub(crate) is_last: bool,
}

impl Answer {
    /// As it should be, on a connection that stays.
    pub(crate) const RIGHT: Answer = Answer { kind: 0, fault: None, is_last: false };
}

/// A protocol as one generator thread speaks it.
pub(crate) trait Dialect: Send + 'static {
    /// What is remembered of one connection.
    type Talk;

    /// How many kinds of requests are reported apart; 1: none.
    fn kinds(&self) -> usize {
        1
    }

    /// The kind of a request that was due and is never asked.
    fn unasked(&mut self) -> usize {
        0
    }

    /// A connection begins; `serial` numbers those of a run.
    fn begin(&mut self, class: Class, serial: u64) -> Self::Talk;

    /// Appends the next request. `false`: nothing is left to ask, on this or any connection.
    fn ask(&mut self, talk: &mut Self::Talk, out: &mut Vec<u8>) -> bool;

    /// Takes what a read has returned, and gives each answer that it completes.
    ///
    /// # Errors
    /// If the connection is of no use after these bytes.
    fn hear(&mut self, talk: &mut Self::Talk, bytes: &[u8], each: &mut impl FnMut(Answer)) -> Result<(), Fault>;

    /// The server has closed; an answer that ends with its connection is complete now.
    ///
    /// # Errors
    /// If it should not have closed yet.
    fn hear_end(&mut self, talk: &mut Self::Talk, each: &mut impl FnMut(Answer)) -> Result<(), Fault>;
}
