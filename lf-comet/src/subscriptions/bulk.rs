//! Many subscriptions at once, into a new file.
//!
//! What is there already goes into the new file as well, and the new file takes the old one's name when it is whole. Until
//! then the old one counts: a load that is interrupted has changed nothing. Memory holds the names; edges are dealt over
//! files by subscriber, and each file is sorted by itself.

use super::block::{BLOCK_BITS, BLOCK_ROWS, Block, end};
use super::disk::{write_block, write_names};
use super::error::Error;
use super::format::{Meta, NAMES_ROWS};
use super::home::Home;
use super::restore::{Progress, Restore};
use super::store::{Durability, RedbStore, Store, Write};
use crate::names::{Names, parse_id};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files over which edges are dealt; each is sorted in memory: of 30 million edges a megabyte.
const PARTS: u32 = 256;
const PART_BUFFER_BYTES: usize = 1 << 15;
const EDGE_BYTES: usize = 8;
/// The unit of `st_blocks`; see stat(2).
const DISK_BLOCK_BYTES: u64 = 512;
/// Records of names in a commit.
const NAMES_PER_COMMIT: usize = 64;

/// What a load has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Subscriptions that were not there before.
    pub added: u64,
    /// Subscriptions that were there, or were given twice.
    pub known: u64,
    /// Subscriptions that are there now.
    pub edges: u64,
    /// Names that have subscriptions now.
    pub names: u64,
    /// What they take on disk.
    pub bytes: u64,
}

/// Edges in files, dealt so that all of a block are in the same one.
struct Spool {
    dir: PathBuf,
    parts: Vec<BufWriter<File>>,
}

impl Spool {
    fn new(dir: PathBuf) -> Result<Self, Error> {
        fs::create_dir(&dir).map_err(|error| Error::disk(&dir, "make the directory", error))?;
        let part = |part| {
            let path = Self::path(&dir, part);
            let file = File::create_new(&path).map_err(|error| Error::disk(path, "make", error))?;
            Ok(BufWriter::with_capacity(PART_BUFFER_BYTES, file))
        };
        let parts = (0..PARTS).map(part).collect::<Result<_, Error>>()?;
        Ok(Self { dir, parts })
    }

    fn path(dir: &Path, part: u32) -> PathBuf {
        dir.join(part.to_string())
    }

    fn push(&mut self, subscriber: u32, source: u32) -> Result<(), Error> {
        let edge = (u64::from(subscriber) << u32::BITS) | u64::from(source);
        let part = &mut self.parts[((subscriber >> BLOCK_BITS) % PARTS) as usize];
        part.write_all(&edge.to_le_bytes()).map_err(|error| Error::disk(&self.dir, "write", error))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.parts.iter_mut().try_for_each(BufWriter::flush).map_err(|error| Error::disk(&self.dir, "write", error))
    }

    /// The edges of a part, each once, in ascending order. The file is gone then.
    fn take(&self, part: u32) -> Result<Vec<u64>, Error> {
        let path = Self::path(&self.dir, part);
        let bytes = fs::read(&path).map_err(|error| Error::disk(&path, "read", error))?;
        let (edges, _) = bytes.as_chunks::<EDGE_BYTES>();
        let mut edges: Vec<_> = edges.iter().map(|edge| u64::from_le_bytes(*edge)).collect();
        edges.sort_unstable();
        edges.dedup();
        fs::remove_file(&path).map_err(|error| Error::disk(path, "remove", error))?;
        Ok(edges)
    }
}

/// A load that is under way.
pub struct Bulk {
    names: Names<()>,
    spool: Spool,
    /// The last subscriber: lists are mostly sorted by them.
    last: (String, u32),
    given: u64,
    edges_before: u64,
    /// Dropped last: what is unfinished lies there.
    home: Home,
}

impl Bulk {
    /// Begins a load into a directory, which is made if it is not there. `progress` is told how much of what is there already
    /// has been read.
    ///
    /// # Errors
    /// If another process has the directory, what is there is damaged, or the disk fails.
    pub fn begin(dir: impl AsRef<Path>, progress: Progress<'_>) -> Result<Self, Error> {
        let home = Home::enter(dir.as_ref())?;
        let spool = Spool::new(home.spool())?;
        let mut bulk =
            Self { names: Names::default(), spool, last: (String::new(), 0), given: 0, edges_before: 0, home };
        let file = bulk.home.file();
        let store = bulk.home.store()?;
        let restore = Restore::begin(&*store, &file)?;
        if let Some(mut refill) = bulk.names.refill() {
            restore.names(|number, name| refill.insert(number, name))?;
        }
        restore.blocks(|index, block| {
            for (row, cells) in block.rows() {
                let subscriber = (index << BLOCK_BITS) | u32::from(row);
                cells.iter().try_for_each(|source| bulk.spool.push(subscriber, *source))?;
                bulk.edges_before += cells.len() as u64;
            }
            progress(bulk.edges_before, restore.edges);
            Ok(())
        })?;
        if bulk.edges_before != restore.edges {
            return Err(restore.damaged("edges are missing"));
        }
        store.close()?;
        Ok(bulk)
    }

    /// Takes a subscription in.
    ///
    /// # Errors
    /// If one of them is not an id, or the disk fails.
    pub fn add(&mut self, subscriber: &str, source: &str) -> Result<(), Error> {
        let (subscriber, source) = self.numbers(subscriber, source)?;
        self.push(subscriber, source)
    }

    /// Takes two subscriptions in: each follows the other.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_both(&mut self, one: &str, other: &str) -> Result<(), Error> {
        let (one, other) = self.numbers(one, other)?;
        self.push(one, other)?;
        self.push(other, one)
    }

    /// Both are ids before either is kept.
    fn numbers(&mut self, one: &str, other: &str) -> Result<(u32, u32), Error> {
        let (one, other) = (parse_id(one.as_bytes())?, parse_id(other.as_bytes())?);
        if self.last.0 != one {
            self.last = (one.to_owned(), self.names.keep(one).0);
        }
        Ok((self.last.1, self.names.keep(other).0))
    }

    fn push(&mut self, subscriber: u32, source: u32) -> Result<(), Error> {
        self.given += 1;
        self.spool.push(subscriber, source)
    }

    /// Writes the new file and puts it in the place of the old one. `progress` is told how much is done.
    ///
    /// # Errors
    /// If the disk fails; what was there before is there then.
    pub fn finish(mut self, progress: Progress<'_>) -> Result<Loaded, Error> {
        self.spool.flush()?;
        let mut store: Box<dyn Store> = Box::new(RedbStore::create(&self.home.draft())?);
        let mut edges = 0;
        for part in 0..PARTS {
            let part_edges = self.spool.take(part)?;
            edges += part_edges.len() as u64;
            store.commit(&blocks(&part_edges), Durability::Later)?;
            progress(u64::from(part) + 1, u64::from(PARTS));
        }
        let records = u32::try_from(self.names.numbers_end().div_ceil(NAMES_ROWS.into())).unwrap_or(u32::MAX);
        for records in (0..records).collect::<Vec<_>>().chunks(NAMES_PER_COMMIT) {
            let writes: Vec<_> = records.iter().map(|index| write_names(*index, &self.names)).collect();
            store.commit(&writes, Durability::Later)?;
        }
        let meta = Meta { edges, log_first: 0, is_closed: true };
        store.commit(&[Write::Put(Meta::KEY, meta.encode())], Durability::Twice)?;
        store.close()?;
        self.home.install_draft()?;
        let file = self.home.file();
        let on_disk = fs::metadata(&file).map_err(|error| Error::disk(file, "look at", error))?;
        let bytes = on_disk.blocks() * DISK_BLOCK_BYTES;
        let added = edges - self.edges_before;
        Ok(Loaded { added, known: self.given - added, edges, names: self.names.len() as u64, bytes })
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        if let Err(error) = self.home.clear() {
            tracing::warn!(%error, "an unfinished load is not cleared away");
        }
    }
}

/// The blocks of edges in ascending order.
fn blocks(edges: &[u64]) -> Vec<Write> {
    let number = |edge: u64, shift: u32| u32::try_from((edge >> shift) & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let index = |edge: &u64| number(*edge, u32::BITS) >> BLOCK_BITS;
    let block = |edges: &[u64]| {
        let first = edges.first().map(index)?;
        let ends = (0..BLOCK_ROWS).map(|row| {
            let subscriber = (first << BLOCK_BITS) | row;
            end(edges.partition_point(|edge| number(*edge, u32::BITS) <= subscriber))
        });
        let block = Block::new(ends.collect(), edges.iter().map(|edge| number(*edge, 0)).collect());
        Some(write_block(first, &block))
    };
    edges.chunk_by(|one, other| index(one) == index(other)).filter_map(block).collect()
}
