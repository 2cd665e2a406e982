//! WebSockets on the routes of `lf.http`.

mod common;

use common::socket::{BINARY, CLOSE, Socket, TEXT, close_payload};
use common::{Program, http};

const SCRIPT: &str = r#"
local function echo(ws, req)
    ws:send("hello " .. (req.params.name or "") .. " " .. tostring(req.args and req.path))
    local n = 0
    while true do
        local message, kind = ws:recv()
        if message then n = n + 1 end
        if not message then
            lf.log(lf.INFO, "ended: ", kind, " after ", n)
            return
        end
        if message == "break" then error("broken") end
        if message == "bye" then return ws:close(4000, "as you wish") end
        if message == "wait" then lf.sleep(0.05) end
        if kind == "binary" then ws:send_binary(message) else ws:send(message) end
    end
end
lf.http { listen = "127.0.0.1:0" }
    :websocket("/ws/:name", echo)
    :websocket("/guarded", echo, { accept = function(req)
        if req:header("X-Key") == "7" then return true end
        return 401, "show your key\n"
    end })
    :websocket("/push", function(ws)
        for i = 1, 3 do ws:send(i) lf.sleep(0.002) end
    end)
"#;

#[test]
fn messages_go_both_ways_and_keep_their_kind() {
    let program = Program::run(SCRIPT);
    let mut socket = Socket::open(program.at(), "/ws/ann");
    assert_eq!(socket.message(), (TEXT, b"hello ann /ws/ann".to_vec()));
    socket.say(TEXT, "grüße".as_bytes());
    assert_eq!(socket.message(), (TEXT, "grüße".into()));
    socket.say(BINARY, b"\xff\x00");
    assert_eq!(socket.message(), (BINARY, b"\xff\x00".to_vec()));
}

#[test]
fn messages_that_come_while_the_script_is_busy_are_kept_in_order() {
    let program = Program::run(SCRIPT);
    let mut socket = Socket::open(program.at(), "/ws/ann");
    socket.message();
    socket.say(TEXT, b"wait");
    for n in 0..100 {
        socket.say(TEXT, n.to_string().as_bytes());
    }
    assert_eq!(socket.message().1, b"wait");
    for n in 0..100 {
        assert_eq!(socket.message().1, n.to_string().as_bytes());
    }
}

#[test]
fn messages_before_a_close_are_received_also_if_the_script_is_busy_then() {
    let program = Program::run(SCRIPT);
    let mut socket = Socket::open(program.at(), "/ws/ann");
    socket.message();
    socket.say(TEXT, b"wait");
    for _ in 0..100 {
        socket.say(TEXT, b"and one more");
    }
    socket.say(CLOSE, &close_payload(1000, ""));
    program.awaits_log("ended: closed after 101");
}

#[test]
fn the_script_closes_and_hears_of_a_close() {
    let program = Program::run(SCRIPT);
    let mut socket = Socket::open(program.at(), "/ws/ann");
    socket.message();
    socket.say(TEXT, b"bye");
    assert_eq!(socket.frame(), (CLOSE, close_payload(4000, "as you wish")));
    let mut other = Socket::open(program.at(), "/ws/bob");
    other.message();
    other.say(CLOSE, &close_payload(1000, ""));
    assert_eq!(other.frame().0, CLOSE);
    program.awaits_log("ended: closed");
}

#[test]
fn an_end_of_the_function_ends_the_socket_and_an_error_says_so() {
    let program = Program::run(SCRIPT);
    let mut push = Socket::open(program.at(), "/push");
    for n in ["1", "2", "3"] {
        assert_eq!(push.message(), (TEXT, n.into()));
    }
    assert_eq!(push.frame(), (CLOSE, close_payload(1000, "")));
    let mut broken = Socket::open(program.at(), "/ws/x");
    broken.message();
    broken.say(TEXT, b"break");
    assert_eq!(broken.frame(), (CLOSE, close_payload(1011, "internal error")));
    program.awaits_log("broken");
}

#[test]
fn a_route_may_refuse_a_socket() {
    let program = Program::run(SCRIPT);
    let fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let refused = http::request(program.at(), "GET", "/guarded", &fields, b"");
    assert_eq!((refused.status, refused.text().as_str()), (401, "show your key\n"));
    let plain = program.get("/ws/x");
    assert_eq!(plain.status, 426);
}
