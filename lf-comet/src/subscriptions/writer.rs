//! Changes, first on disk and then in memory.

use super::disk::Disk;
use super::error::Error;
use super::format::Change;
use super::graph::Graph;
use super::group::Work;
use crate::names::{NameRef, Names};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What became of a list of subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Added, or removed.
    pub changed: u64,
    /// Were so already.
    pub known: u64,
}

/// Subscriptions to add or to remove, names and all, for whoever writes them.
pub(super) struct Job {
    adds: bool,
    text: String,
    /// Where names end in `text`: subscriber, source, subscriber ...
    ends: Vec<usize>,
}

impl Job {
    pub(super) fn new(adds: bool, pairs: &[(&str, &str)]) -> Self {
        let mut job = Self { adds, text: String::new(), ends: Vec::with_capacity(2 * pairs.len()) };
        for (subscriber, source) in pairs {
            for name in [subscriber, source] {
                job.text.push_str(name);
                job.ends.push(job.text.len());
            }
        }
        job
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut begin = 0;
        self.ends.chunks_exact(2).map(move |ends| {
            let pair = (&self.text[begin..ends[0]], &self.text[ends[0]..ends[1]]);
            begin = ends[1];
            pair
        })
    }
}

/// The one who changes names, graph and disk.
pub(super) struct Writer<T> {
    names: Arc<Names<T>>,
    graph: Arc<Graph>,
    disk: Option<Disk>,
    /// Set before a write, and cleared when it has succeeded.
    failed: Option<Arc<Error>>,
}

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Writer").field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// A group of jobs before it is on disk: what differs from the graph.
struct Draft<'a, T> {
    names: &'a Names<T>,
    graph: &'a Graph,
    edges: HashMap<(u32, u32), bool>,
    /// Changes of how many edges a number has, coming or going.
    degrees: HashMap<u32, i64>,
    /// Names that are kept for this group.
    named: Vec<u32>,
}

impl<T: Default> Draft<'_, T> {
    fn keep(&mut self, name: &str) -> u32 {
        let (number, is_new) = self.names.keep(name);
        if is_new {
            self.named.push(number);
        }
        number
    }

    /// Whether it makes a difference.
    fn follow(&mut self, subscriber: &str, source: &str) -> bool {
        let edge = (self.keep(subscriber), self.keep(source));
        let differs = !self.has(edge);
        if differs {
            self.turn(edge, true);
        }
        differs
    }

    fn unfollow(&mut self, subscriber: &str, source: &str) -> bool {
        let (Some(subscriber), Some(source)) = (self.names.number(subscriber), self.names.number(source)) else {
            return false;
        };
        let differs = self.has((subscriber, source));
        if differs {
            self.turn((subscriber, source), false);
        }
        differs
    }

    fn has(&self, edge: (u32, u32)) -> bool {
        self.edges.get(&edge).copied().unwrap_or_else(|| self.graph.sources.contains(edge.0, edge.1))
    }

    fn turn(&mut self, edge: (u32, u32), is_there: bool) {
        // An edge that was turned before is now as it is in the graph.
        if self.edges.remove(&edge).is_none() {
            self.edges.insert(edge, is_there);
        }
        for number in [edge.0, edge.1] {
            *self.degrees.entry(number).or_default() += if is_there { 1 } else { -1 };
        }
    }

    /// Numbers that have no edge any more.
    fn forgotten(&self) -> Vec<u32> {
        let is_bare =
            |number: &u32, change: &i64| i64::try_from(self.graph.degree(*number)).is_ok_and(|now| now + change == 0);
        self.degrees.iter().filter(|(number, change)| is_bare(number, change)).map(|(number, _)| *number).collect()
    }
}

impl<T: Default> Writer<T> {
    pub(super) fn new(names: Arc<Names<T>>, graph: Arc<Graph>, disk: Option<Disk>) -> Self {
        Self { names, graph, disk, failed: None }
    }

    /// Does jobs, all or none.
    pub(super) fn change(&mut self, jobs: &[Job]) -> Result<Vec<Outcome>, Error> {
        let mut draft = Draft {
            names: &self.names,
            graph: &self.graph,
            edges: HashMap::new(),
            degrees: HashMap::new(),
            named: Vec::new(),
        };
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let mut outcome = Outcome::default();
            for (subscriber, source) in job.pairs() {
                let differs =
                    if job.adds { draft.follow(subscriber, source) } else { draft.unfollow(subscriber, source) };
                *(if differs { &mut outcome.changed } else { &mut outcome.known }) += 1;
            }
            outcomes.push(outcome);
        }
        let forgotten = draft.forgotten();
        let Draft { edges, named, .. } = draft;
        if let Err(error) = self.append(&edges, &named, &forgotten) {
            named.into_iter().for_each(|number| self.names.unkeep(number));
            return Err(error);
        }
        edges.into_iter().for_each(|((subscriber, source), is_there)| self.graph.set(subscriber, source, is_there));
        forgotten.into_iter().for_each(|number| self.names.unkeep(number));
        Ok(outcomes)
    }

    fn append(&mut self, edges: &HashMap<(u32, u32), bool>, named: &[u32], forgotten: &[u32]) -> Result<(), Error> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        if edges.is_empty() {
            return Ok(());
        }
        let new: Vec<_> = named.iter().filter_map(|number| Some((*number, self.names.kept_name(*number)?))).collect();
        let mut changes: Vec<_> =
            new.iter().map(|(number, name)| Change::Name(*number, NameRef::from(name.as_str()))).collect();
        changes.extend(edges.iter().map(|((subscriber, source), is_there)| {
            if *is_there { Change::Follow(*subscriber, *source) } else { Change::Unfollow(*subscriber, *source) }
        }));
        changes.extend(forgotten.iter().map(|number| Change::Forget(*number)));
        let added = edges.values().filter(|is_there| **is_there).count() as u64;
        disk.append(&changes, self.graph.edges() + added - (edges.len() as u64 - added))
    }

    /// Closes the store, so that the next start need not wonder.
    pub(super) fn close(self) -> Result<(), Error> {
        match (self.disk, self.failed) {
            (Some(disk), None) => disk.close(self.graph.edges()),
            _ => Ok(()),
        }
    }
}

impl<T: Default + Send + 'static> Work for Writer<T> {
    type Job = Job;
    type Answer = Result<Outcome, Error>;

    fn work(&mut self, jobs: Vec<Job>) -> Vec<Self::Answer> {
        let answers = |error: Error| vec![Err(error); jobs.len()];
        if let Some(cause) = &self.failed {
            return answers(Error::Stopped(Arc::clone(cause)));
        }
        self.failed = Some(Arc::new(Error::Panicked));
        let written = self.change(&jobs);
        self.failed = written.as_ref().err().cloned().map(Arc::new);
        written.map_or_else(answers, |outcomes| outcomes.into_iter().map(Ok).collect())
    }

    fn tidy(&mut self) {
        let (Some(disk), None) = (&mut self.disk, &self.failed) else { return };
        self.failed = Some(Arc::new(Error::Panicked));
        let tidied = disk.tidy(&self.names, &self.graph);
        if let Err(error) = &tidied {
            tracing::error!(%error, "subscriptions are not changed any more");
        }
        self.failed = tidied.err().map(Arc::new);
    }

    fn abandoned() -> Self::Answer {
        Err(Error::Stopped(Arc::new(Error::Panicked)))
    }
}
