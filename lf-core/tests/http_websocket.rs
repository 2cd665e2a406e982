//! Connections that become WebSockets: the handshake, what passes over them, and how they end.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod common;
mod frames;
mod http_site;

use common::{Client, Host, Mode, any_port, in_every_mode, pattern, until};
use frames::{BINARY, CLOSE, CONTINUATION, LAST, PING, PONG, TEXT};
use http_site::{ask, read_answer, read_head, request};
use lf_core::codec::Http;
use lf_core::codec::http::{Incoming, Limits};
use lf_core::codec::websocket::{self, CloseCode, ControlRate, Kind};
use lf_core::{CloseReason, Context, Handler, Message, Outcome, Peer, Token};
use std::sync::{Arc, Mutex};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Echoes messages; does what a text says.
#[derive(Default)]
struct Talk {
    tokens: Arc<Mutex<Vec<Token>>>,
}

impl Handler<Http> for Talk {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, Http, ()>, frame: Incoming<'_>) -> Outcome {
        match frame {
            Incoming::Request(request) => {
                let value = request.query_value("v").unwrap_or_default();
                let fields = [("Sec-WebSocket-Protocol", value.as_ref())];
                let upgraded = cx.upgrade(&request, if value.is_empty() { &[] } else { &fields });
                assert_eq!(upgraded, cx.is_socket());
                self.tokens.lock().unwrap().push(cx.token());
            }
            Incoming::Body { .. } => {}
            Incoming::Socket(event) => match cx.take_event(event) {
                Some((Kind::Text, payload)) => match payload.as_slice() {
                    b"fail" => return Err("as asked".into()),
                    b"panic" => panic!("as asked"),
                    b"close" => cx.close_socket(CloseCode::NORMAL, "as asked"),
                    b"ping" => cx.ping(b"are you there?")?,
                    text => cx.send_text(std::str::from_utf8(text)?),
                },
                Some((Kind::Binary, payload)) => cx.send_binary(&payload),
                None => {}
            },
        }
        Ok(())
    }

    fn message(&self, cx: &mut Context<'_, Http, ()>, message: &Message) -> Outcome {
        cx.send_text(std::str::from_utf8(message)?);
        Ok(())
    }
}

fn serve(mode: Mode) -> (Host, Arc<Mutex<Vec<Token>>>) {
    let talk = Talk::default();
    let tokens = Arc::clone(&talk.tokens);
    let limits = websocket::Limits { control: ControlRate { burst: 5, per_s: 1 }, ..websocket::Limits::new(100_000) };
    let codec = Http::new(Limits::default()).websocket(limits);
    (Host::start(mode.builder().listen(any_port(), codec, talk)), tokens)
}

fn upgrade(path: &str) -> Vec<u8> {
    request("GET", path, UPGRADE)
}

/// A connection that has become a WebSocket.
fn open(host: &Host) -> Client {
    let mut client = host.connect();
    client.send(&upgrade("/ws"));
    assert_eq!(read_head(&mut client).status, 101);
    client
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frames::masked(first, [0x37, 0xfa, 0x21, 0x3d], payload)
}

/// The next frame: its opcode and payload.
fn read_frame(client: &mut Client) -> (u8, Vec<u8>) {
    let header = client.read(2);
    assert!(header[0] & 0xf0 == LAST && header[1] & 0x80 == 0, "{header:?}");
    let len = match header[1] {
        126 => usize::from(u16::from_be_bytes(client.read(2).try_into().unwrap())),
        127 => usize::try_from(u64::from_be_bytes(client.read(8).try_into().unwrap())).unwrap(),
        len => usize::from(len),
    };
    (header[0] & 0xf, client.read(len))
}

fn expect_frame(client: &mut Client, opcode: u8, payload: &[u8]) {
    let (got, bytes) = read_frame(client);
    assert!(got == opcode && bytes == payload, "{got}: {:?}", String::from_utf8_lossy(&bytes));
}

fn expect_close(client: &mut Client, code: u16) {
    let (opcode, payload) = read_frame(client);
    assert_eq!((opcode, payload.get(..2)), (CLOSE, Some(&code.to_be_bytes()[..])));
}

#[test]
fn a_handshake_is_answered_with_the_key_that_belongs_to_it() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode);
        let mut client = host.connect();
        client.send(&upgrade("/ws?v=chat"));
        let head = read_head(&mut client);
        assert_eq!(
            (head.status, head.field("upgrade"), head.field("connection")),
            (101, Some("websocket"), Some("Upgrade"))
        );
        assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(head.field("sec-websocket-protocol"), Some("chat"));
        assert_eq!((head.field("content-length"), head.field("transfer-encoding")), (None, None));
        client.send(&masked(LAST | TEXT, b"hello"));
        expect_frame(&mut client, TEXT, b"hello");
    });
}

#[test]
fn a_handshake_that_breaks_a_rule_is_answered_with_what_is_missing() {
    let without = |name: &str| {
        UPGRADE.lines().filter(|line| !line.starts_with(name)).fold(String::new(), |all, line| all + line + "\r\n")
    };
    let cases = [
        (request("GET", "/ws", ""), 426),
        (request("GET", "/ws", &without("Upgrade")), 426),
        (request("GET", "/ws", &without("Connection")), 426),
        (request("GET", "/ws", &without("Sec-WebSocket-Version")), 426),
        (request("GET", "/ws", &UPGRADE.replace("13", "8")), 426),
        (request("GET", "/ws", &without("Sec-WebSocket-Key")), 400),
        (request("GET", "/ws", &UPGRADE.replace("dGhl", "x")), 400),
        (request("POST", "/ws", UPGRADE), 405),
        (upgrade("/ws?v=a%0d%0ab"), 500),
    ];
    in_every_mode(|mode| {
        let (host, _) = serve(mode);
        for (head, status) in &cases {
            let mut client = host.connect();
            let answer = ask(&mut client, head);
            assert_eq!(answer.status, *status, "{:?}: {answer:?}", String::from_utf8_lossy(head));
            if answer.status == 426 {
                assert_eq!(answer.field("sec-websocket-version"), Some("13"));
                assert_eq!((answer.field("upgrade"), answer.field("connection")), (Some("websocket"), Some("Upgrade")));
            }
            // It is still HTTP, and may be asked properly.
            client.send(&upgrade("/ws"));
            assert_eq!(read_head(&mut client).status, 101);
        }
        let mut client = host.connect();
        client.send(format!("GET /ws HTTP/1.0\r\n{UPGRADE}\r\n").as_bytes());
        assert_eq!(read_answer(&mut client).status, 400);
        client.expect_end();
    });
}

#[test]
fn messages_come_back_whole_also_those_that_came_right_behind_the_handshake() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode);
        let mut client = host.connect();
        client.send(&[upgrade("/ws"), masked(LAST | TEXT, b"at once"), masked(TEXT, b"in ")].concat());
        assert_eq!(read_head(&mut client).status, 101);
        expect_frame(&mut client, TEXT, b"at once");
        client.send(&[masked(CONTINUATION, b"three "), masked(LAST | PING, b"?"), masked(LAST, b"pieces")].concat());
        expect_frame(&mut client, PONG, b"?");
        expect_frame(&mut client, TEXT, b"in three pieces");
        for len in [0, 125, 126, 65_535, 65_536, 100_000] {
            let payload = pattern(len);
            client.send(&masked(LAST | BINARY, &payload));
            expect_frame(&mut client, BINARY, &payload);
        }
    });
}

#[test]
fn a_close_is_answered_and_ends_the_connection() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode);
        let mut client = open(&host);
        client.send(&[masked(LAST | CLOSE, &[0x03, 0xe9]), masked(LAST | TEXT, b"nobody reads this")].concat());
        expect_close(&mut client, 1001);
        client.expect_end();
        let mut client = open(&host);
        client.send(&masked(LAST | CLOSE, b""));
        expect_frame(&mut client, CLOSE, b"");
        client.expect_end();
        host.until_closed(CloseReason::PeerClosed, 2);
    });
}

#[test]
fn after_our_close_messages_are_dropped_until_the_peer_closes() {
    in_every_mode(|mode| {
        let (host, tokens) = serve(mode);
        let mut client = open(&host);
        client
            .send(&[masked(LAST | TEXT, b"close"), masked(LAST | TEXT, b"dropped"), masked(LAST | PING, b"")].concat());
        expect_frame(&mut client, CLOSE, b"\x03\xe8as asked");
        let token = tokens.lock().unwrap()[0];
        host.running.remote().send(token, *b"too late").unwrap();
        client.send(&masked(LAST | CLOSE, &[0x03, 0xe8]));
        client.expect_end();
    });
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_so_by_a_close_code() {
    let cases: [(Vec<u8>, u16); 6] = [
        (vec![LAST | TEXT, 1, b'x'], 1002),
        (masked(LAST | 0x3, b""), 1002),
        (masked(LAST | 0x40 | TEXT, b""), 1002),
        (masked(LAST | TEXT, b"\xff"), 1007),
        (masked(LAST | BINARY, &[0; 100_001])[..20].to_vec(), 1009),
        (masked(LAST | PING, b"").repeat(6), 1008),
    ];
    in_every_mode(|mode| {
        let (host, _) = serve(mode);
        for (frames, code) in &cases {
            let mut client = open(&host);
            client.send(frames);
            let mut frame = read_frame(&mut client);
            while frame.0 == PONG {
                frame = read_frame(&mut client);
            }
            assert_eq!((frame.0, &frame.1[..2]), (CLOSE, &code.to_be_bytes()[..]), "{frames:?}");
            client.expect_end();
        }
        host.until_closed(CloseReason::Malformed, cases.len() as u64);
    });
}

#[test]
fn a_socket_that_must_end_says_why() {
    in_every_mode(|mode| {
        let (host, tokens) = serve(mode);
        for text in ["fail", "panic"] {
            let mut client = open(&host);
            client.send(&masked(LAST | TEXT, text.as_bytes()));
            expect_close(&mut client, 1011);
            client.expect_end();
        }
        let mut client = open(&host);
        let token = *tokens.lock().unwrap().last().unwrap();
        assert!(host.running.remote().close(token));
        expect_close(&mut client, 1008);
        client.expect_end();
        let mut client = open(&host);
        assert_eq!(host.running.drain().cut, 0);
        expect_close(&mut client, 1001);
        client.expect_end();
    });
}

#[test]
fn messages_of_other_threads_come_as_frames_and_pings_reach_the_peer() {
    in_every_mode(|mode| {
        let (host, tokens) = serve(mode);
        let mut client = open(&host);
        let token = tokens.lock().unwrap()[0];
        for i in 0..100 {
            host.running.remote().send(token, format!("message {i}").into_bytes()).unwrap();
            expect_frame(&mut client, TEXT, format!("message {i}").as_bytes());
        }
        client.send(&masked(LAST | TEXT, b"ping"));
        expect_frame(&mut client, PING, b"are you there?");
        client.send(&[masked(LAST | PONG, b"are you there?"), masked(LAST | TEXT, b"yes")].concat());
        expect_frame(&mut client, TEXT, b"yes");
    });
}

#[test]
fn http_is_not_spoken_any_more_once_the_socket_is_open() {
    in_every_mode(|mode| {
        let (host, _) = serve(mode);
        let mut client = open(&host);
        client.send(&request("GET", "/ws", ""));
        expect_close(&mut client, 1002);
        client.expect_end();
        until("it has ended", || host.stats().connections() == 0);
    });
}
