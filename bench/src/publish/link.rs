//! One connection of a publisher: requests ahead of their answers, which come in the same order.

use crate::load::Fault;
use crate::wire::{Broke, Content, Piece, Reader};
use clap::ValueEnum;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};
use socket2::Socket;
use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// How a message is handed to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Via {
    /// `POST /send/ID`: to the id and to whom subscribes to it.
    Send,
    /// `POST /direct/ID`: to the id alone.
    Direct,
    /// `POST /batch`: one request without an end, a line of JSON a message.
    Batch,
}

/// What the server says to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// How many it reached, where the server says so.
    Taken(Option<u64>),
    Refused(String),
}

#[derive(Deserialize)]
struct Said {
    delivered: Option<u64>,
    error: Option<String>,
}

pub(super) struct Link {
    socket: Socket,
    via: Via,
    /// The header of a token, or nothing.
    authorization: Arc<str>,
    pub(super) connected: bool,
    reader: Reader,
    /// Requests that the kernel has not taken yet.
    out: Vec<u8>,
    /// When each unanswered message was sent, or was meant to be; nanoseconds of the run.
    times: VecDeque<u64>,
    /// When the last answer came.
    answered_ns: u64,
}

impl Link {
    /// `authorization`: a header with its line end, or nothing.
    pub(super) fn new(socket: Socket, via: Via, authorization: Arc<str>) -> Self {
        let (content, out) = match via {
            Via::Send | Via::Direct => (Content::Bodies, Vec::new()),
            Via::Batch => {
                let head = format!(
                    "POST /batch HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
                );
                (Content::Lines, head.into_bytes())
            }
        };
        Link {
            socket,
            via,
            authorization,
            connected: false,
            reader: Reader::new(content),
            out,
            times: VecDeque::new(),
            answered_ns: 0,
        }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Messages without an answer.
    pub(super) fn outstanding(&self) -> usize {
        self.times.len()
    }

    /// Since when an answer is due and none has come. In a long queue the oldest message may be old and all
    /// be well.
    pub(super) fn waits_since_ns(&self) -> Option<u64> {
        self.times.front().map(|sent| self.answered_ns.max(*sent))
    }

    /// Puts a message behind those that wait for [`Link::flush`].
    pub(super) fn add(&mut self, id: u32, message: &[u8], time_ns: u64) {
        // Writing to a vector cannot fail.
        let _ = match self.via {
            Via::Send => head(&mut self.out, "send", id, &self.authorization, message.len()),
            Via::Direct => head(&mut self.out, "direct", id, &self.authorization, message.len()),
            Via::Batch => {
                let before = "{\"send\":\"\",\"body\":\"\"}\n".len() + digits(id);
                write!(self.out, "{:x}\r\n{{\"send\":\"{id}\",\"body\":\"", before + message.len())
            }
        };
        self.out.extend_from_slice(message);
        if self.via == Via::Batch {
            self.out.extend_from_slice(b"\"}\n\r\n");
        }
        self.times.push_back(time_ns);
    }

    /// Ends a batch in good order.
    pub(super) fn end(&mut self) {
        if self.via == Via::Batch {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        // The run is over: what the kernel does not take now is not missed.
        let _ = self.flush();
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        let mut taken = 0;
        let result = loop {
            if taken == self.out.len() {
                break Ok(());
            }
            match send(&self.socket, &self.out[taken..], SendFlags::NOSIGNAL) {
                Ok(count) => taken += count,
                Err(Errno::AGAIN | Errno::NOTCONN) => break Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => break Err(Fault::of_stream(error)),
            }
        };
        self.out.drain(..taken);
        result
    }

    /// Reads until the socket is empty; `each` gets every answer and the time of its message.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        now_ns: u64,
        mut each: impl FnMut(Answer, u64),
    ) -> Result<(), Broke> {
        let Link { socket, reader, times, answered_ns, .. } = self;
        loop {
            let count = match recv(&*socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(Broke::Stream(Fault::Closed)),
                Ok((_, count)) => count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(Broke::Stream(Fault::of_stream(error))),
            };
            *answered_ns = now_ns;
            let mut astray = false;
            let pushed = reader.push(&buffer[..count], |piece| {
                let Some(answer) = answer(&piece) else { return };
                match times.pop_front() {
                    Some(time) => each(answer, time),
                    None => astray = true,
                }
            });
            pushed.map_err(Broke::Format)?;
            if astray {
                return Err(Broke::Stream(Fault::Mismatch));
            }
        }
    }
}

fn head(out: &mut Vec<u8>, what: &str, id: u32, authorization: &str, length: usize) -> std::io::Result<()> {
    write!(out, "POST /{what}/{id} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Length: {length}\r\n\r\n")
}

fn digits(number: u32) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// What a piece says to a message, if it does.
fn answer(piece: &Piece<'_>) -> Option<Answer> {
    match piece {
        Piece::Answer { status: 200..300, body, .. } => {
            // Other servers say it in their own words; then nothing is known but that they took it.
            let said = if body.first() == Some(&b'{') { serde_json::from_slice::<Said>(body).ok() } else { None };
            Some(Answer::Taken(said.and_then(|said| said.delivered)))
        }
        Piece::Answer { status, body, .. } => {
            let words: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
            Some(Answer::Refused(format!("{status} {words}").trim_end().to_owned()))
        }
        Piece::Line(b"") => None,
        Piece::Line(line) => Some(match serde_json::from_slice::<Said>(line) {
            Ok(Said { delivered: Some(count), .. }) => Answer::Taken(Some(count)),
            Ok(Said { error: Some(error), .. }) => Answer::Refused(error),
            Ok(_) | Err(_) => Answer::Refused(format!("unreadable answer {:?}", String::from_utf8_lossy(line))),
        }),
        Piece::Opened
        | Piece::Chunk(_)
        | Piece::Event(_)
        | Piece::Message(_)
        | Piece::Ping(_)
        | Piece::Close
        | Piece::Ended => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};
    use std::io::Read;

    fn pair(via: Via) -> (Link, Socket) {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        ours.set_nonblocking(true).unwrap();
        (Link::new(ours, via, "X: y\r\n".into()), theirs)
    }

    fn read(peer: &mut Socket, bytes: usize) -> String {
        let mut buffer = vec![0; bytes];
        peer.read_exact(&mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn posts_go_ahead_of_their_answers_which_are_matched_in_order() {
        let (mut link, mut peer) = pair(Via::Direct);
        link.add(7, b"hello", 100);
        link.add(8, b"hi", 200);
        link.flush().unwrap();
        let expected = "POST /direct/7 HTTP/1.1\r\nHost: localhost\r\nX: y\r\nContent-Length: 5\r\n\r\nhelloPOST /direct/8 HTTP/1.1\r\nHost: localhost\r\nX: y\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(read(&mut peer, expected.len()), expected);
        let answers = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"delivered\":3}\nHTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nwait";
        peer.write_all(answers.as_bytes()).unwrap();
        let mut got = Vec::new();
        link.receive(&mut [0; 999], 300, |answer, time| got.push((answer, time))).unwrap();
        let expected = [(Answer::Taken(Some(3)), 100), (Answer::Refused("429 wait".to_owned()), 200)];
        assert_eq!((&got[..], link.outstanding()), (&expected[..], 0));
    }

    #[test]
    fn a_batch_is_one_request_with_a_chunk_and_a_line_a_message() {
        let (mut link, mut peer) = pair(Via::Batch);
        link.add(12, b"abc", 5);
        link.end();
        let tail = "1b\r\n{\"send\":\"12\",\"body\":\"abc\"}\n\r\n0\r\n\r\n";
        let expected = format!(
            "POST /batch HTTP/1.1\r\nHost: localhost\r\nX: y\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n{tail}"
        );
        assert_eq!(read(&mut peer, expected.len()), expected);
        assert_eq!("{\"send\":\"12\",\"body\":\"abc\"}\n".len(), 0x1b);
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"error\":\"full\"}\n\r\n";
        peer.write_all(answer.as_bytes()).unwrap();
        let mut got = Vec::new();
        link.receive(&mut [0; 999], 300, |answer, time| got.push((answer, time))).unwrap();
        assert_eq!(got, [(Answer::Refused("full".to_owned()), 5)]);
    }

    #[test]
    fn a_message_waits_since_it_was_sent_or_since_the_answer_before_it() {
        let (mut link, mut peer) = pair(Via::Send);
        assert_eq!(link.waits_since_ns(), None);
        link.add(1, b"a", 100);
        link.add(1, b"b", 150);
        assert_eq!(link.waits_since_ns(), Some(100));
        peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        link.receive(&mut [0; 99], 400, |_, _| {}).unwrap();
        assert_eq!((link.outstanding(), link.waits_since_ns()), (1, Some(400)));
    }

    #[test]
    fn an_answer_to_nothing_is_a_mismatch() {
        let (mut link, mut peer) = pair(Via::Send);
        peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        let broke = link.receive(&mut [0; 99], 0, |_, _| {});
        assert!(matches!(broke, Err(Broke::Stream(Fault::Mismatch))), "{broke:?}");
    }
}
