//! A plain HTTP client: one request a connection, and a subscriber who reads chunk by chunk.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// The lines before the body.
#[derive(Debug)]
pub(crate) struct Head(pub(crate) String);

impl Head {
    pub(crate) fn read(from: &mut impl BufRead) -> Self {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            assert!(from.read_line(&mut text).unwrap() > 0, "the connection ended in the head: {text:?}");
        }
        Self(text)
    }

    pub(crate) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{:?}", self.0))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value.trim()))
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

/// Sends a request on a connection of its own, and reads the answer whole.
pub(crate) fn request(to: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let length = format!("Content-Length: {}\r\n", body.len());
    let length = if body.is_empty() && matches!(method, "GET" | "HEAD") { "" } else { &length };
    let mut stream = ask(to, method, target, fields, &format!("{length}Connection: close\r\n"), body);
    let head = Head::read(&mut stream);
    let mut whole = Vec::new();
    if head.is_chunked() {
        while let Some(chunk) = read_chunk(&mut stream) {
            whole.extend_from_slice(&chunk);
        }
    } else {
        stream.read_to_end(&mut whole).unwrap();
    }
    Answer { status: head.status(), head, body: whole }
}

fn ask(
    to: SocketAddr,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    more: &str,
    body: &[u8],
) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {to}\r\n{fields}{more}\r\n").into_bytes();
    request.extend_from_slice(body);
    (&stream).write_all(&request).unwrap();
    BufReader::new(stream)
}

/// The next chunk; `None` is the last one.
pub(crate) fn read_chunk(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut size = String::new();
    assert!(from.read_line(&mut size).unwrap() > 0, "the connection ended within a chunked body");
    let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|error| panic!("{error}: {size:?}"));
    let mut chunk = vec![0; size + 2];
    from.read_exact(&mut chunk).unwrap();
    assert!(chunk.ends_with(b"\r\n"), "{:?}", String::from_utf8_lossy(&chunk));
    chunk.truncate(size);
    (size > 0).then_some(chunk)
}

/// Somebody who listens over chunked HTTP.
pub(crate) struct Subscriber {
    pub(crate) stream: BufReader<TcpStream>,
    pub(crate) head: Head,
}

impl Subscriber {
    /// Subscribes, and reads the answer's head.
    pub(crate) fn open(to: SocketAddr, target: &str, fields: &[(&str, &str)]) -> Self {
        let mut stream = ask(to, "GET", target, fields, "", b"");
        let head = Head::read(&mut stream);
        assert_eq!(head.status(), 200, "GET {target}: {}", head.0);
        Self { stream, head }
    }

    /// The next chunk; `None` once the answer has ended.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        read_chunk(&mut self.stream)
    }

    /// The next chunk, which has to be there, as text.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(self.chunk().expect("the answer has ended")).unwrap()
    }
}
