//! `lf-bench nshead` against lf-core's nshead codec, and against servers that answer something else.

mod common;

use common::lf;
use common::{assert_no_errors, bench, json, number, run, serve_each, stderr, stdout};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

fn nshead(target: &str, options: &[&str]) -> Output {
    run("nshead", target, &[&["--connections", "4"], options].concat())
}

fn clean(target: &str, options: &[&str]) -> Value {
    let output = nshead(target, options);
    let found = json(&output);
    assert!(output.status.success(), "{options:?}: {found} {}", stderr(&output));
    assert_no_errors(&found);
    assert!(number(&found["requests"]) > 0.0, "{options:?}: {found}");
    found
}

/// A file that is gone with its value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("lf-nshead-{}-{}", std::process::id(), SERIAL.fetch_add(1, Relaxed));
        Scratch(std::env::temp_dir().join(name))
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn an_echo_is_right_in_every_shape_of_the_load() {
    let server = lf::nshead(|_| {});
    for options in [
        &["--echo"][..],
        &["--echo", "--pipeline", "32", "--threads", "2"],
        &["--echo", "--body", "0"],
        &["--echo", "--body", "300000", "--pipeline", "2"],
        &["--echo", "--rate", "500"],
        &["--id", "7", "--version", "2", "--provider", "sixteen-bytes-ab"],
    ] {
        clean(&server.target, options);
    }
}

#[test]
fn a_wrong_log_id_fails_the_run() {
    let server = lf::nshead(|frame| frame.header.log_id += u32::from(frame.header.log_id == 40));
    let output = nshead(&server.target, &[]);
    let found = json(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert_eq!(number(&found["wrong_log_id"]), 1.0, "{found}");
    assert_eq!(number(&found["errors"]["mismatch"]), 1.0, "{found}");
    assert_eq!(found["first_wrong"].as_str(), Some("log_id 41 came where 40 was asked for"));
    assert!(number(&found["requests"]) > 1.0, "the connection goes on: {found}");
}

#[test]
fn another_body_fails_the_run_only_where_an_echo_is_expected() {
    let server = lf::nshead(|frame| frame.body = b"another");
    clean(&server.target, &[]);
    let output = nshead(&server.target, &["--echo"]);
    let found = json(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert!(number(&found["wrong_body"]) >= 1.0 && number(&found["wrong_log_id"]) == 0.0, "{found}");
    assert!(found["first_wrong"].as_str().unwrap().contains("of a body of 64 bytes, 7 came back"), "{found}");
}

#[test]
fn what_is_no_nshead_fails_the_run() {
    let address = serve_each(|stream| {
        common::echo(stream, |_, bytes| {
            bytes[25] = 0;
            true
        });
    });
    let output = nshead(&address.to_string(), &[]);
    let found = json(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert!(number(&found["errors"]["malformed"]) >= 1.0, "{found}");
    assert!(found["first_wrong"].as_str().unwrap().contains("not 0xfb709394"), "{found}");
}

#[test]
fn what_was_captured_is_replayed_once_and_every_frame_is_answered() {
    let server = lf::nshead(|_| {});
    let file = Scratch::new();
    let captured = clean(&server.target, &["--rate", "400", "--body", "20", "--capture", &file.text()]);
    let frames = number(&captured["asked"]);
    assert_eq!(std::fs::metadata(&file.0).unwrap().len() as f64, frames * 56.0);
    for more in [&["--pipeline", "8", "--threads", "2"][..], &["--rate", "2000"]] {
        let found = clean(&server.target, &[&["--echo", "--replay", &file.text()], more].concat());
        assert_eq!((number(&found["frames"]), number(&found["requests"])), (frames, frames), "{more:?}: {found}");
        assert_eq!(number(&found["asked"]), frames);
    }
    let again = Scratch::new();
    clean(&server.target, &["--connections", "1", "--replay", &file.text(), "--capture", &again.text()]);
    assert_eq!(std::fs::read(&file.0).unwrap(), std::fs::read(&again.0).unwrap(), "the same frames in the same order");
}

#[test]
fn a_looped_replay_goes_on_until_its_time_is_over() {
    let server = lf::nshead(|_| {});
    let file = Scratch::new();
    let captured = clean(&server.target, &["--rate", "100", "--capture", &file.text()]);
    let found = clean(&server.target, &["--echo", "--replay", &file.text(), "--loop"]);
    assert!(number(&found["asked"]) > number(&captured["asked"]), "{found}");
}

#[test]
fn a_replay_ends_though_nobody_answers() {
    let server = serve_each(|stream| {
        common::echo(stream, |_, bytes| {
            bytes.clear();
            true
        });
    });
    let (echo, file) = (lf::nshead(|_| {}), Scratch::new());
    clean(&echo.target, &["--rate", "100", "--capture", &file.text()]);
    let output = nshead(&server.to_string(), &["--replay", &file.text(), "--timeout", "100ms"]);
    let found = json(&output);
    assert_eq!(number(&found["requests"]), 0.0);
    assert!(number(&found["errors"]["timeout"]) >= 1.0, "{found}");
    let args = ["nshead", "--target", &server.to_string(), "--replay", &file.text(), "--timeout", "100ms"];
    assert!(stdout(&bench(&args)).contains("not all of them were answered"));
}

#[test]
fn a_damaged_file_is_named_with_the_offset() {
    let (server, file) = (lf::nshead(|_| {}), Scratch::new());
    clean(&server.target, &["--rate", "100", "--body", "4", "--capture", &file.text()]);
    let mut bytes = std::fs::read(&file.0).unwrap();
    bytes[2 * 40 + 26] ^= 1;
    std::fs::write(&file.0, &bytes).unwrap();
    let output = nshead(&server.target, &["--replay", &file.text()]);
    let words = stderr(&output);
    assert!(!output.status.success());
    for part in [&file.text()[..], "frame 3 at offset 80", "the magic number is 0x"] {
        assert!(words.contains(part), "{part:?} is missing in {words}");
    }
}

#[test]
fn a_header_that_cannot_be_is_refused_with_the_remedy() {
    let words = stderr(&nshead("127.0.0.1:9", &["--provider", "seventeen-bytes-x"]));
    assert!(words.contains("--provider") && words.contains("16 fit"), "{words}");
    let words = stderr(&nshead("127.0.0.1:9", &["--replay", "/nonexistent/file"]));
    assert!(words.contains("--replay /nonexistent/file"), "{words}");
}
