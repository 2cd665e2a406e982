//! `lf-bench compare --lua`, with stand-ins for lf-lua and lf-echo.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod common;

use common::lf;
use common::{Reference, bench, json, number, stderr, stdout};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const INSTALL: &str = "apt-get install nginx-light libnginx-mod-http-lua";

/// A program that says that it listens where another server does, whatever it is told.
struct StandIn(PathBuf);

impl StandIn {
    fn of(target: &str) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("lf-stand-in-{}-{}", std::process::id(), SERIAL.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho listening {target}\nexec sleep 600\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        StandIn(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A brief run of some parts.
fn compare(parts: &str, lf_echo: &StandIn, lf_lua: &StandIn, more: &[&str]) -> Output {
    let (lf_echo, lf_lua) = (lf_echo.path(), lf_lua.path());
    let args = ["compare", "--lua", "--only", parts, "--lf-echo", &lf_echo, "--lf-lua", &lf_lua, "--connections", "8"];
    let briefly = ["--rounds", "1", "--duration", "200ms", "--warmup", "50ms", "--blocking-rate", "200"];
    bench(&[&args[..], &briefly, more].concat())
}

fn series<'a>(report: &'a Value, label: &str) -> &'a Value {
    let all = report["series"].as_array().unwrap();
    all.iter().find(|series| series["label"] == label).unwrap_or_else(|| panic!("{label}: {report}"))
}

#[test]
fn echo_and_proxy_are_measured_and_their_figures_told() {
    let (lines, site) = (Reference::start("floor").unwrap(), lf::http());
    let (echo, page) = (StandIn::of(&lines.target), StandIn::of(&site.target));
    let report = json(&compare("a", &echo, &echo, &["--json"]));
    for label in ["lf-echo", "lf-lua"] {
        let round = &series(&report, label)["rounds"][0];
        assert!(number(&round["requests_per_second"]) > 0.0 && round["is_clean"] == true, "{round}");
    }
    assert!(report["figures"][0]["what"].as_str().unwrap().starts_with("echo"), "{report}");

    let report = json(&compare("d", &echo, &page, &["--json"]));
    for label in ["hello", "proxy"] {
        assert!(number(&series(&report, label)["rounds"][0]["requests_per_second"]) > 0.0, "{report}");
    }
    assert_eq!(number(&report["figures"][0]["target"]["at_least"]), 0.45, "{report}");
}

#[test]
fn some_requests_block_and_the_latency_is_that_of_the_others() {
    let site = lf::http();
    let page = StandIn::of(&site.target);
    let output = compare("c", &page, &page, &["--json"]);
    let report = json(&output);
    for percent in [1, 10, 50] {
        let round = &series(&report, &format!("lf-lua, {percent} %"))["rounds"][0];
        assert!(number(&round["p50_us"]) < 20_000.0, "those that block take 20 ms: {round}");
    }
    let what = "10 % blocking 10 ms: p99 of the others";
    assert!(report["figures"].as_array().unwrap().iter().any(|figure| figure["what"] == what), "{report}");
}

#[test]
fn the_page_is_compared_with_nginx_or_the_packages_are_named() {
    let site = lf::http();
    let page = StandIn::of(&site.target);
    let output = compare("b", &page, &page, &[]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text} {}", stderr(&output));
    assert!(text.contains("(b) GET /hello") && text.contains("lf-lua"), "{text}");
    let refused = text.contains("(b), (c) without nginx+lua: ");
    assert!(refused || text.contains("GET /hello, requests per CPU second: lf-lua / nginx+lua"), "{text}");
    if refused && !text.contains("server nginx+lua") {
        assert!(text.contains(INSTALL), "{text}");
    }
}

#[test]
fn a_page_that_is_wrong_ends_the_comparison() {
    let wrong = common::serve_each(|stream| {
        common::echo(stream, |_, bytes| {
            *bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbye".to_vec();
            true
        });
    });
    let page = StandIn::of(&wrong.to_string());
    let output = compare("d", &page, &page, &[]);
    assert!(!output.status.success(), "{}", stdout(&output));
    assert!(stdout(&output).contains("mismatch"), "{}", stdout(&output));
}

#[test]
fn without_lf_lua_there_is_a_word_about_it() {
    let nowhere = StandIn(PathBuf::from("/nonexistent/lf-lua"));
    let output = compare("a", &nowhere, &nowhere, &[]);
    let words = stderr(&output);
    assert!(!output.status.success());
    for part in ["nothing is left to measure", "--lf-lua /nonexistent/lf-lua", "cargo build --release -p lf-lua"] {
        assert!(words.contains(part), "{part:?} is missing in {words}");
    }
}
