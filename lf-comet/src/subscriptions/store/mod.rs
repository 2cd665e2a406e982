//! What subscriptions need of a store, and the one that they have.

mod redb;

pub(super) use self::redb::RedbStore;
use super::error::Error;
use std::ops::Range;

/// What a record is about; records are read kind by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The one record about the store itself.
    Meta = 0,
    /// The names of a range of numbers.
    Names = 1,
    /// Whom a range of numbers follows.
    Sources = 2,
    /// Changes that are not in the blocks yet, in their order.
    Log = 3,
}

/// A record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) number: u64,
}

/// A part of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// Puts a record in the place of what is there.
    Put(Key, Vec<u8>),
    /// Removes the records of a kind in a range.
    Remove(Kind, Range<u64>),
}

/// When a commit is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Before it returns, twice: a fault in what was written last does not take it away.
    Twice,
    /// Before it returns. For what changes no subscription: if it is lost, nothing is.
    Once,
    /// With the next one that is.
    Later,
}

/// What is called with records: their numbers and bytes.
pub(super) type Each<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Error>;

/// Records on disk, changed in transactions. What `read` gives is what was committed or else an error: that is checked
/// when the store is opened.
pub(super) trait Store: Send {
    /// Calls `each` with the records of a kind in ascending order, until it fails.
    fn read(&self, kind: Kind, each: Each<'_>) -> Result<(), Error>;

    /// Writes all or nothing. After an error it is not known which; the store has to be opened anew.
    fn commit(&mut self, writes: &[Write], durability: Durability) -> Result<(), Error>;

    /// Closes the file.
    fn close(self: Box<Self>) -> Result<(), Error>;
}
