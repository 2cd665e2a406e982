//! What the tests of subscriptions share.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

use lf_comet::names::Names;
use lf_comet::subscriptions::{Error, Options, Subscriptions};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Subscriptions by name: subscriber and source.
pub(crate) type Edges = BTreeSet<(String, String)>;
/// What a server has.
pub(crate) type Open = (Subscriptions<u64>, Arc<Names<u64>>);

/// Few changes in the log, so that tests see it folded.
pub(crate) const LOG_CHANGES_MAX: u64 = 32;

pub(crate) fn open(dir: &Path) -> Result<Open, Error> {
    open_with_log(dir, LOG_CHANGES_MAX)
}

pub(crate) fn open_with_log(dir: &Path, changes_max: u64) -> Result<Open, Error> {
    let names = Arc::new(Names::default());
    let options = Options::new(dir).log_changes_max(changes_max);
    let subscriptions = Subscriptions::open_with(&options, Arc::clone(&names), &mut |_, _| ())?;
    Ok((subscriptions, names))
}

/// All edges, read in both directions.
pub(crate) fn edges((subscriptions, names): &Open) -> Edges {
    let mut all = Vec::new();
    names.for_each(|name, _| {
        all.push(name.to_owned());
        true
    });
    let (mut by_sources, mut by_subscribers) = (Edges::new(), Edges::new());
    for name in all {
        let number = names.number(&name).unwrap();
        let (mut sources, mut subscribers) = (Vec::new(), Vec::new());
        subscriptions.sources(number, None, usize::MAX, &mut sources);
        subscriptions.subscribers(number, None, usize::MAX, &mut subscribers);
        assert_eq!(subscriptions.source_count(number), sources.len() as u64);
        assert_eq!(subscriptions.subscriber_count(number), subscribers.len() as u64);
        by_sources.extend(sources.iter().map(|source| (name.clone(), names.name(*source).unwrap())));
        by_subscribers.extend(subscribers.iter().map(|one| (names.name(*one).unwrap(), name.clone())));
    }
    assert_eq!(by_sources, by_subscribers);
    assert_eq!(subscriptions.edges(), by_sources.len() as u64);
    by_sources
}

pub(crate) fn pairs(edges: &[(String, String)]) -> Vec<(&str, &str)> {
    edges.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect()
}

/// A directory in memory where there is one: for tests that are not about the disk, and would wait for it all the time.
pub(crate) fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Numbers that look random, the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}
