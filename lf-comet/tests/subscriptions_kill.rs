//! `kill -9` at any moment loses nothing that was answered.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod subscriptions_common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use subscriptions_common::{Edges, Random, edges, open};

const ROUNDS: u64 = 200;

/// What a thread of the child was doing.
struct Change {
    adds: bool,
    pairs: Vec<(String, String)>,
}

impl Change {
    fn parse(sign: &str, words: &[&str]) -> Self {
        let pair = |word: &&str| word.split_once('>').map(|(one, other)| (one.to_owned(), other.to_owned())).unwrap();
        Self { adds: sign == "+", pairs: words.iter().map(pair).collect() }
    }

    fn apply(&self, edges: &mut Edges) {
        for pair in &self.pairs {
            if self.adds {
                edges.insert(pair.clone())
            } else {
                edges.remove(pair)
            };
        }
    }
}

fn writer() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_lf-comet")).with_file_name("examples").join("subscriptions_writer")
}

/// Runs the child until it has told `lines`, kills it, and answers with what it had begun and not finished. What was finished
/// is in `model`.
fn run_and_kill(dir: &Path, seed: u64, lines: u64, model: &mut Edges) -> HashMap<String, Change> {
    let mut child = Command::new(writer())
        .arg(dir)
        .arg(seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example is built: cargo build --examples");
    let mut begun = HashMap::new();
    let mut killed = false;
    let mut told = 0;
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    loop {
        // Lines that were told before it died are in the pipe.
        if told >= lines && !std::mem::replace(&mut killed, true) {
            child.kill().unwrap();
        }
        line.clear();
        if output.read_line(&mut line).unwrap() == 0 {
            break;
        }
        told += 1;
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            [thread, "."] => begun.remove(*thread).map(|change: Change| change.apply(model)).unwrap(),
            [thread, sign, pairs @ ..] => drop(begun.insert((*thread).to_owned(), Change::parse(sign, pairs))),
            other => panic!("{other:?}"),
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself");
    begun
}

#[test]
fn nothing_that_was_answered_is_lost_and_nothing_half_done_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(99);
    let mut model = Edges::new();
    let (mut undone, mut done) = (0, 0);
    for round in 0..ROUNDS {
        let begun = run_and_kill(dir.path(), round, random.below(50), &mut model);
        let found = edges(&open(dir.path()).unwrap());
        // Each thread changes its own subscribers, so each open question is one of its own.
        for change in begun.values() {
            let mut with = model.clone();
            change.apply(&mut with);
            let of_change =
                |edges: &Edges| -> Vec<_> { change.pairs.iter().map(|pair| edges.contains(pair)).collect() };
            if of_change(&found) == of_change(&with) {
                done += 1;
                model = with;
            } else {
                undone += 1;
            }
        }
        assert_eq!(found, model, "round {round}");
    }
    assert!(done > 0 && undone > 0, "killed in the middle: {done} changes were done, {undone} were not");
}
