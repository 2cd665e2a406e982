use super::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// A value with a use count and the name that it belongs to.
#[derive(Debug, Default)]
struct Uses {
    count: u32,
    name: String,
}

impl Uses {
    fn is_vacant(&self) -> bool {
        self.count == 0
    }
}

fn use_name(names: &Names<Uses>, name: &str) -> u32 {
    names.with_interned(name, |number, uses| {
        uses.count += 1;
        uses.name = name.to_owned();
        number
    })
}

fn leave(names: &Names<Uses>, number: u32) -> bool {
    names.with(number, |uses| uses.count -= 1);
    names.release_if(number, Uses::is_vacant)
}

#[test]
fn a_name_has_one_number_until_its_last_use_ends() {
    let names = Names::default();
    let number = use_name(&names, "alice");
    assert_eq!(use_name(&names, "alice"), number);
    assert_eq!((names.number("alice"), names.name(number).as_deref()), (Some(number), Some("alice")));
    assert_ne!(use_name(&names, "7"), number);
    assert!(!leave(&names, number));
    assert!(leave(&names, number));
    assert_eq!((names.number("alice"), names.name(number), names.len()), (None, None, 1));
    assert_eq!(names.with(number, |_| ()), None);
}

#[test]
fn a_name_that_is_kept_or_used_stays() {
    let names = Names::default();
    let (number, is_new) = names.keep("alice");
    assert!(is_new && !names.keep("alice").1);
    assert_eq!(use_name(&names, "alice"), number);
    assert!(!leave(&names, number), "it is kept");
    names.unkeep(number);
    assert_eq!(names.number("alice"), None, "neither kept nor used");

    let number = use_name(&names, "bob");
    names.keep("bob");
    names.unkeep(number);
    assert_eq!(names.number("bob"), Some(number), "it is used");
    assert!(leave(&names, number));
}

#[test]
fn values_are_visited_in_runs() {
    let names: Names<u64> = Names::default();
    let numbers: Vec<_> = (0..3000).map(|id: u32| names.with_interned(&id.to_string(), |number, _| number)).collect();
    names.release_if(numbers[5], |_| true);
    let asked = [5, 6, 1023, 1024, 2999, 3500, 70_000];
    let mut seen = Vec::new();
    names.for_each_in(&asked, |number, value| {
        *value += 1;
        seen.push(number);
    });
    assert_eq!(seen, [6, 1023, 1024, 2999]);
    let mut sum = 0;
    let mut visited = 0;
    names.for_each(|name, value| {
        assert_ne!(name, "5");
        sum += value;
        visited += 1;
        true
    });
    assert_eq!((sum, visited, names.len()), (4, 2999, 2999));
    visited = 0;
    names.for_each(|_, _| {
        visited += 1;
        visited < 10
    });
    assert_eq!(visited, 10);
}

#[test]
fn refilled_names_have_their_numbers_and_the_gaps_are_free() {
    let names: Names<u64> = Names::default();
    let mut refill = names.refill().unwrap();
    assert!(refill.insert(2000, "b".into()) && refill.insert(3, "7".into()));
    assert!(!refill.insert(3, "c".into()), "the number is taken");
    assert!(!refill.insert(4, "b".into()), "the name is taken");
    drop(refill);
    assert_eq!((names.number("b"), names.number("7"), names.len()), (Some(2000), Some(3), 2));
    assert!(names.is_kept(3) && !names.is_kept(4) && names.refill().is_none());
    assert_eq!((names.kept_name(3).as_deref(), names.kept_name(2000).as_deref()), (Some("7"), Some("b")));
    assert_eq!((names.kept_name(4), names.kept_name(9000)), (None, None));
    let fresh: HashSet<_> = (0..1999).map(|id| names.with_interned(&format!("new-{id}"), |number, _| number)).collect();
    let gaps: HashSet<u32> = (0..2000).filter(|number| *number != 3).collect();
    assert_eq!(fresh.symmetric_difference(&gaps).collect::<Vec<_>>(), Vec::<&u32>::new());
    assert_eq!(names.with_interned("last", |number, _| number), 2001);
}

#[test]
fn a_million_names_take_little_memory() {
    // What is allocated, counted by hand: arrays by capacity, tables by their buckets of five bytes.
    let names: Names<[u64; 2]> = Names::default();
    let count = 100_000;
    for id in 0..count {
        names.with_interned(&id.to_string(), |_, _| ());
    }
    let chunks = names.chunks.iter().count() * CHUNK * (size_of::<Name>() + 16 + 1);
    let tables: usize = names.shards.iter().map(|shard| shard.lock().allocation_size()).sum();
    let bytes = (chunks + tables) / count;
    assert!(bytes <= 48, "{bytes} bytes a name");
}

/// Threads that use, leave, keep and unkeep few names as fast as they can. Who uses a name must find its number unchanged,
/// and its value must be its own.
#[test]
fn interning_and_releasing_race_without_loss() {
    const ROUNDS: usize = 30_000;
    let names = Names::<Uses>::default();
    let failed = AtomicBool::new(false);
    let forgotten = AtomicU64::new(0);
    let work = |seed: u64, keeps: bool| {
        let mut random = seed;
        for _ in 0..ROUNDS {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = random >> 60;
            let name = if id < 8 { id.to_string() } else { format!("name-{id}") };
            if keeps {
                let (number, _) = names.keep(&name);
                let wrong = names.name(number).as_deref() != Some(&name);
                failed.fetch_or(wrong, Ordering::Relaxed);
                names.unkeep(number);
                continue;
            }
            let number = use_name(&names, &name);
            let same = names.with(number, |uses| uses.name == name && uses.count > 0) == Some(true);
            failed.fetch_or(!same || names.number(&name) != Some(number), Ordering::Relaxed);
            forgotten.fetch_add(u64::from(leave(&names, number)), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        (1..=4).for_each(|seed| drop(scope.spawn(move || work(seed * 0x9e37_79b9, false))));
        scope.spawn(|| work(77, true));
    });
    assert!(!failed.into_inner());
    assert!(forgotten.into_inner() > 0, "no name was ever forgotten: this is no test");
    assert!(names.is_empty());
    assert_eq!(names.shards.iter().map(|shard| shard.lock().len()).sum::<usize>(), 0);
    assert!(names.numbers.end() < 100, "numbers are not reused: {}", names.numbers.end());
}

#[test]
fn a_number_found_under_a_pin_never_means_somebody_else() {
    const FOUND: u32 = 2000;
    let names = Names::<Uses>::default();
    let (failed, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let churn = |step: usize| {
            for round in (0..).step_by(step) {
                let number = use_name(&names, &(round % 50).to_string());
                leave(&names, number);
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        };
        for step in [7, 11] {
            scope.spawn(move || churn(step));
        }
        let mut found = 0;
        for round in 0.. {
            let name = (round % 50).to_string();
            let _pin = names.pin();
            let Some(number) = names.number(&name) else { continue };
            let other = (0..20).any(|_| names.name(number).is_some_and(|now| now != name));
            failed.fetch_or(other, Ordering::Relaxed);
            found += 1;
            if found == FOUND || other {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(!failed.into_inner());
}
