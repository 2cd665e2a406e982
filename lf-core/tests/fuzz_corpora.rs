//! What fuzzing has found worth keeping is looked at again by every test run.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

#[path = "../fuzz/harness/mod.rs"]
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

type Check = fn(&[u8]);

/// Each fuzz target, and what it calls.
const TARGETS: [(&str, Check); 3] =
    [("http", harness::http::check), ("request", harness::request::check), ("websocket", harness::websocket::check)];
/// Files of a corpus, and bytes of each, so that it stays fit for a repository and for every test run.
const FILES_MAX: usize = 250;
const FILE_BYTES_MAX: usize = 1024;

fn files(below: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(below);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Looks at every file of `kind`; says which of them it was if one fails.
fn replay(kind: &str) {
    for (target, check) in TARGETS {
        let files = files(&format!("{kind}/{target}"));
        assert!((10..=FILES_MAX).contains(&files.len()), "{kind}/{target} has {} files", files.len());
        for file in files {
            let input = fs::read(&file).unwrap();
            assert!(input.len() <= FILE_BYTES_MAX, "{} is too long: {} bytes", file.display(), input.len());
            assert!(std::panic::catch_unwind(|| check(&input)).is_ok(), "{target} fails with {}", file.display());
        }
    }
}

#[test]
fn every_seed_keeps_what_the_codecs_promise() {
    replay("seeds");
}

#[test]
fn every_input_of_the_corpora_keeps_what_the_codecs_promise() {
    replay("corpus");
}

#[test]
fn every_fuzz_target_is_replayed() {
    let stem = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let targets: BTreeSet<_> = files("fuzz_targets").iter().map(stem).collect();
    assert_eq!(targets, TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect());
}
