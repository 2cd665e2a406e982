//! The pages beside the API: their scripts run, what their transcripts say comes true, and the options are those of the program.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod docs_common;

use common::lf_lua;
use common::process::is_installed;
use common::socket::{Socket, TEXT};
use docs_common::{Stage, blocks};
use std::collections::BTreeSet;

const PAGES: [&str; 4] = [
    include_str!("../../docs/src/lua.md"),
    include_str!("../../docs/src/lua-tutorial.md"),
    include_str!("../../docs/src/lua-from-openresty.md"),
    include_str!("../../docs/src/lua-front.md"),
];

#[test]
fn transcripts_come_true() {
    if !is_installed("curl") || !is_installed("nc") {
        return;
    }
    for page in PAGES {
        let (mut stage, mut followed) = (None, 0);
        for block in blocks(page) {
            if block.is_script() {
                stage = Some(Stage::run(&block.text));
            } else if block.kind == "console" {
                stage.as_ref().unwrap().follow(&block);
                followed += 1;
            } else {
                let is_included = block.text.starts_with("{{#include");
                let is_shown = is_included || block.text.starts_with("-- not run");
                assert!(!block.is_lua() || is_shown, "line {}: a script without servers", block.line);
            }
        }
        assert!(followed > 0);
    }
}

#[test]
fn those_who_chat_read_each_other() {
    let script = blocks(PAGES[1]).into_iter().find(|block| block.text.contains("/chat/:name")).unwrap();
    let stage = Stage::run(&script.text);
    let mut sockets = ["Ann", "Bob"].map(|name| {
        let mut socket = Socket::open(stage.at(8080), &format!("/chat/{name}"));
        assert_eq!(socket.message(), (TEXT, format!("welcome, {name}").into()));
        socket
    });
    sockets[0].say(TEXT, b"hello");
    sockets.iter_mut().for_each(|socket| assert_eq!(socket.message(), (TEXT, "Ann: hello".into())));
    sockets[1].say(TEXT, b"hi");
    sockets.iter_mut().for_each(|socket| assert_eq!(socket.message(), (TEXT, "Bob: hi".into())));
    assert!(stage.shell("curl -s localhost:8080/").contains("new WebSocket"));
}

/// Names of options that come after one of these.
fn options_of<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let names = text.split(before).skip(1);
    names.map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap()).collect()
}

#[test]
fn the_options_on_the_page_are_those_of_the_program() {
    let output = lf_lua().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let section = PAGES[0].split("\n## ").find(|section| section.starts_with("Options\n")).unwrap();
    let known: BTreeSet<_> = options_of(&help, "    --").union(&options_of(&help, ", --")).copied().collect();
    assert!(known.len() > 20, "{known:?}");
    assert_eq!(options_of(section, "`--"), known);
}
