//! Who may publish and operate.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use common::desk::base64;
use common::http::request;
use common::{Program, refuses_to_start};

const TOKEN: &str = "0f1e2d3c4b5a69788796";

fn file(content: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

/// Every kind of request there is.
const REQUESTS: [(&str, &str, &str); 12] = [
    ("POST", "/send/123", "hello"),
    ("POST", "/direct/123", "hello"),
    ("POST", "/batch", "{\"send\":\"123\",\"body\":\"hello\"}\n"),
    ("PUT", "/subscriptions", "a b\n"),
    ("DELETE", "/subscriptions", "a b\n"),
    ("GET", "/subscribers/b", ""),
    ("GET", "/subscriptions/a", ""),
    ("GET", "/connections", ""),
    ("DELETE", "/connections?id=123", ""),
    ("GET", "/metrics", ""),
    ("GET", "/status", ""),
    ("GET", "/status.json", ""),
];

#[test]
fn nothing_is_done_without_the_control_token() {
    let (_directory, path) = file(&format!("\n{TOKEN}\n"));
    let program = Program::start(&["--control-token", &path]);
    let basic = |password: &str| format!("Basic {}", base64(format!("anybody:{password}").as_bytes()));
    let wrong = [
        String::new(),
        "Bearer".into(),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", &TOKEN[1..]),
        format!("Token {TOKEN}"),
        basic("something else"),
        "Basic !!!".into(),
    ];
    for (method, target, body) in REQUESTS {
        let ask = |authorization: &str| {
            request(program.control(), method, target, &[("Authorization", authorization)], body.as_bytes())
        };
        for authorization in &wrong {
            let answer = ask(authorization);
            assert_eq!(answer.status, 401, "{method} {target} {authorization}: {}", answer.text());
            assert!(answer.field("www-authenticate").is_some_and(|how| how.contains("Bearer")));
        }
        assert_eq!(request(program.control(), method, &format!("{target}?token={TOKEN}"), &[], b"").status, 401);
        for authorization in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN}"), basic(TOKEN)] {
            let answer = ask(&authorization);
            assert_eq!(answer.status, 200, "{method} {target} {authorization}: {}", answer.text());
        }
    }
    let published =
        request(program.control(), "GET", "/metrics", &[("Authorization", &format!("Bearer {TOKEN}"))], b"");
    assert!(published.text().contains("lf_comet_published_total 9\n"), "{}", published.text());
    for path in ["/healthz", "/readyz"] {
        assert_eq!(request(program.control(), "GET", path, &[], b"").status, 200);
    }
    program.end();
}

#[test]
fn off_loopback_the_control_listener_needs_a_token() {
    for address in ["0.0.0.0:0", "[::]:0", ":0"] {
        let said = refuses_to_start(&["--control", address]);
        for words in [&format!("--control {address}"), "--control-token FILE", "loopback", "unix"] {
            assert!(said.contains(words), "{said}");
        }
    }
    // One of two is enough.
    let said = refuses_to_start(&["--control", "127.0.0.1:0", "--control", "0.0.0.0:0"]);
    assert!(said.contains("--control-token FILE"), "{said}");
    let (_directory, path) = file(TOKEN);
    let program = Program::start(&["--control", "0.0.0.0:0", "--control-token", &path]);
    let port = program.said[1].rsplit_once(':').unwrap().1;
    let to = format!("127.0.0.1:{port}").parse().unwrap();
    assert_eq!(request(to, "GET", "/connections", &[], b"").status, 401);
    assert_eq!(request(to, "GET", "/connections", &[("Authorization", &format!("Bearer {TOKEN}"))], b"").status, 200);
    program.end();
}

#[test]
fn a_control_token_that_cannot_be_used_is_refused_at_the_start() {
    let (_directory, path) = file("too short\n");
    let said = refuses_to_start(&["--control-token", &path]);
    assert!(said.contains("--control-token") && said.contains(&path), "{said}");
    assert!(said.contains("at least 16") && said.contains("openssl rand"), "{said}");
    let said = refuses_to_start(&["--control-token", "/nowhere/token"]);
    assert!(said.contains("--control-token /nowhere/token") && said.contains("No such file"), "{said}");
}

#[test]
fn pages_of_other_origins_cannot_publish_through_somebodys_browser() {
    let program = Program::start(&[]);
    let own = format!("http://{}", program.control());
    for (method, target, body) in REQUESTS {
        for origin in ["https://evil.example", "null", "http://127.0.0.1", "", "http://localhost:1"] {
            let answer = request(program.control(), method, target, &[("Origin", origin)], body.as_bytes());
            assert_eq!(answer.status, 403, "{method} {target} {origin}");
        }
        let answer = request(program.control(), method, target, &[("Origin", &own)], body.as_bytes());
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
    }
    assert_eq!(program.counter("published"), 3);
    program.end();
}

#[test]
fn a_strangers_name_for_this_address_does_not_open_the_control_listener() {
    let program = Program::start(&[]);
    let ask = |host: &str| {
        let mut wire = common::wire::Wire::connect(program.control());
        wire.say(format!("POST /send/123 HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"));
        wire.answer().status
    };
    for host in ["rebound.example", "rebound.example:8001", "localhost.example", "127.0.0.1.example"] {
        assert_eq!(ask(host), 403, "{host}");
    }
    for host in ["localhost", "127.0.0.1:8001", "[::1]:8001"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    assert_eq!(program.counter("published"), 3);
    program.end();
}
