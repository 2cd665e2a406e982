//! Loading an edge list.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod subscriptions_common;

use lf_comet::load::{LoadArgs, load, read_edges};
use lf_comet::subscriptions::{Bulk, Error};
use std::fs;
use std::path::Path;
use std::process::Command;
use subscriptions_common::{Edges, Random, edges, open, quick_dir};

fn args(dir: &Path, text: &str, both: bool) -> LoadArgs {
    let file = dir.join("edges.txt");
    fs::write(&file, text).unwrap();
    LoadArgs { file, store: dir.join("store"), both }
}

fn set(pairs: &[(&str, &str)]) -> Edges {
    pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

#[test]
fn lines_are_edges_and_the_rest_is_passed_over() {
    let dir = quick_dir();
    let text = "# friends\n1 2\n\n  1\t alice # a comment\r\n1 2\n2 1";
    let loaded = load(&args(dir.path(), text, false)).unwrap();
    assert_eq!((loaded.added, loaded.known, loaded.edges, loaded.names), (3, 1, 3, 3));
    let store = open(&dir.path().join("store")).unwrap();
    assert_eq!(edges(&store), set(&[("1", "2"), ("1", "alice"), ("2", "1")]));
}

#[test]
fn both_directions_are_loaded_on_request() {
    let dir = quick_dir();
    let loaded = load(&args(dir.path(), "1 2\n2 1\n2 3\n", true)).unwrap();
    assert_eq!((loaded.added, loaded.known), (4, 2));
    let store = open(&dir.path().join("store")).unwrap();
    assert_eq!(edges(&store), set(&[("1", "2"), ("2", "1"), ("2", "3"), ("3", "2")]));
}

#[test]
fn a_load_adds_to_what_is_there() {
    let dir = quick_dir();
    let store_dir = dir.path().join("store");
    let mut random = Random(3);
    let mut model = Edges::new();
    for round in 0..4 {
        let store = open(&store_dir).unwrap();
        let pairs: Vec<_> =
            (0..500).map(|_| (random.below(3000).to_string(), format!("x{}", random.below(40)))).collect();
        store.0.add(&subscriptions_common::pairs(&pairs)).unwrap();
        model.extend(pairs);
        let removed: Vec<_> = model.iter().filter(|_| random.below(4) == 0).cloned().collect();
        store.0.remove(&subscriptions_common::pairs(&removed)).unwrap();
        removed.iter().for_each(|pair| assert!(model.remove(pair)));
        assert_eq!(edges(&store), model);
        drop(store);
        let lines: Vec<_> =
            (0..2000).map(|_| (random.below(3000).to_string(), random.below(3000).to_string())).collect();
        let text: String = lines.iter().map(|(one, other)| format!("{one} {other}\n")).collect();
        let before = model.len();
        model.extend(lines);
        let loaded = load(&args(dir.path(), &text, false)).unwrap();
        let added = (model.len() - before) as u64;
        assert_eq!(
            (loaded.added, loaded.known, loaded.edges),
            (added, 2000 - added, model.len() as u64),
            "round {round}"
        );
        assert_eq!(edges(&open(&store_dir).unwrap()), model);
    }
}

#[test]
fn a_wrong_line_is_named_and_nothing_is_loaded() {
    let dir = quick_dir();
    load(&args(dir.path(), "1 2\n", false)).unwrap();
    for (line, why) in [
        ("1", "give two ids in a line"),
        ("1 2 3", "give two ids in a line"),
        ("1 a/b", "has characters other than"),
        (&format!("1 {}", "x".repeat(200)), "the limit is 128"),
        (&"x".repeat(5000), "more than 1024 bytes"),
    ] {
        let error = format!("{:#}", load(&args(dir.path(), &format!("3 4\n# c\n{line}\n5 6\n"), false)).unwrap_err());
        assert!(error.contains("edges.txt:3: ") && error.contains(why), "{error}");
        assert_eq!(edges(&open(&dir.path().join("store")).unwrap()), set(&[("1", "2")]));
    }
    let missing = LoadArgs { file: dir.path().join("none"), store: dir.path().join("store"), both: false };
    assert!(format!("{:#}", load(&missing).unwrap_err()).contains("none: No such file"));
}

#[test]
fn bytes_of_any_kind_are_an_error_or_edges() {
    let mut random = Random(8);
    for _ in 0..200 {
        let bytes: Vec<_> = (0..300).map(|_| b"12 #\n\t\xff\0ab"[random.index(10)]).collect();
        let mut edges = 0;
        let read = read_edges(
            bytes.as_slice(),
            "bytes",
            |_, _| {
                edges += 1;
                Ok(())
            },
            |_| (),
        );
        assert!(read.map_or_else(|error| error.to_string().starts_with("bytes:"), |count| count == edges));
    }
}

#[test]
fn a_load_that_is_interrupted_has_changed_nothing() {
    let dir = quick_dir();
    load(&args(dir.path(), "1 2\n", false)).unwrap();
    let store = dir.path().join("store");
    let mut bulk = Bulk::begin(&store, &mut |_, _| ()).unwrap();
    (0..10_000).for_each(|id| bulk.add("3", &id.to_string()).unwrap());
    let error = open(&store).map(drop).unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error}");
    drop(bulk);
    assert_eq!(edges(&open(&store).unwrap()), set(&[("1", "2")]));

    // What a kill would leave while it writes.
    let mut bulk = Bulk::begin(&store, &mut |_, _| ()).unwrap();
    (0..10_000).for_each(|id| bulk.add(&id.to_string(), "3").unwrap());
    let mut looks = 0;
    bulk.finish(&mut |done, _| {
        if done % 64 == 0 {
            assert!(store.join("subscriptions.new").exists());
            let copy = quick_dir();
            for file in ["subscriptions.redb", "subscriptions.new"] {
                fs::copy(store.join(file), copy.path().join(file)).unwrap();
            }
            assert_eq!(edges(&open(copy.path()).unwrap()), set(&[("1", "2")]));
            looks += 1;
        }
    })
    .unwrap();
    assert_eq!((looks, open(&store).unwrap().0.edges()), (4, 10_001));
}

#[test]
fn a_load_that_is_killed_has_changed_nothing() {
    let dir = quick_dir();
    load(&args(dir.path(), "1 2\n", false)).unwrap();
    let store = dir.path().join("store");
    let mut endless = Command::new("yes").arg("5 6").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lf-comet"))
        .args(["load", "--store"])
        .arg(&store)
        .arg("-")
        .stdin(endless.stdout.take().unwrap())
        .spawn()
        .unwrap();
    let spool = store.join("subscriptions.load").join("0");
    while fs::metadata(&spool).map_or(0, |file| file.len()) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "the load ended");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    endless.kill().unwrap();
    endless.wait().unwrap();
    assert_eq!(edges(&open(&store).unwrap()), set(&[("1", "2")]));
    assert!(!store.join("subscriptions.load").exists(), "what it left is cleared away");
}

#[test]
fn the_program_says_what_it_has_loaded() {
    let dir = quick_dir();
    let given = args(dir.path(), "1 2\n1 3\n", true);
    let output = Command::new(env!("CARGO_BIN_EXE_lf-comet"))
        .args(["load", "--both", "--store"])
        .arg(&given.store)
        .arg(&given.file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("4 subscriptions added, 0 known before, in "), "{text}");
    assert!(text.contains(": 4 subscriptions of 3 ids in "), "{text}");
}
