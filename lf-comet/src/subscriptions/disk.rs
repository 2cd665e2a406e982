//! The log, and how it goes into the blocks.

use super::block::{BLOCK_BITS, Block};
use super::error::Error;
use super::format::{self, Change, Meta, NAMES_ROWS};
use super::graph::Graph;
use super::restore::Log;
use super::store::{Durability, Key, Kind, Store, Write};
use crate::names::Names;
use std::collections::BTreeSet;

/// Changes in the log after which it is folded: what a start has to read and sort, a small part of a million ids.
pub(super) const LOG_CHANGES_MAX: u64 = 1 << 18;
/// Bytes of blocks written at a time, which is how long a change waits for the folding.
const FOLD_BYTES: usize = 1 << 20;

/// A block, which is one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Names(u32),
    Sources(u32),
}

/// A store that is written. A change goes into the log, which is one small record for a group of changes. A log that
/// is long is folded: the blocks that it has changed are written from memory, some at a time, and then it is cut. What a
/// block has too early, because it was changed meanwhile, is also in the log that remains.
pub(super) struct Disk {
    store: Box<dyn Store>,
    log_first: u64,
    next: u64,
    /// In the log since `log_first`.
    changes: u64,
    changes_max: u64,
    /// Changed since `log_first`, or since the folding began.
    changed: BTreeSet<Part>,
    fold: Option<Fold>,
}

/// A log on its way into the blocks.
struct Fold {
    left: BTreeSet<Part>,
    /// Where the log will begin then.
    end: u64,
    /// Changes in it from there on.
    changes: u64,
}

impl Disk {
    /// Goes on with a store that has this log.
    pub(super) fn new(store: Box<dyn Store>, log_first: u64, log: &Log, changes_max: u64) -> Self {
        let names = log.names.keys().map(|number| Part::of_name(*number));
        let sources = log.edges.keys().map(|(subscriber, _)| Part::of_subscriber(*subscriber));
        let changed = names.chain(sources).collect();
        Self { store, log_first, next: log.next, changes: log.changes, changes_max, changed, fold: None }
    }

    /// Says that the store is in use from now on: if it is not closed, one can tell.
    pub(super) fn begin(&mut self, edges: u64) -> Result<(), Error> {
        self.store.commit(&[self.meta(edges, false)], Durability::Once)
    }

    /// Writes a group of changes, after which there are so many edges.
    pub(super) fn append(&mut self, changes: &[Change<'_>], edges: u64) -> Result<(), Error> {
        let key = Key { kind: Kind::Log, number: self.next };
        let record = format::encode_log(self.next, edges, changes.iter().copied());
        self.store.commit(&[Write::Put(key, record)], Durability::Twice)?;
        self.next += 1;
        self.changes += changes.len() as u64;
        if let Some(fold) = &mut self.fold {
            fold.changes += changes.len() as u64;
        }
        self.changed.extend(changes.iter().map(|change| match change {
            Change::Name(number, _) | Change::Forget(number) => Part::of_name(*number),
            Change::Follow(subscriber, _) | Change::Unfollow(subscriber, _) => Part::of_subscriber(*subscriber),
        }));
        Ok(())
    }

    /// Folds a part of the log if it is long, and all of it if it is much too long.
    pub(super) fn tidy<T: Default>(&mut self, names: &Names<T>, graph: &Graph) -> Result<(), Error> {
        if self.fold.is_none() && self.changes >= self.changes_max {
            let left = std::mem::take(&mut self.changed);
            self.fold = Some(Fold { left, end: self.next, changes: 0 });
        }
        while let Some(mut fold) = self.fold.take() {
            let mut writes = Vec::new();
            let mut bytes = 0;
            while bytes < FOLD_BYTES
                && let Some(part) = fold.left.pop_first()
            {
                let write = part.written(names, graph);
                bytes += if let Write::Put(_, record) = &write { record.len() } else { 0 };
                writes.push(write);
            }
            let is_over = fold.left.is_empty();
            if is_over {
                writes.push(Write::Remove(Kind::Log, self.log_first..fold.end));
                self.log_first = fold.end;
                writes.push(self.meta(graph.edges(), false));
            }
            self.store.commit(&writes, Durability::Once)?;
            if is_over {
                self.changes = fold.changes;
            } else {
                self.fold = Some(fold);
            }
            if self.changes < 2 * self.changes_max {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn close(mut self, edges: u64) -> Result<(), Error> {
        self.store.commit(&[self.meta(edges, true)], Durability::Once)?;
        self.store.close()
    }

    fn meta(&self, edges: u64, is_closed: bool) -> Write {
        Write::Put(Meta::KEY, Meta { edges, log_first: self.log_first, is_closed }.encode())
    }
}

impl Part {
    fn of_name(number: u32) -> Self {
        Self::Names(number / NAMES_ROWS)
    }

    fn of_subscriber(number: u32) -> Self {
        Self::Sources(number >> BLOCK_BITS)
    }

    /// What makes it as it is in memory.
    fn written<T: Default>(self, names: &Names<T>, graph: &Graph) -> Write {
        match self {
            Self::Names(index) => write_names(index, names),
            Self::Sources(index) => write_block(index, &graph.sources.block(index)),
        }
    }
}

pub(super) fn write_names<T: Default>(index: u32, names: &Names<T>) -> Write {
    let numbers = (0..NAMES_ROWS).map(|row| index * NAMES_ROWS + row);
    let kept: Vec<_> = numbers.filter_map(|number| Some((number, names.kept_name(number)?))).collect();
    let record = format::encode_names(index, kept.iter().map(|(number, name)| (*number, name.as_str().into())));
    put_or_remove(Key { kind: Kind::Names, number: index.into() }, record)
}

pub(super) fn write_block(index: u32, block: &Block) -> Write {
    put_or_remove(Key { kind: Kind::Sources, number: index.into() }, format::encode_block(index, block))
}

fn put_or_remove(key: Key, record: Option<Vec<u8>>) -> Write {
    match record {
        Some(record) => Write::Put(key, record),
        None => Write::Remove(key.kind, key.number..key.number + 1),
    }
}
