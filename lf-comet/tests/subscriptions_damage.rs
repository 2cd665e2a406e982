//! Whatever happens to the file: what is opened is what was written, or it is refused.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod subscriptions_common;

use lf_comet::subscriptions::Error;
use std::fs;
use std::path::{Path, PathBuf};
use subscriptions_common::{Edges, Random, edges, open, open_with_log, quick_dir};

const FILE: &str = "subscriptions.redb";
const PAGE: usize = 4096;

/// A file as it was left, and what is in it.
struct Left {
    bytes: Vec<u8>,
    edges: Edges,
}

fn read(dir: &Path) -> Vec<u8> {
    fs::read(dir.join(FILE)).unwrap()
}

/// Files of a store that was closed, of one whose process was killed, and of the latter some changes earlier. The log has
/// been folded, and has some changes again.
fn files(ids: u64) -> [Left; 3] {
    let dir = quick_dir();
    let store = open_with_log(dir.path(), 2 * ids).unwrap();
    let mut random = Random(5);
    let mut model = Edges::new();
    let mut change = |count: usize| {
        for _ in 0..count {
            let pairs: Vec<_> =
                (0..20).map(|_| (random.below(ids).to_string(), format!("s-{}", random.below(ids / 10)))).collect();
            let asked = subscriptions_common::pairs(&pairs);
            if random.below(4) > 0 {
                store.0.add(&asked).unwrap();
                model.extend(pairs);
            } else {
                store.0.remove(&asked).unwrap();
                pairs.iter().for_each(|pair| assert!(!model.remove(pair) || !model.contains(pair)));
            }
        }
        Left { bytes: read(dir.path()), edges: model.clone() }
    };
    let earlier = change(usize::try_from(ids / 4).unwrap());
    let killed = change(10);
    assert_eq!(edges(&store), killed.edges);
    store.0.close().unwrap();
    let closed = Left { bytes: read(dir.path()), edges: killed.edges.clone() };
    [closed, killed, earlier]
}

/// What became of damaged files.
#[derive(Debug, Default)]
struct Tally {
    refused: u64,
    whole: u64,
}

impl Tally {
    /// Opens a file that was damaged. If that works, everything has to be there, and has to stay there when changes follow.
    fn open(&mut self, bytes: &[u8], left: &Left, what: &str) {
        self.look(bytes, left, what, true);
    }

    fn look(&mut self, bytes: &[u8], left: &Left, what: &str, goes_on: bool) {
        let dir = quick_dir();
        fs::write(dir.path().join(FILE), bytes).unwrap();
        match open(dir.path()) {
            Err(Error::Damaged { path, what: why }) => {
                assert_eq!(path, PathBuf::from(dir.path()).join(FILE));
                assert!(!why.is_empty());
                self.refused += 1;
            }
            Err(error) => panic!("{what}: {error}"),
            Ok(store) => {
                assert!(edges(&store) == left.edges, "{what}: other edges than were written");
                self.whole += 1;
                if goes_on {
                    let mut model = left.edges.clone();
                    for id in 0..5 {
                        let id = format!("late-{id}");
                        store.0.add(&[(&id, "s-1"), (&id, "s-2")]).unwrap();
                        model.extend(["s-1", "s-2"].map(|source| (id.clone(), source.to_owned())));
                    }
                    drop(store);
                    assert!(edges(&open(dir.path()).unwrap()) == model, "{what}: it broke later");
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_or_does_not_matter() {
    let mut random = Random(17);
    for left in &files(600)[..2] {
        let mut tally = Tally::default();
        for _ in 0..150 {
            let mut bytes = left.bytes.clone();
            let at = random.index(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            tally.open(&bytes, left, &format!("bit at {at}"));
        }
        assert!(tally.refused > 0 && tally.whole > 0, "{tally:?}");
    }
}

#[test]
fn every_bit_of_the_header_is_noticed_or_does_not_matter() {
    // The header proper, and two commit slots, of which the rest of the file hangs.
    const HEADER: usize = 64;
    const SLOT: usize = 128;
    for left in &files(60)[..2] {
        let mut tally = Tally::default();
        // Of the slots, which have checksums of their own, every third bit.
        let bits = (0..HEADER * 8).chain((HEADER * 8..(HEADER + 2 * SLOT) * 8).step_by(3));
        for bit in bits {
            let mut bytes = left.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            tally.look(&bytes, left, &format!("bit {} of byte {}", bit % 8, bit / 8), bit % 8 == 0);
        }
        assert!(tally.refused > 0 && tally.whole > 0, "{tally:?}");
    }
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    let mut random = Random(23);
    for left in &files(600)[..2] {
        let mut tally = Tally::default();
        for _ in 0..150 {
            let length = random.index(left.bytes.len());
            tally.open(&left.bytes[..length], left, &format!("{length} bytes"));
        }
        (0..8).for_each(|length| tally.open(&left.bytes[..length], left, &format!("{length} bytes")));
        assert!(tally.refused > 0, "{tally:?}");
    }
}

#[test]
fn a_tail_of_something_else_is_cut_off_or_refused() {
    for left in &files(600)[..2] {
        let mut tally = Tally::default();
        for length in [1, 100, PAGE, 3 * PAGE, 50 * PAGE + 7] {
            for byte in [0, 0xff] {
                let mut bytes = left.bytes.clone();
                bytes.resize(bytes.len() + length, byte);
                tally.open(&bytes, left, &format!("{length} bytes of {byte} at the end"));
            }
        }
        assert_eq!(tally.refused + tally.whole, 10);
    }
}

#[test]
fn pages_that_are_zero_or_old_or_elsewhere_are_noticed_or_do_not_matter() {
    let mut random = Random(31);
    let [closed, killed, earlier] = files(600);
    for left in [&closed, &killed] {
        let mut tally = Tally::default();
        let pages = left.bytes.len() / PAGE;
        for round in 0..150 {
            let mut bytes = left.bytes.clone();
            let at = (1 + random.index(pages - 1)) * PAGE;
            let other = (1 + random.index(pages - 1)) * PAGE;
            let page: Vec<u8> = match round % 3 {
                0 => vec![0; PAGE],
                1 => earlier.bytes.get(at..at + PAGE).map_or(vec![0xff; PAGE], <[u8]>::to_vec),
                _ => left.bytes[other..other + PAGE].to_vec(),
            };
            bytes[at..at + PAGE].copy_from_slice(&page);
            tally.open(&bytes, left, &format!("page at {at}, round {round}"));
        }
        assert!(tally.refused > 0 && tally.whole > 0, "{tally:?}");
    }
}

#[test]
fn a_file_of_another_kind_is_refused_and_says_what_to_do() {
    for bytes in ["", "hello", &"# 1 2\n".repeat(2000)] {
        let dir = quick_dir();
        fs::write(dir.path().join(FILE), bytes).unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("remove it and load the subscriptions anew"), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), bytes, "it is left as it was");
    }
}
