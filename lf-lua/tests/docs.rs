//! The page about the API: its examples run, and it and the stubs name every function.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod docs_common;

use common::socket::{BINARY, Socket, TEXT};
use common::{Program, http};
use docs_common::{Block, Stage, blocks};

const PAGE: &str = include_str!("../../docs/src/lua-api.md");
const STUBS: &[&str] = &[
    include_str!("../library/lf.lua"),
    include_str!("../library/servers.lua"),
    include_str!("../library/json.lua"),
    include_str!("../library/cjson.lua"),
    include_str!("../library/crypto.lua"),
    include_str!("../library/re.lua"),
    include_str!("../library/shared.lua"),
    include_str!("../library/comet.lua"),
    include_str!("../library/compat.lua"),
];

/// The examples that are whole scripts.
fn scripts() -> Vec<Block> {
    let mut examples = blocks(PAGE);
    examples.retain(Block::is_script);
    assert!(examples.len() >= 6, "{examples:?}");
    examples
}

/// Runs examples in handlers of a server.
fn run_in_handlers(wanted: impl Fn(&Block) -> bool, arguments: &[&str]) {
    let mut examples = blocks(PAGE);
    examples.retain(|block| block.is_lua() && !block.is_script() && wanted(block));
    assert!(!examples.is_empty());
    let mut script = String::from("lf.http { listen = '127.0.0.1:0' }");
    for Block { line, text, .. } in &examples {
        script += &format!(":get('/{line}', function(req, res)\n{text}\nres:print('ok')\nend)");
    }
    let program = Program::with(&script, arguments);
    for Block { line, text, .. } in &examples {
        assert!(text.contains("assert("), "line {line}: it asserts nothing");
        assert_eq!(program.text(&format!("/{line}")), "ok", "the example on line {line}");
    }
}

#[test]
fn examples_without_servers_run_in_a_handler() {
    const UNTRUSTED: &str = "-- with --untrusted";
    run_in_handlers(|block| !block.text.starts_with(UNTRUSTED), &[]);
    run_in_handlers(|block| block.text.starts_with(UNTRUSTED), &["--untrusted"]);
}

#[test]
fn examples_with_servers_answer() {
    for Block { line, text, .. } in scripts() {
        let stage = Stage::run(&text);
        let answer = http::request(stage.at(8080), "GET", "/", &[], b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "line {line}: {}", stage.process.errors());
    }
}

fn example_with(text: &str) -> Stage {
    Stage::run(&scripts().into_iter().find(|block| block.text.contains(text)).unwrap().text)
}

#[test]
fn routes_of_the_example_do_what_they_seem_to_do() {
    let stage = example_with(":put(\"/files/*rest\"");
    let ask = |method, target, body: &[u8]| http::request(stage.at(8080), method, target, &[], body);
    let made = ask("POST", "/u/7", br#"{"name":"Ann"}"#);
    assert_eq!((made.status, made.json()["id"].as_str(), made.json()["name"].as_str()), (201, Some("7"), Some("Ann")));
    assert_eq!(ask("POST", "/u/7", b"{").status, 400);
    assert_eq!(ask("PUT", "/files/a/b", &[b'x'; 100_000]).text(), "a/b has 100000 bytes\n");
    let counted = ask("GET", "/count", b"");
    assert!(counted.head.is_chunked());
    assert_eq!(counted.text(), "1\n2\n3\n");
    let moved = ask("POST", "/form", b"name=a+b");
    assert_eq!((moved.status, moved.field("Location")), (302, Some("/?name=a%20b")));
    assert_eq!(ask("DELETE", "/private", b"").status, 403);
}

#[test]
fn the_websocket_of_the_example_echoes_and_refuses_pages() {
    let stage = example_with(":websocket(");
    let mut socket = Socket::open(stage.at(8080), "/echo");
    for (kind, message) in [(TEXT, b"hello".to_vec()), (BINARY, vec![0, 255])] {
        socket.say(kind, &message);
        assert_eq!(socket.message(), (kind, message));
    }
    let fields = common::socket::upgrade_fields() + "Origin: http://localhost\r\n";
    let mut wire = common::wire::Wire::connect(stage.at(8080));
    wire.ask("GET", "/echo", "1.1", &fields);
    let refused = wire.answer();
    assert_eq!((refused.status, refused.text().as_str()), (403, "not from pages\n"));
}

/// Functions under `lf` and in cjson, as a running VM has them; and methods of dictionaries, which have no metatable to read.
fn names() -> Vec<String> {
    let program = Program::run(
        r##"lf.http { listen = "127.0.0.1:0" }:get("/", function(_, res)
            local function collect(prefix, table)
                for name, value in pairs(table) do
                    if type(value) == "function" then
                        res:say(prefix, name)
                    elseif type(value) == "table" and not name:find("array_mt") and name ~= "shared" then
                        collect(prefix .. name .. ".", value)
                    end
                end
            end
            collect("lf.", lf)
            collect("cjson.", require "cjson")
            collect("Dict:", lf.shared.any)
        end)"##,
    );
    program.text("/").lines().map(str::to_owned).collect()
}

/// Methods of what the prelude makes: class (as the stubs have it) and name.
fn methods() -> Vec<(String, String)> {
    let prelude = [
        (include_str!("../src/prelude/http.lua"), "WebSocket"),
        (include_str!("../src/prelude/tcp.lua"), ""),
        (include_str!("../src/prelude/socket.lua"), "Socket"),
        (include_str!("../src/prelude/lf.lua"), ""),
        (include_str!("../src/prelude/upstream.lua"), ""),
    ];
    let mut methods = Vec::new();
    for (text, socket) in prelude {
        for line in text.lines() {
            let function = line.strip_prefix("function ").and_then(|line| line.split('(').next());
            // Another name for a method: `Socket.receive = Socket.recv`.
            let alias = line.split_once(" = ").filter(|(_, what)| what.starts_with("Socket.")).map(|(name, _)| name);
            let Some((class, name)) = function.or(alias).and_then(|name| name.split_once([':', '.'])) else { continue };
            let class = if class == "Socket" { socket } else { class };
            if class.len() > 1 && class.starts_with(char::is_uppercase) && !name.starts_with("__") && class != "Reader"
            {
                methods.push((class.to_owned(), name.to_owned()));
            }
        }
    }
    methods
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| !text[at + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn every_function_of_a_running_vm_has_a_stub_and_a_heading() {
    let names = names();
    assert!(names.len() > 80, "{names:?}");
    let headings: Vec<_> = PAGE.lines().filter(|line| line.starts_with("##")).collect();
    for name in names {
        assert!(STUBS.iter().any(|stub| stub.contains(&format!("function {name}("))), "{name} has no stub");
        match name.split_once([':', '.']) {
            Some(("lf", _)) => assert!(headings.iter().any(|line| has_word(line, &name)), "{name} has no heading"),
            Some((_, method)) => assert!(has_word(PAGE, method), "{name} is not on the page"),
            None => panic!("{name}"),
        }
    }
}

#[test]
fn every_method_has_a_stub_and_is_on_the_page() {
    let methods = methods();
    assert!(methods.len() > 30, "{methods:?}");
    for (class, name) in methods {
        let stub = format!("function {class}:{name}(");
        assert!(STUBS.iter().any(|text| text.contains(&stub)), "{class}:{name} has no stub");
        assert!(has_word(PAGE, &format!(":{name}")), "{class}:{name} is not on the page");
    }
}

#[test]
fn stubs_are_lua() {
    let lua = mlua::Lua::new();
    for stub in STUBS {
        assert!(stub.starts_with("---@meta"));
        lua.load(*stub).into_function().unwrap();
    }
}
