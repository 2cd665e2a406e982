//! A store whose writes fail when they are told to.

use super::edges;
use crate::names::Names;
use crate::subscriptions::Subscriptions;
use crate::subscriptions::error::Error;
use crate::subscriptions::format::Meta;
use crate::subscriptions::store::{Durability, Each, Key, Kind, Store, Write};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Records = Arc<Mutex<BTreeMap<Key, Vec<u8>>>>;

#[derive(Clone, Default)]
struct Shaky {
    records: Records,
    fails: Arc<AtomicBool>,
}

impl Store for Shaky {
    fn read(&self, kind: Kind, each: Each<'_>) -> Result<(), Error> {
        let records = self.records.lock();
        let mut of_kind = records.iter().filter(|(key, _)| key.kind == kind);
        of_kind.try_for_each(|(key, bytes)| each(key.number, bytes))
    }

    fn commit(&mut self, writes: &[Write], _: Durability) -> Result<(), Error> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::disk("shaky", "write", std::io::Error::from(ErrorKind::StorageFull)));
        }
        let mut records = self.records.lock();
        for write in writes {
            match write {
                Write::Put(key, bytes) => drop(records.insert(*key, bytes.clone())),
                Write::Remove(kind, numbers) => {
                    records.retain(|key, _| key.kind != *kind || !numbers.contains(&key.number));
                }
            }
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

fn shaky() -> Shaky {
    let mut store = Shaky::default();
    store.commit(&[Write::Put(Meta::KEY, Meta::default().encode())], Durability::Twice).unwrap();
    store
}

fn open(store: &Shaky, log_max: u64) -> Result<(Subscriptions<u64>, Arc<Names<u64>>), Error> {
    let names = Arc::new(Names::default());
    let path = Path::new("shaky");
    Subscriptions::of_store(Box::new(store.clone()), path, log_max, Arc::clone(&names), &mut |_, _| ())
        .map(|subscriptions| (subscriptions, names))
}

#[test]
fn a_failed_write_changes_nothing_in_memory_and_stops_writing_but_not_reading() {
    let store = shaky();
    let (subscriptions, names) = open(&store, 100).unwrap();
    subscriptions.add(&[("a", "b")]).unwrap();
    let before = edges(&subscriptions, &names);
    store.fails.store(true, Ordering::Relaxed);
    let error = subscriptions.add(&[("a", "c"), ("x", "y")]).unwrap_err();
    assert!(matches!(error, Error::Disk { .. }), "{error}");
    store.fails.store(false, Ordering::Relaxed);
    let error = subscriptions.remove(&[("a", "b")]).unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
    assert_eq!(edges(&subscriptions, &names), before);
    assert_eq!((names.number("c"), names.number("x"), names.len()), (None, None, 2));
}

#[test]
fn the_log_is_folded_and_what_it_said_stays() {
    let store = shaky();
    let (subscriptions, names) = open(&store, 10).unwrap();
    for id in 0..200 {
        subscriptions.add(&[(&id.to_string(), "star"), (&id.to_string(), &format!("{}", id / 2))]).unwrap();
        subscriptions.remove(&[(&format!("{}", id / 3), "star")]).unwrap();
        let log = store.records.lock().keys().filter(|key| key.kind == Kind::Log).count();
        assert!(log <= 20, "{log} records in the log");
    }
    let before = edges(&subscriptions, &names);
    let numbers = |names: &Names<u64>| before.iter().map(|(id, _)| names.number(id).unwrap()).collect::<Vec<_>>();
    let numbers_before = numbers(&names);
    drop(subscriptions);
    let (subscriptions, names) = open(&store, 10).unwrap();
    assert_eq!(edges(&subscriptions, &names), before);
    assert_eq!(numbers(&names), numbers_before);
    subscriptions
        .remove(&before.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect::<Vec<_>>())
        .unwrap();
    subscriptions.add(&[("1", "2")]).unwrap();
    subscriptions.remove(&[("1", "2")]).unwrap();
    drop(subscriptions);
    assert!(open(&store, 10).unwrap().1.is_empty());
}

#[test]
fn records_that_are_missing_or_elsewhere_are_noticed() {
    let store = shaky();
    let (subscriptions, _) = open(&store, 40).unwrap();
    for id in 0..3005 {
        subscriptions.add(&[(&id.to_string(), "star")]).unwrap();
    }
    drop(subscriptions);
    let whole = store.records.lock().clone();
    let kinds: std::collections::BTreeSet<_> = whole.keys().map(|key| key.kind).collect();
    assert_eq!(kinds, [Kind::Meta, Kind::Names, Kind::Sources, Kind::Log].into());
    let last = *whole.keys().next_back().unwrap();
    for key in whole.keys() {
        let mut broken = whole.clone();
        let record = broken.remove(key).unwrap();
        let missing = Shaky { records: Arc::new(Mutex::new(broken.clone())), ..Shaky::default() };
        let result = open(&missing, 40);
        // That the log ends where it ends is for the store to know.
        assert!(matches!(result, Err(Error::Damaged { .. })) || *key == last, "without {key:?}");
        broken.insert(Key { number: key.number + (1 << 40), ..*key }, record);
        let moved = Shaky { records: Arc::new(Mutex::new(broken)), ..Shaky::default() };
        assert!(matches!(open(&moved, 40), Err(Error::Damaged { .. })), "with {key:?} elsewhere");
    }
}
