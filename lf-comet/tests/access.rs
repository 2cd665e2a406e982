//! Who may listen: tokens, origins, and how many from one address.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::http::Answer;
use common::socket::{CLOSE, Socket, TEXT, close_payload, upgrade_fields};
use common::wire::Wire;
use common::{Program, refuses_to_start, until};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, Claims, Header};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const TRANSPORTS: [&str; 5] = ["test", "stream", "events", "poll", "ws"];

/// A file in a directory that lives as long.
struct File {
    _directory: TempDir,
    path: PathBuf,
}

impl File {
    fn of(content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, content).unwrap();
        Self { _directory: directory, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

fn token(claims: Value) -> String {
    signed(claims, KEY)
}

fn signed(claims: Value, key: &str) -> String {
    Hs256.token(&Header::empty(), &Claims::new(claims), &Hs256Key::new(key)).unwrap()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Asks on a connection of its own.
fn ask(program: &Program, method: &str, target: &str, fields: &str) -> (u16, Wire, common::http::Head) {
    let mut wire = Wire::connect(program.public());
    let upgrade = if target.starts_with("/ws/") { upgrade_fields() } else { String::new() };
    wire.ask(method, target, "1.1", &(upgrade + fields));
    let head = wire.head();
    (head.status(), wire, head)
}

fn refusal(program: &Program, target: &str, fields: &str) -> Answer {
    let mut wire = Wire::connect(program.public());
    let upgrade = if target.starts_with("/ws/") { upgrade_fields() } else { String::new() };
    wire.ask("GET", target, "1.1", &(upgrade + fields));
    wire.answer()
}

#[test]
fn nobody_listens_without_a_valid_token_for_the_id() {
    let key = File::of(&format!("  {KEY}\n"));
    let program = Program::start(&["--auth-key", key.path()]);
    let good = token(json!({ "sub": "123" }));
    let part = |index: usize| good.split('.').nth(index).unwrap().to_owned();
    let coded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = coded(json!({ "sub": "123" }));
    let none = coded(json!({ "alg": "none" }));
    let bad = [
        (401, "not.a.token".to_owned()),
        (401, "nothing".into()),
        (401, signed(json!({ "sub": "123" }), "another key that is long enough too")),
        (401, format!("{none}.{claims}.")),
        (401, format!("{none}.{claims}.{}", part(2))),
        (401, format!("{}.{claims}.{}", coded(json!({ "alg": "HS512" })), part(2))),
        (401, format!("{}.{}.{}", part(0), coded(json!({ "sub": "456" })), part(2))),
        (401, format!("{}.{}.", part(0), part(1))),
        (401, token(json!({ "sub": "123", "exp": now_s() - 1 }))),
        (401, token(json!({ "sub": "123", "nbf": now_s() + 100 }))),
        (401, token(json!({ "sub": 123 }))),
        (401, token(json!({ "name": "123" }))),
        (403, token(json!({ "sub": "124" }))),
        (403, token(json!({ "sub": ["12", "1234"] }))),
        (403, token(json!({ "sub": [] }))),
        (403, token(json!({ "sub": "" }))),
    ];
    let mut refused = 0;
    for transport in TRANSPORTS {
        let answer = refusal(&program, &format!("/{transport}/123"), "");
        assert_eq!(answer.status, 401, "{transport}");
        assert!(answer.field("www-authenticate").is_some_and(|how| how.starts_with("Bearer")));
        assert!(answer.text().contains("?token="), "{}", answer.text());
        for (status, token) in &bad {
            let answer = refusal(&program, &format!("/{transport}/123"), &format!("Authorization: Bearer {token}\r\n"));
            assert_eq!(answer.status, *status, "{transport} {token}: {}", answer.text());
        }
        // Of several ids, each.
        let answer = refusal(&program, &format!("/{transport}/123,456?token={good}"), "");
        assert_eq!((answer.status, answer.text()), (403, "the token is not for 456\n".into()));
        refused += bad.len() as u64 + 2;
    }
    assert_eq!(program.counter("unauthorized"), refused);
    assert_eq!((program.connected(None), program.counter("logins")), (0, 0));
    // What is for everybody needs none.
    assert_eq!(ask(&program, "GET", "/healthz", "").0, 200);
    program.end();
}

#[test]
fn a_token_is_taken_from_three_places() {
    let key = File::of(KEY);
    let program = Program::start(&["--auth-key", key.path()]);
    let one = token(json!({ "sub": "123", "exp": now_s() + 100, "nbf": now_s() - 100 }));
    let many = token(json!({ "sub": ["456", "123", "789"] }));
    for token in [one, many] {
        for (query, fields) in [
            (String::new(), format!("Authorization: Bearer {token}\r\n")),
            (String::new(), format!("authorization: bearer {token}\r\n")),
            (format!("?token={token}"), String::new()),
            (format!("?timeout=1&token={token}"), "Cookie: lf_token=nonsense\r\n".into()),
            (String::new(), format!("Cookie: theme=dark; lf_token={token}; a=b\r\n")),
        ] {
            for transport in TRANSPORTS.into_iter().filter(|transport| *transport != "poll") {
                let (status, mut wire, head) = ask(&program, "GET", &format!("/{transport}/123{query}"), &fields);
                assert_eq!(
                    status,
                    if transport == "ws" { 101 } else { 200 },
                    "{transport} {query} {fields}: {}",
                    head.0
                );
                program.await_connected("123", 1);
                program.send("123", "hello");
                while !wire.some().ends_with(if transport == "ws" { b"hello" } else { b"\r\n" }) {}
                wire.reset();
                program.await_connected("123", 0);
            }
        }
    }
    program.end();
}

#[test]
fn a_connection_ends_with_its_token() {
    for heartbeat in ["0s", "25s"] {
        let key = File::of(KEY);
        let program = Program::start(&["--auth-key", key.path(), "--heartbeat", heartbeat]);
        let expires = now_s() + 3;
        let token = token(json!({ "sub": "123", "exp": expires }));
        let open = |target: &str| {
            let (status, wire, _) = ask(&program, "GET", &format!("{target}{token}"), "");
            assert_eq!(status, 200);
            wire
        };
        let streams =
            ["/test/123?token=", "/stream/123?token=", "/stream/123?format=ndjson&token=", "/events/123?token="];
        let streams = streams.map(open);
        let mut socket = Socket::open(program.public(), &format!("/ws/123?token={token}"));
        let mut poll = Wire::connect(program.public());
        poll.get(&format!("/poll/123?timeout=100&token={token}"));
        program.await_connected("123", 6);
        let mut again = Wire::connect(program.public());
        again.get(&format!("/poll/123?timeout=0&token={token}"));
        assert_eq!(again.answer().status, 204);
        assert!(now_s() < expires, "the machine is too busy for a token of three seconds");
        for mut stream in streams {
            while stream.chunk().is_some() {}
            assert!(now_s() >= expires, "it ended too early");
            assert!(now_s() < expires + 10, "it ended too late");
            assert_eq!(stream.rest(), b"");
        }
        assert_eq!(socket.frame(), (CLOSE, close_payload(1008, "the token has expired")));
        assert_eq!(poll.answer().status, 204);
        until("all are out", || program.connected(None) == 0);
        assert_eq!(program.send("123", "too late"), 0);
        assert_eq!(socket.wire.rest(), b"");
        again.get(&format!("/poll/123?timeout=0&token={token}"));
        let answer = again.answer();
        assert_eq!((answer.status, answer.text().contains("expired")), (401, true), "{}", answer.text());
        program.end();
    }
}

#[test]
fn a_key_that_cannot_be_used_is_refused_at_the_start() {
    let files = ["short", "", " \n"].map(File::of);
    for (key, words) in [
        (files[0].path(), "5 bytes are too few"),
        (files[1].path(), "0 bytes are too few"),
        (files[2].path(), "0 bytes are too few"),
        ("/nowhere/key", "No such file"),
        ("/", "directory"),
    ] {
        let said = refuses_to_start(&["--auth-key", key]);
        assert!(said.contains(&format!("--auth-key {key}: ")) && said.contains(words), "{said}");
        assert!(!words.contains("few") || said.contains("at least 32, e.g. from `openssl rand -hex 32`"), "{said}");
    }
}

#[test]
fn without_a_key_the_start_says_that_anybody_may_listen() {
    let mut program = Program::start(&[]);
    program.signal("TERM");
    assert!(program.wait().log.contains("anyone may listen to any id: --auth-key"));
    let key = File::of(KEY);
    let mut program = Program::start(&["--auth-key", key.path()]);
    program.signal("TERM");
    assert!(!program.wait().log.contains("anyone may listen"));
}

fn cors(head: &common::http::Head) -> Vec<String> {
    let lines = head.0.lines().filter(|line| line.starts_with("Access-Control-") || line.starts_with("Vary"));
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

const LISTED: &str = "Origin: https://pages.example\r\n";
const FOREIGN: &str = "Origin: https://evil.example\r\n";

#[test]
fn pages_of_listed_origins_may_read_answers() {
    let program =
        Program::start(&["--allow-origin", "https://other.example:8443", "--allow-origin", "https://pages.example"]);
    let seen = [
        "Access-Control-Allow-Credentials: true",
        "Access-Control-Allow-Origin: https://pages.example",
        "Access-Control-Expose-Headers: Lf-Next",
        "Vary: Origin",
    ];
    for target in [
        "/test/1",
        "/stream/1",
        "/events/1",
        "/poll/1?timeout=0",
        "/poll/1?timeout=0.1",
        "/poll/1?after=00000000-1",
        "/events/*",
        "/nowhere",
    ] {
        assert_eq!(cors(&ask(&program, "GET", target, LISTED).2), seen, "{target}");
        assert_eq!(cors(&ask(&program, "HEAD", target, LISTED).2), seen, "{target}");
        assert_eq!(cors(&ask(&program, "GET", target, "").2), [""; 0], "{target}");
        assert_eq!(cors(&ask(&program, "GET", target, FOREIGN).2), [""; 0], "{target}");
    }
    // A poll that is answered later, too.
    let mut poll = Wire::connect(program.public());
    poll.ask("GET", "/poll/123?timeout=100", "1.1", LISTED);
    program.await_connected("123", 1);
    program.send("123", "hello");
    assert_eq!(cors(&poll.answer().head), seen);

    let asked = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n";
    let preflight = |origin: &str| ask(&program, "OPTIONS", "/events/123", &format!("{origin}{asked}"));
    let (status, _, head) = preflight(LISTED);
    assert_eq!(status, 204);
    assert_eq!(head.field("access-control-allow-methods"), Some("GET, HEAD"));
    assert_eq!(head.field("access-control-allow-headers"), Some("Authorization, Last-Event-ID"));
    assert_eq!(head.field("access-control-allow-origin"), Some("https://pages.example"));
    assert!(head.field("access-control-max-age").is_some_and(|age| age.parse::<u32>().is_ok()));
    let (status, _, head) = preflight(FOREIGN);
    assert_eq!((status, cors(&head)), (204, Vec::new()));
    program.end();
}

#[test]
fn any_page_may_read_answers_where_any_is_allowed_but_without_credentials() {
    let program = Program::start(&["--allow-origin", "*"]);
    for origin in [LISTED, FOREIGN, "Origin: null\r\n"] {
        let seen = ["Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: Lf-Next"];
        assert_eq!(cors(&ask(&program, "GET", "/events/1", origin).2), seen);
        assert_eq!(ask(&program, "GET", "/ws/1", origin).0, 101);
    }
    program.end();
}

#[test]
fn sockets_are_opened_for_own_and_listed_pages_and_for_programs() {
    let program = Program::start(&["--allow-origin", "https://pages.example"]);
    for (origin, status) in [
        ("", 101),
        (LISTED, 101),
        ("Origin: HTTPS://PAGES.example\r\n", 101),
        // Requests here go to "localhost".
        ("Origin: http://localhost\r\n", 101),
        ("Origin: https://localhost\r\n", 101),
        (FOREIGN, 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://pages.example\r\n", 403),
        ("Origin: https://pages.example:444\r\n", 403),
        ("Origin: https://pages.example.evil.example\r\n", 403),
        ("Origin: http://localhost:1\r\n", 403),
        ("Origin: \r\n", 403),
    ] {
        let (found, _, head) = ask(&program, "GET", "/ws/123", origin);
        assert_eq!(found, status, "{origin:?}: {}", head.0);
    }
    program.end();
}

#[test]
fn what_is_no_origin_is_refused_at_the_start() {
    for origin in [
        "pages.example",
        "https://",
        "https://pages.example/",
        "https://pages.example/path",
        "https://p\u{e4}ges.example",
    ] {
        let said = refuses_to_start(&["--allow-origin", origin]);
        assert!(said.contains("--allow-origin") && said.contains("SCHEME://HOST"), "{said}");
    }
}

#[test]
fn an_address_has_so_many_connections_and_not_more() {
    let program = Program::start(&["--max-per-address", "3"]);
    let mut guests: Vec<_> = (0..3).map(|number| Socket::open(program.public(), &format!("/ws/{number}"))).collect();
    for refused in 1..=3 {
        let mut fourth = Wire::connect(program.public());
        assert_eq!(fourth.rest_or_reset(), b"");
        assert_eq!(program.metric("lf_refused_total{reason=\"max_per_address\"}"), refused);
    }
    // Who leaves makes room; the control listener counts for itself.
    drop(guests.remove(0));
    program.await_connected("0", 0);
    guests.push(Socket::open(program.public(), "/ws/3"));
    for (number, guest) in (1..).zip(&mut guests) {
        assert_eq!(program.send(&number.to_string(), "hello"), 1);
        assert_eq!(guest.frame(), (TEXT, b"hello".to_vec()));
    }
    program.end();
}
