//! From records back to names and edges.

use super::block::{BLOCK_BITS, Block};
use super::error::Error;
use super::format::{self, Change, FORMAT, Meta, Unreadable};
use super::graph::Graph;
use super::store::{Key, Kind, Store};
use crate::names::{NameRef, Names};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

/// How far a long step is: of so many edges, so many are done.
pub(super) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The last word of the log about each name and edge, which goes before what the blocks say. Blocks may have been written
/// later than a part of the log, so in between they can contradict each other; at the end they do not.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) names: BTreeMap<u32, Option<Box<str>>>,
    pub(super) edges: BTreeMap<(u32, u32), bool>,
    pub(super) changes: u64,
    /// The number of the next record.
    pub(super) next: u64,
}

/// A store that is read.
pub(super) struct Restore<'a> {
    store: &'a dyn Store,
    path: &'a Path,
    pub(super) meta: Meta,
    pub(super) log: Log,
    /// How many edges there have to be.
    pub(super) edges: u64,
}

impl<'a> Restore<'a> {
    /// Reads the log.
    pub(super) fn begin(store: &'a dyn Store, path: &'a Path) -> Result<Self, Error> {
        let mut restore = Self { store, path, meta: Meta::default(), log: Log::default(), edges: 0 };
        let mut meta = None;
        store.read(Kind::Meta, &mut |number, record| {
            if number != Meta::KEY.number {
                return Err(restore.damaged("there is a record too many"));
            }
            meta = Some(Meta::decode(record).map_err(|error| restore.unreadable(Meta::KEY, &error))?);
            Ok(())
        })?;
        restore.meta = meta.ok_or_else(|| restore.damaged("there is no record of what it has"))?;
        let (mut log, mut edges) = (Log { next: restore.meta.log_first, ..Log::default() }, restore.meta.edges);
        store.read(Kind::Log, &mut |number, record| {
            if number != log.next {
                return Err(restore.damaged(&format!("record {} of the log is missing", log.next)));
            }
            let read = format::decode_log(number, record, |change| log.take(change));
            edges = read.map_err(|error| restore.unreadable(Key { kind: Kind::Log, number }, &error))?;
            log.next += 1;
            Ok(())
        })?;
        Ok(Self { log, edges, ..restore })
    }

    pub(super) fn damaged(&self, what: &str) -> Error {
        Error::Damaged { path: self.path.to_owned(), what: what.to_owned() }
    }

    fn unreadable(&self, key: Key, error: &Unreadable) -> Error {
        match error {
            Unreadable::Damaged(what) => self.damaged(&format!("{what} ({:?} {})", key.kind, key.number)),
            Unreadable::Format(found) => Error::Format { path: self.path.to_owned(), found: *found, known: FORMAT },
        }
    }

    /// The record's index, if it is one of those that can be.
    fn index(&self, number: u64, bits: u32) -> Result<u32, Error> {
        let index = u32::try_from(number).ok().filter(|index| index.leading_zeros() >= u32::BITS - bits);
        index.ok_or_else(|| self.damaged(&format!("there is no place {number}")))
    }

    /// Calls `each` with all names, until it answers `false`, which is an error.
    pub(super) fn names(&self, mut each: impl FnMut(u32, NameRef<'_>) -> bool) -> Result<(), Error> {
        let mut twice = None;
        let mut give = |number, name: NameRef<'_>| {
            if !each(number, name) {
                twice = Some(format!("{name} and number {number} are there twice"));
            }
        };
        self.store.read(Kind::Names, &mut |number, record| {
            let index = self.index(number, u32::BITS - format::NAMES_ROWS.trailing_zeros())?;
            let read = format::decode_names(index, record, |number, name| {
                if !self.log.names.contains_key(&number) {
                    give(number, name);
                }
            });
            read.map_err(|error| self.unreadable(Key { kind: Kind::Names, number }, &error))
        })?;
        for (number, name) in &self.log.names {
            if let Some(name) = name {
                give(*number, NameRef::from(name.as_ref()));
            }
        }
        twice.map_or(Ok(()), |what| Err(self.damaged(&what)))
    }

    /// Calls `each` with all blocks of sources.
    pub(super) fn blocks(&self, mut each: impl FnMut(u32, Block) -> Result<(), Error>) -> Result<(), Error> {
        let mut changed: BTreeSet<_> = self.log.edges.keys().map(|(subscriber, _)| subscriber >> BLOCK_BITS).collect();
        self.store.read(Kind::Sources, &mut |number, record| {
            let index = self.index(number, u32::BITS - BLOCK_BITS)?;
            let block = format::decode_block(index, record);
            let block = block.map_err(|error| self.unreadable(Key { kind: Kind::Sources, number }, &error))?;
            changed.remove(&index);
            each(index, self.log.changed(index, block))
        })?;
        changed.into_iter().try_for_each(|index| each(index, self.log.changed(index, Block::default())))
    }

    /// Names and graph, checked: who has edges has a name, and nobody else.
    pub(super) fn graph<T: Default>(&self, names: &Names<T>, progress: Progress<'_>) -> Result<Graph, Error> {
        let mut refill = names.refill().ok_or_else(|| Error::NamesInUse(names.len()))?;
        self.names(|number, name| refill.insert(number, name))?;
        drop(refill);
        let numbers_end = names.numbers_end();
        let (mut blocks, mut done) = (Vec::new(), 0);
        self.blocks(|index, block| {
            for (_, cells) in block.rows() {
                done += cells.len() as u64;
                if cells.last().is_some_and(|highest| u64::from(*highest) >= numbers_end) {
                    return Err(self.damaged("there is an edge to nobody"));
                }
            }
            progress(done, self.edges);
            blocks.push((index, block));
            Ok(())
        })?;
        if done != self.edges {
            return Err(self.damaged(&format!("there are {done} edges instead of {}", self.edges)));
        }
        let is_out = |index: &u32| u64::from(*index) << BLOCK_BITS >= numbers_end;
        if blocks.iter().any(|(index, block)| is_out(index) && block.rows().any(|(_, cells)| !cells.is_empty())) {
            return Err(self.damaged("there is an edge of nobody"));
        }
        let graph = Graph::of(blocks);
        let numbers = (0..=u32::MAX).take_while(|number| u64::from(*number) < numbers_end);
        for number in numbers {
            if graph.is_used(number) != names.is_kept(number) {
                return Err(self.damaged(&format!("number {number} has either edges or a name, but not both")));
            }
        }
        Ok(graph)
    }
}

impl Log {
    fn take(&mut self, change: Change<'_>) {
        self.changes += 1;
        match change {
            Change::Name(number, name) => drop(self.names.insert(number, Some(name.to_string().into()))),
            Change::Forget(number) => drop(self.names.insert(number, None)),
            Change::Follow(subscriber, source) => drop(self.edges.insert((subscriber, source), true)),
            Change::Unfollow(subscriber, source) => drop(self.edges.insert((subscriber, source), false)),
        }
    }

    fn changed(&self, index: u32, mut block: Block) -> Block {
        let first = index << BLOCK_BITS;
        let Range { start, end } = first..first | ((1 << BLOCK_BITS) - 1);
        let mut changes = self.edges.range((start, 0)..=(end, u32::MAX)).peekable();
        if changes.peek().is_none() {
            return block;
        }
        for ((subscriber, source), is_there) in changes {
            block.set(subscriber.to_le_bytes()[0], *source, *is_there);
            if block.is_due() {
                block = block.merged();
            }
        }
        block.merged()
    }
}
