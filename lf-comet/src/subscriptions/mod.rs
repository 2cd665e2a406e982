//! Who follows whom, on disk and in memory.
//!
//! Sends read memory only: both directions are there as arrays of numbers. A change is written and synced before it is
//! answered; callers who come at the same time share a commit. On disk are blocks of edges and names, and a log of what has
//! changed since they were written, which is folded into them when it is long.
//!
//! In the order in which the files are best read: `block`, `graph`, `format`, `store`, `disk`, `writer`, `group`, `restore`,
//! `bulk`.

mod block;
mod bulk;
mod disk;
mod error;
mod format;
mod graph;
mod group;
mod home;
mod restore;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use crate::names::{Names, parse_id};
pub use bulk::{Bulk, Loaded};
use disk::{Disk, LOG_CHANGES_MAX};
pub use error::Error;
use graph::Graph;
use group::Group;
use home::Home;
use parking_lot::Mutex;
use restore::{Progress, Restore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use store::Store;
pub use writer::Outcome;
use writer::{Job, Writer};

/// Subscriptions that one caller adds with one commit; more are several commits.
const JOB_PAIRS_MAX: usize = 1 << 14;

/// Where subscriptions are kept.
#[derive(Clone, Debug)]
pub struct Options {
    dir: PathBuf,
    log_changes_max: u64,
}

impl Options {
    /// In a directory, which is made if it is not there.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), log_changes_max: LOG_CHANGES_MAX }
    }

    /// After how many changes the log is folded into the blocks: a long log makes the start longer, a short one the writing.
    #[must_use]
    pub fn log_changes_max(mut self, changes: u64) -> Self {
        self.log_changes_max = changes.max(1);
        self
    }
}

/// Where the writer is.
#[derive(Debug)]
enum Pen<T: Default + Send + 'static> {
    /// Nothing has to be waited for.
    InMemory(Mutex<Writer<T>>),
    OnDisk(Group<Writer<T>>),
    Closed,
}

/// Who follows whom. Reading never waits for the disk.
#[derive(Debug)]
pub struct Subscriptions<T: Default + Send + 'static> {
    graph: Arc<Graph>,
    writer: Pen<T>,
    /// Locked as long as the store is open; dropped after it.
    _home: Option<Home>,
}

impl<T: Default + Send + 'static> Subscriptions<T> {
    /// Without a store: they are gone with the process.
    pub fn in_memory(names: Arc<Names<T>>) -> Self {
        let graph = Arc::new(Graph::new());
        let writer = Mutex::new(Writer::new(names, Arc::clone(&graph), None));
        Self { graph, writer: Pen::InMemory(writer), _home: None }
    }

    /// Opens those in a directory. See [`open_with`](Self::open_with).
    ///
    /// # Errors
    /// See [`open_with`](Self::open_with).
    pub fn open(dir: impl AsRef<Path>, names: Arc<Names<T>>) -> Result<Self, Error> {
        Self::open_with(&Options::new(dir.as_ref()), names, &mut |_, _| ())
    }

    /// Opens those in a directory, checks the file, and reads all of it into memory and into `names`, which have to be empty.
    /// What a crash has cut short is undone. `progress` is told how many subscriptions have been read, and of how many.
    ///
    /// # Errors
    /// If the file is damaged or of another version, the disk fails, another process has the directory, or `names` are in
    /// use.
    pub fn open_with(
        options: &Options,
        names: Arc<Names<T>>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Error> {
        let home = Home::enter(&options.dir)?;
        let mut subscriptions = Self::of_store(home.store()?, &home.file(), options.log_changes_max, names, progress)?;
        subscriptions._home = Some(home);
        Ok(subscriptions)
    }

    fn of_store(
        store: Box<dyn Store>,
        file: &Path,
        log_changes_max: u64,
        names: Arc<Names<T>>,
        progress: Progress<'_>,
    ) -> Result<Self, Error> {
        let begin = Instant::now();
        let restore = Restore::begin(&*store, file)?;
        if !restore.meta.is_closed {
            tracing::warn!(
                file = %file.display(),
                "the subscriptions were not closed: what was written last may have been cut short, and is undone; all that was answered is there"
            );
        }
        let graph = Arc::new(restore.graph(&names, progress)?);
        let (meta, log) = (restore.meta, restore.log);
        let mut disk = Disk::new(store, meta.log_first, &log, log_changes_max);
        disk.begin(graph.edges())?;
        tracing::info!(
            subscriptions = graph.edges(),
            names = names.len(),
            log = log.changes,
            seconds = begin.elapsed().as_secs_f64(),
            "subscriptions are read"
        );
        drop(log);
        let writer = Group::start(Writer::new(names, Arc::clone(&graph), Some(disk)));
        let writer = writer.map_err(|error| Error::disk(file, "start the thread that writes", error))?;
        Ok(Self { graph, writer: Pen::OnDisk(writer), _home: None })
    }

    /// Adds subscriptions, each a subscriber and whom it follows, and returns when they are on disk. Blocks.
    ///
    /// # Errors
    /// If one is not an id (nothing is changed), or the disk fails (then it is not known what is changed).
    pub fn add(&self, pairs: &[(&str, &str)]) -> Result<Outcome, Error> {
        self.change(true, pairs)
    }

    /// Removes subscriptions, and returns when that is on disk. Blocks.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn remove(&self, pairs: &[(&str, &str)]) -> Result<Outcome, Error> {
        self.change(false, pairs)
    }

    fn change(&self, adds: bool, pairs: &[(&str, &str)]) -> Result<Outcome, Error> {
        for name in pairs.iter().flat_map(|(subscriber, source)| [subscriber, source]) {
            parse_id(name.as_bytes())?;
        }
        let mut sum = Outcome::default();
        for pairs in pairs.chunks(JOB_PAIRS_MAX) {
            let job = Job::new(adds, pairs);
            let Outcome { changed, known } = match &self.writer {
                Pen::InMemory(writer) => writer.lock().change(&[job])?.pop().unwrap_or_default(),
                Pen::OnDisk(group) => group.run(job)?,
                Pen::Closed => Outcome::default(),
            };
            sum.changed += changed;
            sum.known += known;
        }
        Ok(sum)
    }

    /// Appends to `out` the numbers of those who follow `number`: up to `max` of them after `after`, in ascending order.
    pub fn subscribers(&self, number: u32, after: Option<u32>, max: usize, out: &mut Vec<u32>) {
        self.graph.subscribers.copy(number, after, max, out);
    }

    /// Appends to `out` the numbers of those whom `number` follows: up to `max` of them after `after`, in ascending order.
    pub fn sources(&self, number: u32, after: Option<u32>, max: usize, out: &mut Vec<u32>) {
        self.graph.sources.copy(number, after, max, out);
    }

    /// Whether one follows the other.
    pub fn is_subscribed(&self, subscriber: u32, source: u32) -> bool {
        self.graph.sources.contains(subscriber, source)
    }

    /// How many follow `number`.
    pub fn subscriber_count(&self, number: u32) -> u64 {
        self.graph.subscribers.count(number) as u64
    }

    /// How many `number` follows.
    pub fn source_count(&self, number: u32) -> u64 {
        self.graph.sources.count(number) as u64
    }

    /// How many subscriptions there are.
    pub fn edges(&self) -> u64 {
        self.graph.edges()
    }

    /// Closes the store. Dropping does the same, and only logs an error.
    ///
    /// # Errors
    /// If the disk fails; all that was answered is there nevertheless.
    pub fn close(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.writer, Pen::Closed) {
            Pen::OnDisk(group) => group.end().map_or(Ok(()), Writer::close),
            Pen::InMemory(_) | Pen::Closed => Ok(()),
        }
    }
}

impl<T: Default + Send + 'static> Drop for Subscriptions<T> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the subscriptions could not be closed");
        }
    }
}
