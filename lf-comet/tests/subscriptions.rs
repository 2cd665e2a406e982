//! What subscriptions do, in memory and across restarts.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod subscriptions_common;

use lf_comet::names::Names;
use lf_comet::subscriptions::{Error, Outcome, Subscriptions};
use proptest::prelude::*;
use std::sync::Arc;
use subscriptions_common::{Edges, Open, edges, open, open_with_log, pairs, quick_dir};

fn in_memory() -> Open {
    let names = Arc::new(Names::default());
    (Subscriptions::in_memory(Arc::clone(&names)), names)
}

fn outcome(changed: u64, known: u64) -> Outcome {
    Outcome { changed, known }
}

#[test]
fn what_was_so_before_is_counted_apart() {
    let dir = quick_dir();
    for (subscriptions, names) in [in_memory(), open(dir.path()).unwrap()] {
        assert_eq!(subscriptions.add(&[("1", "2"), ("1", "3"), ("1", "2")]).unwrap(), outcome(2, 1));
        assert_eq!(subscriptions.add(&[("1", "2"), ("2", "1")]).unwrap(), outcome(1, 1));
        assert_eq!(
            subscriptions.remove(&[("1", "2"), ("1", "2"), ("1", "nobody"), ("3", "1")]).unwrap(),
            outcome(1, 3)
        );
        assert_eq!(subscriptions.add(&[]).unwrap(), outcome(0, 0));
        assert_eq!(subscriptions.edges(), 2);
        let number = |name| names.number(name).unwrap();
        assert!(subscriptions.is_subscribed(number("1"), number("3")));
        assert!(!subscriptions.is_subscribed(number("3"), number("1")));
        assert_eq!((subscriptions.subscriber_count(number("1")), subscriptions.source_count(number("1"))), (1, 1));
    }
}

#[test]
fn a_name_lives_as_long_as_it_has_subscriptions_or_connections() {
    let dir = quick_dir();
    for (subscriptions, names) in [in_memory(), open(dir.path()).unwrap()] {
        // Connected before it has subscriptions.
        let bob = names.with_interned("bob", |number, connections| {
            *connections += 1;
            number
        });
        subscriptions.add(&[("alice", "bob"), ("alice", "alice")]).unwrap();
        assert_eq!(names.number("bob"), Some(bob));
        assert_eq!(names.len(), 2);
        assert!(!names.release_if(bob, |_| true), "alice follows bob");
        subscriptions.remove(&[("alice", "bob")]).unwrap();
        assert_eq!((names.number("bob"), names.number("alice").is_some()), (None, true));
        subscriptions.remove(&[("alice", "alice")]).unwrap();
        assert!(names.is_empty());
        // Added and removed with one commit, or not at all.
        subscriptions.remove(&[("x", "y")]).unwrap();
        assert!(names.is_empty());
    }
}

#[test]
fn a_wrong_id_changes_nothing() {
    let (subscriptions, names) = in_memory();
    let error = subscriptions.add(&[("1", "2"), ("1", "a b")]).unwrap_err();
    assert!(matches!(error, Error::Id(_)) && error.to_string().contains("a b"), "{error}");
    assert!(subscriptions.remove(&[("", "2")]).is_err());
    assert_eq!((subscriptions.edges(), names.len()), (0, 0));
}

#[test]
fn rows_are_read_in_pages() {
    let (subscriptions, names) = in_memory();
    let fans: Vec<_> = (0..1000).map(|id| (format!("fan-{id}"), "star".to_owned())).collect();
    subscriptions.add(&pairs(&fans)).unwrap();
    let star = names.number("star").unwrap();
    let (mut all, mut page, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        page.clear();
        subscriptions.subscribers(star, after, 64, &mut page);
        assert!(page.len() <= 64);
        let Some(last) = page.last() else { break };
        after = Some(*last);
        all.append(&mut page);
    }
    assert_eq!(all.len(), 1000);
    assert!(all.is_sorted());
    page.push(7);
    subscriptions.sources(star, None, 10, &mut page);
    assert_eq!(page, [7], "rows are appended");
    subscriptions.subscribers(u32::MAX, None, 10, &mut page);
    assert_eq!(page, [7], "a number without a name has nobody");
}

#[test]
fn names_and_numbers_survive_a_restart() {
    let dir = quick_dir();
    let store = open(dir.path()).unwrap();
    store.0.add(&[("1", "alice"), ("alice", "007"), ("7", "1")]).unwrap();
    let before = edges(&store);
    let numbers: Vec<_> = ["1", "alice", "007", "7"].map(|name| store.1.number(name)).into();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(edges(&store), before);
    assert_eq!(Vec::from(["1", "alice", "007", "7"].map(|name| store.1.number(name))), numbers);
    store.0.close().unwrap();
}

#[test]
fn a_store_is_open_once() {
    let dir = quick_dir();
    let first = open(dir.path()).unwrap();
    let error = open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error}");
    assert!(error.to_string().contains("another process uses"), "{error}");
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn names_in_use_and_places_that_cannot_be_are_refused() {
    let dir = quick_dir();
    let names: Arc<Names<u64>> = Arc::default();
    names.with_interned("early", |_, _| ());
    let error = Subscriptions::open(dir.path(), names).map(drop).unwrap_err();
    assert!(matches!(error, Error::NamesInUse(1)), "{error}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = open(&file).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Disk { path, .. } if *path == file), "{error}");
}

#[test]
fn callers_at_the_same_time_each_get_their_own_outcome() {
    const CALLERS: u64 = 16;
    const ROUNDS: u64 = 25;
    let dir = quick_dir();
    let store = open_with_log(dir.path(), 100).unwrap();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let subscriptions = &store.0;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let (own, source) = (format!("{caller}-{round}"), round.to_string());
                    let added = subscriptions.add(&[(&own, &source), (&own, "all"), (&own, "all")]).unwrap();
                    assert_eq!(added, outcome(2, 1));
                    assert_eq!(subscriptions.remove(&[(&own, "all"), (&own, "nobody")]).unwrap(), outcome(1, 1));
                }
            });
        }
    });
    let expected: Edges = (0..CALLERS)
        .flat_map(|caller| (0..ROUNDS).map(move |round| (format!("{caller}-{round}"), round.to_string())))
        .collect();
    assert_eq!(edges(&store), expected);
    drop(store);
    assert_eq!(edges(&open(dir.path()).unwrap()), expected);
}

#[test]
fn more_than_one_commit_takes_is_taken_all_the_same() {
    let dir = quick_dir();
    let store = open(dir.path()).unwrap();
    let many: Vec<_> = (0..40_000u32).map(|id| (id.to_string(), (id / 100).to_string())).collect();
    assert_eq!(store.0.add(&pairs(&many)).unwrap(), outcome(40_000, 0));
    assert_eq!(store.0.remove(&pairs(&many[..20_000])).unwrap(), outcome(20_000, 0));
    drop(store);
    assert_eq!(edges(&open(dir.path()).unwrap()), many[20_000..].iter().cloned().collect());
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<(String, String)>),
    Remove(Vec<(String, String)>),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop_oneof![(0u64..40).prop_map(|id| (id * 301).to_string()), "[a-c]{1,2}"];
    let pairs = || prop::collection::vec((name(), name()), 1..12);
    prop_oneof![4 => pairs().prop_map(Step::Add), 3 => pairs().prop_map(Step::Remove), 1 => Just(Step::Restart)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn subscriptions_are_a_set_of_pairs_across_restarts(steps in prop::collection::vec(step(), 1..60)) {
        let dir = quick_dir();
        let mut store = open(dir.path()).unwrap();
        let mut model = Edges::new();
        for step in steps {
            match step {
                Step::Add(added) => {
                    let before = model.len();
                    let count = added.len();
                    let done = store.0.add(&pairs(&added)).unwrap();
                    model.extend(added);
                    let changed = model.len() - before;
                    prop_assert_eq!(done, outcome(changed as u64, (count - changed) as u64));
                }
                Step::Remove(removed) => {
                    let done = store.0.remove(&pairs(&removed)).unwrap();
                    let changed = removed.iter().filter(|pair| model.remove(pair)).count();
                    prop_assert_eq!(done, outcome(changed as u64, (removed.len() - changed) as u64));
                }
                Step::Restart => {
                    drop(store);
                    store = open(dir.path()).unwrap();
                }
            }
            prop_assert_eq!(edges(&store), model.clone());
            let used: std::collections::BTreeSet<_> = model.iter().flat_map(|(one, other)| [one, other]).collect();
            prop_assert_eq!(store.1.len(), used.len());
        }
    }
}
