//! Clients that others wrote: Python's asyncio, and what is found in a shell.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::{Program, is_installed};
use std::process::Command;

const MODES: [[&str; 4]; 4] = [
    ["--trigger", "oneshot", "--promotion", "adaptive"],
    ["--trigger", "edge", "--promotion", "adaptive"],
    ["--trigger", "oneshot", "--promotion", "kernel"],
    ["--trigger", "edge", "--promotion", "kernel"],
];

#[test]
fn two_hundred_streams_of_asyncio_get_back_what_they_send() {
    if !is_installed("python3") {
        return;
    }
    for mode in MODES {
        let program = Program::start(&mode);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/echo.py");
        let address = program.address();
        let output = Command::new("python3")
            .args([script, &address.ip().to_string(), &address.port().to_string(), "200", "4"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.trim(), "200 streams, 800 rounds");
        program.end();
    }
}

/// What a shell line prints when it talks to lf-echo.
fn shell(program: &Program, line: &str) -> String {
    let address = program.address();
    let line = line.replace("HOST", &address.ip().to_string()).replace("PORT", &address.port().to_string());
    let output = Command::new("sh").args(["-c", &format!("timeout 20 {line}")]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn netcat_gets_its_lines_back_and_ends() {
    if !is_installed("nc") {
        return;
    }
    let program = Program::start(&[]);
    assert_eq!(shell(&program, "sh -c 'printf \"one\\ntwo\" | nc -N HOST PORT'"), "one\ntwo\n");
    program.end();
}

#[test]
fn socat_gets_its_lines_back_and_ends() {
    if !is_installed("socat") {
        return;
    }
    let program = Program::start(&[]);
    assert_eq!(shell(&program, "sh -c 'printf \"one\\ntwo\" | socat -t 10 - TCP:HOST:PORT'"), "one\ntwo\n");
    program.end();
}

#[test]
fn bash_talks_through_its_own_device() {
    if !is_installed("bash") {
        return;
    }
    let program = Program::start(&[]);
    let line = "bash -c 'exec 3<>/dev/tcp/HOST/PORT; printf \"one\\ntwo\\n\" >&3; head -n 2 <&3'";
    assert_eq!(shell(&program, line), "one\ntwo\n");
    program.end();
}

#[test]
fn curl_reads_the_admin_pages() {
    if !is_installed("curl") {
        return;
    }
    let mut command = common::lf_echo();
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--groups", "1"]);
    let program = Program::spawn(command, 2);
    let admin = program.said[1].strip_prefix("admin ").unwrap();
    let curl = |path: &str| {
        let url = format!("http://{admin}{path}");
        Command::new("curl").args(["--silent", "--fail", "--max-time", "20", &url]).output().unwrap()
    };
    assert_eq!(curl("/healthz").stdout, b"ok\n");
    assert!(String::from_utf8(curl("/metrics").stdout).unwrap().contains("lf_accepted_total"));
    assert!(!curl("/nothing").status.success());
    program.end();
}
