//! Stores that fail, and disks that lose power.

mod failing;
mod power;

use super::Subscriptions;
use crate::names::Names;
use std::collections::BTreeSet;

/// Subscriptions by name.
type Edges = BTreeSet<(String, String)>;

/// All edges in the direction of sources, after a look whether the other direction has the same.
fn edges(subscriptions: &Subscriptions<u64>, names: &Names<u64>) -> Edges {
    let mut found = [Edges::new(), Edges::new()];
    for number in (0..).take_while(|number| u64::from(*number) < names.numbers_end()) {
        let Some(name) = names.name(number) else { continue };
        let mut rows = [Vec::new(), Vec::new()];
        subscriptions.sources(number, None, usize::MAX, &mut rows[0]);
        subscriptions.subscribers(number, None, usize::MAX, &mut rows[1]);
        let other = |number: &u32| names.name(*number).unwrap();
        found[0].extend(rows[0].iter().map(|source| (name.clone(), other(source))));
        found[1].extend(rows[1].iter().map(|subscriber| (other(subscriber), name.clone())));
    }
    let [sources, subscribers] = found;
    assert_eq!(sources, subscribers);
    assert_eq!(subscriptions.edges(), sources.len() as u64);
    sources
}
