//! Scripts that publish through lf-comet.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::process::{Process, quiet};
use common::{Program, http, until};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// lf-comet is built beside lf-lua.
fn lf_comet() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_lf-lua")).with_file_name("lf-comet");
    path.is_file().then_some(path)
}

struct Comet {
    process: Process,
}

impl Comet {
    fn start(path: PathBuf, token: &std::path::Path) -> Self {
        let mut command = quiet(Command::new(path));
        command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--store", "none", "--groups", "1"]);
        command.arg("--control-token").arg(token);
        let process = Process::spawn(command);
        until("lf-comet listens", || process.lines().len() >= 2);
        Self { process }
    }

    fn address(&self, word: &str) -> SocketAddr {
        self.process.lines().iter().find_map(|line| line.strip_prefix(word)?.trim().parse().ok()).unwrap()
    }
}

#[test]
fn messages_of_a_script_reach_subscribers_and_errors_reach_the_script() {
    let Some(path) = lf_comet() else {
        return common::process::skip("lf-comet is not built: cargo build -p lf-comet");
    };
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    let comet = Comet::start(path, &token);
    let control = comet.address("control ");
    let program = Program::run(&format!(
        r#"lf.comet.connect {{ servers = {{ "{control}" }}, token = os.getenv("TOKEN") or "0123456789abcdef0123456789abcdef" }}
        local function say(res, ...) res:print(table.concat({{ tostring((...)), tostring((select(2, ...))) }}, " ")) end
        lf.http {{ listen = "127.0.0.1:0" }}
            :get("/send", function(req, res) say(res, lf.comet.send(req.args.id, req.args.text)) end)
            :get("/direct", function(req, res) say(res, lf.comet.direct(req.args.id, req.args.text)) end)
            :get("/subscribe", function(req, res) say(res, lf.comet.subscribe(req.args.a, req.args.b)) end)
            :get("/unsubscribe", function(req, res) say(res, lf.comet.unsubscribe(req.args.a, req.args.b)) end)"#
    ));
    let mut subscriber = http::Subscriber::open(comet.address("listening "), "/stream/ann", &[]);
    assert_eq!(program.text("/send?id=ann&text=hello%20ann"), "1 nil");
    assert!(subscriber.text().contains("hello ann"));
    assert_eq!(program.text("/subscribe?a=ann&b=bob"), "true true");
    assert_eq!(program.text("/subscribe?a=ann&b=bob"), "true false");
    assert_eq!(program.text("/send?id=bob&text=to%20those%20who%20follow"), "1 nil");
    assert!(subscriber.text().contains("to those who follow"));
    assert_eq!(program.text("/direct?id=bob&text=x"), "0 nil");
    assert_eq!(program.text("/unsubscribe?a=ann&b=bob"), "true true");
    assert_eq!(program.text("/send?id=bob&text=x"), "0 nil");
    assert!(program.text("/send?id=a%20b&text=x").starts_with("nil lf-comet: 400 "));
}
