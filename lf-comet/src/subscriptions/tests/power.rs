//! A disk that loses power: what was written since the last sync is there or not, sector by sector.

use super::{Edges, edges};
use crate::names::Names;
use crate::subscriptions::Subscriptions;
use crate::subscriptions::error::Error;
use crate::subscriptions::format::Meta;
use crate::subscriptions::store::{Durability, RedbStore, Store, Write};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;

const SECTOR: usize = 512;

#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Resize(usize),
    Write(usize, Vec<u8>),
}

impl Operation {
    /// Does it; of a write, only the sectors that `is_lucky`.
    fn apply(&self, image: &mut Vec<u8>, mut is_lucky: impl FnMut() -> bool) {
        match self {
            Self::Resize(length) => {
                if is_lucky() {
                    image.resize(*length, 0);
                }
            }
            Self::Write(offset, bytes) => {
                for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                    let begin = offset + index * SECTOR;
                    if is_lucky() {
                        image.resize(image.len().max(begin + sector.len()), 0);
                        image[begin..begin + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }
}

#[derive(Debug)]
struct Disk {
    synced: Vec<u8>,
    current: Vec<u8>,
    since: Vec<Operation>,
    random: Random,
    /// Images of what a loss of power would have left, and how many changes were answered by then.
    crashes: Vec<(Vec<u8>, usize)>,
    answered: usize,
}

impl Disk {
    fn operate(&mut self, operation: Operation) {
        operation.apply(&mut self.current, || true);
        self.since.push(operation);
        if self.random.below(6) == 0 {
            self.crash();
        }
    }

    fn crash(&mut self) {
        let mut image = self.synced.clone();
        // From all lost to all there.
        let luck = self.random.below(5);
        for operation in &self.since {
            operation.apply(&mut image, || self.random.below(4) < luck);
        }
        self.crashes.push((image, self.answered));
    }
}

#[derive(Clone, Debug)]
struct Backend(Arc<Mutex<Disk>>);

impl Backend {
    fn new(image: Vec<u8>, seed: u64) -> Self {
        let disk = Disk {
            synced: image.clone(),
            current: image,
            since: Vec::new(),
            random: Random(seed),
            crashes: Vec::new(),
            answered: 0,
        };
        Self(Arc::new(Mutex::new(disk)))
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let disk = self.0.lock();
        let bytes = disk.current.get(place(offset)..place(offset) + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.0.lock().operate(Operation::Resize(place(length)));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut disk = self.0.lock();
        disk.crash();
        disk.synced = disk.current.clone();
        disk.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), io::Error> {
        self.0.lock().operate(Operation::Write(place(offset), bytes.to_vec()));
        Ok(())
    }
}

type Opened = (Subscriptions<u64>, Arc<Names<u64>>);

fn open(backend: Backend) -> Result<Opened, Error> {
    let names = Arc::new(Names::default());
    let store = Box::new(RedbStore::with_backend(backend)?);
    // A short log, so that folding is under way nearly always.
    let subscriptions = Subscriptions::of_store(store, Path::new("image"), 8, Arc::clone(&names), &mut |_, _| ())?;
    Ok((subscriptions, names))
}

#[test]
fn a_loss_of_power_at_any_moment_loses_nothing_that_was_answered() {
    for seed in 1..=4 {
        let backend = Backend::new(Vec::new(), seed);
        let mut store = Box::new(RedbStore::with_backend(backend.clone()).unwrap());
        store.commit(&[Write::Put(Meta::KEY, Meta::default().encode())], Durability::Twice).unwrap();
        store.close().unwrap();
        let (subscriptions, names) = open(backend.clone()).unwrap();
        let mut states = vec![Edges::new()];
        backend.0.lock().crashes.clear();
        let mut random = Random(seed * 77);
        for _ in 0..100 {
            let mut model = states.last().unwrap().clone();
            let adds = random.below(3) > 0;
            let mut name = || format!("user-{}", random.below(12));
            let pairs: Vec<_> = (0..4).map(|_| (name(), name())).collect();
            let asked: Vec<_> = pairs.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
            if adds {
                subscriptions.add(&asked).unwrap();
                model.extend(pairs);
            } else {
                subscriptions.remove(&asked).unwrap();
                pairs.iter().for_each(|pair| drop(model.take(pair)));
            }
            backend.0.lock().answered = states.len();
            states.push(model);
        }
        assert_eq!(&edges(&subscriptions, &names), states.last().unwrap());
        drop(subscriptions);
        let crashes = std::mem::take(&mut backend.0.lock().crashes);
        assert!(crashes.len() > 200, "{} crashes are too few", crashes.len());
        for (image, answered) in crashes {
            let (subscriptions, names) = open(Backend::new(image, seed)).expect("what was cut short is undone");
            let found = edges(&subscriptions, &names);
            // What was under way is either there or not.
            assert!(states[answered..].iter().take(2).any(|state| *state == found), "after {answered} changes");
        }
    }
}
