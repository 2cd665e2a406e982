//! A connection on which every byte counts.

use super::PATIENCE;
use super::http::{Answer, Head, read_chunk};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// What a client with little room takes in before it reads.
const RECEIVE_BYTES: usize = 4096;
/// Segments of loopback are of 64 KiB, and the kernel reserves room for several; with usual ones the other end takes in less.
const SEGMENT_BYTES: u32 = 1000;

/// A raw connection. What does not come in time, or comes as something else, fails the test.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).unwrap())
    }

    /// With little room in both kernels: who does not read is soon felt by the server.
    pub(crate) fn with_little_room(to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
        socket.set_tcp_mss(SEGMENT_BYTES).unwrap();
        socket.connect(&to.into()).unwrap();
        Self::over(socket.into())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_ref().write_all(bytes.as_ref()).unwrap();
    }

    /// A request without a body; `version` is that of HTTP, `fields` are whole lines.
    pub(crate) fn ask(&mut self, method: &str, target: &str, version: &str, fields: &str) {
        self.say(format!("{method} {target} HTTP/{version}\r\nHost: localhost\r\n{fields}\r\n"));
    }

    /// `GET` by HTTP/1.1, without more fields.
    pub(crate) fn get(&mut self, target: &str) {
        self.ask("GET", target, "1.1", "");
    }

    /// The next bytes, which have to be these.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let found = self.bytes(bytes.len());
        assert!(
            found == bytes,
            "{:?} came, not {:?}",
            found.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );
    }

    /// The next `count` bytes.
    #[track_caller]
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next line, with its ending; empty at the end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        Head::read(&mut self.stream)
    }

    /// The next chunk; `None` is the last one, which is all that may end it.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        read_chunk(&mut self.stream)
    }

    /// What is there, at least a byte; nothing at the end.
    #[track_caller]
    pub(crate) fn some(&mut self) -> Vec<u8> {
        let bytes = self.stream.fill_buf().unwrap().to_vec();
        self.stream.consume(bytes.len());
        bytes
    }

    /// A whole answer to a request that was no `HEAD`.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.head();
        let mut body = Vec::new();
        if head.is_chunked() {
            while let Some(chunk) = self.chunk() {
                body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = head.field("content-length") {
            body = self.bytes(length.parse().unwrap());
        } else {
            assert!(matches!(head.status(), 101 | 204 | 304), "an answer of unknown length: {}", head.0);
        }
        Answer { status: head.status(), head, body }
    }

    /// All up to the end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    /// All up to the end, be that a reset.
    #[track_caller]
    pub(crate) fn rest_or_reset(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("it does not end: {error}"),
        }
        rest
    }

    /// Whether nothing comes for a while. The only wait that has to take its whole time.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(time)).unwrap();
        let silent = matches!(self.stream.fill_buf(), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// Says that nothing more will be said.
    pub(crate) fn finish(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// Ends with a reset.
    pub(crate) fn reset(self) {
        let socket = Socket::from(self.stream.into_inner());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().unwrap()
    }
}
