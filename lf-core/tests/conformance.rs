//! The WebSocket server keeps the protocol by the judgement of the Autobahn test suite: its cases that take no longer than
//! a test may. `make conformance` runs all of them.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
#[path = "../examples/websocket.rs"]
#[allow(dead_code, reason = "its `main` is for the command line")]
mod example;

use common::{Host, any_port};
use std::path::Path;
use std::process::Command;

/// Cases of megabytes, and of compression, which is not spoken.
const LEFT_OUT: [&str; 3] = ["9.*", "12.*", "13.*"];
/// Seconds for all cases, the installation apart.
const WITHIN_S: &str = "60";
/// `run.py` says so if the suite cannot be installed here.
const CANNOT_RUN: i32 = 77;

#[test]
fn the_autobahn_suite_finds_nothing_wrong() {
    let host = Host::start(example::server(any_port()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut run = Command::new("python3");
    run.arg("lf-core/tests/conformance/run.py").arg(format!("ws://{}", host.address())).args(["--within", WITHIN_S]);
    run.args(LEFT_OUT.map(|cases| format!("--exclude={cases}"))).current_dir(root);
    let output = match run.output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: python3 cannot be started: {error}"),
    };
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{report}{errors}");
    if output.status.code() == Some(CANNOT_RUN) {
        return println!("skipped: the suite cannot be installed here");
    }
    assert!(output.status.success(), "{}", output.status);
    assert!(report.contains(" cases passed in "), "{report}");
    host.until_connected(0);
}
