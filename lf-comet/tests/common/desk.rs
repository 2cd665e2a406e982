//! A publisher on a connection of its own, which it keeps.

use super::Program;
use super::http::Answer;
use super::wire::Wire;
use lf_comet::Position;
use serde_json::{Value, json};

/// A message as a line of a batch.
pub(crate) fn line(verb: &str, id: &str, body: &[u8]) -> String {
    let message = match std::str::from_utf8(body) {
        Ok(body) => json!({ verb: id, "body": body }),
        Err(_) => json!({ verb: id, "body64": base64(body) }),
    };
    format!("{message}\n")
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

pub(crate) fn from_base64(text: &str) -> Vec<u8> {
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap()
}

/// Asks one thing after the other.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) wire: Wire,
}

impl Desk {
    pub(crate) fn new(program: &Program) -> Self {
        Self { wire: Wire::connect(program.control()) }
    }

    /// A request with its body in one piece, unanswered yet.
    pub(crate) fn begin(&mut self, method: &str, target: &str, body: &[u8]) {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len())
                .into_bytes();
        request.extend_from_slice(body);
        self.wire.say(request);
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.begin(method, target, body);
        self.wire.answer()
    }

    /// Publishes by `send` or `direct`; answers how many connections it goes to.
    #[track_caller]
    pub(crate) fn publish(&mut self, verb: &str, id: &str, body: &[u8]) -> u64 {
        let answer = self.ask("POST", &format!("/{verb}/{id}"), body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        delivered(&answer.json())
    }

    /// Publishes lines, answered by a summary.
    #[track_caller]
    pub(crate) fn batch(&mut self, lines: &str) -> Value {
        let answer = self.ask("POST", "/batch?summary=1", lines.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

#[track_caller]
pub(crate) fn delivered(answer: &Value) -> u64 {
    answer["delivered"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

/// A batch whose body flows while it is answered.
#[derive(Debug)]
pub(crate) struct Flow {
    wire: Wire,
    rest: Vec<u8>,
}

impl Flow {
    pub(crate) fn begin(program: &Program) -> Self {
        let mut wire = Wire::connect(program.control());
        wire.ask("POST", "/batch", "1.1", "Transfer-Encoding: chunked\r\n");
        let head = wire.head();
        assert_eq!(head.status(), 200, "{}", head.0);
        Self { wire, rest: Vec::new() }
    }

    /// Sends some of the body, which need not end with a line.
    pub(crate) fn say(&mut self, text: &str) {
        self.wire.say(format!("{:x}\r\n{text}\r\n", text.len()));
    }

    /// The next answer.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Value {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            self.rest.extend(self.wire.chunk().expect("there are more answers"));
        }
    }

    /// Ends the body; no answer may be left.
    #[track_caller]
    pub(crate) fn end(self) {
        self.end_with(&[]);
    }

    /// Ends the body; these answers are left.
    #[track_caller]
    pub(crate) fn end_with(mut self, left: &[Value]) {
        self.wire.say("0\r\n\r\n");
        left.iter().for_each(|expected| assert_eq!(self.answer(), *expected));
        assert!(self.rest.is_empty() && self.wire.chunk().is_none(), "answers are left");
    }

    /// The answer has ended, and so does the connection.
    #[track_caller]
    pub(crate) fn comes_to_its_end(mut self) {
        assert!(self.rest.is_empty() && self.wire.chunk().is_none(), "answers are left");
        assert_eq!(self.wire.rest_or_reset(), b"");
    }
}

/// Where the stream of messages is now.
pub(crate) fn position(program: &Program) -> Position {
    let mut wire = Wire::connect(program.public());
    wire.get("/poll/nobody?timeout=0");
    wire.answer().field("lf-next").unwrap().parse().unwrap()
}
