//! A push server in the test's process: every transport, a thread per connection, and as crooked as the test wants.

use super::serve_each;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What becomes of the n-th message of an id: the messages that are delivered in its place.
pub(crate) type Crook = fn(usize, String) -> Vec<String>;

pub(crate) fn honest(_: usize, message: String) -> Vec<String> {
    vec![message]
}

#[derive(Default)]
struct Hall {
    /// What has been delivered to each id.
    delivered: HashMap<String, Vec<String>>,
    /// How many have been published to each id.
    published: HashMap<String, usize>,
    listeners: HashMap<String, Vec<(Kind, TcpStream)>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Chunks,
    Lines,
    Events,
    Frames,
}

struct Server {
    hall: Mutex<Hall>,
    news: Condvar,
    crook: Crook,
}

/// Starts a server whose public and control side are one address.
pub(crate) fn serve(crook: Crook) -> SocketAddr {
    let server = Arc::new(Server { hall: Mutex::default(), news: Condvar::new(), crook });
    serve_each(move |stream| {
        let mut reader = BufReader::new(stream);
        // A connection that breaks is the client's affair.
        while server.answer(&mut reader).is_some() {}
    })
}

impl Server {
    fn answer(&self, reader: &mut BufReader<TcpStream>) -> Option<()> {
        let (line, length) = head(reader)?;
        let (_, path) = line.trim_end_matches(" HTTP/1.1").split_once(' ')?;
        let path = path.to_owned();
        let (route, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
        let (id, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut stream = reader.get_ref().try_clone().ok()?;
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        match (route, query) {
            ("test", _) => self.enter(id, Kind::Chunks, stream, &format!("{chunked}8\r\nWelcome\n\r\n")),
            ("stream", "") => self.enter(id, Kind::Chunks, stream, chunked),
            ("stream", _) => self.enter(id, Kind::Lines, stream, chunked),
            ("events", _) => self.enter(id, Kind::Events, stream, &format!("{chunked}d\r\nretry: 3000\n\n\r\n")),
            ("ws", _) => {
                let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
                self.enter(id, Kind::Frames, stream, &format!("HTTP/1.1 101 Switching Protocols\r\n{accept}\r\n\r\n"))
            }
            ("poll", query) => self.poll(id, query, &mut stream),
            ("send" | "direct", _) => {
                let mut body = vec![0; length];
                reader.read_exact(&mut body).ok()?;
                let count = self.publish(id, String::from_utf8(body).unwrap());
                let body = format!("{{\"delivered\":{count}}}\n");
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()
            }
            ("batch", _) => self.batch(reader, stream),
            _ => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok(),
        }
    }

    fn enter(&self, id: &str, kind: Kind, mut stream: TcpStream, welcome: &str) -> Option<()> {
        let mut hall = self.hall.lock().unwrap();
        stream.write_all(welcome.as_bytes()).ok()?;
        hall.listeners.entry(id.to_owned()).or_default().push((kind, stream));
        Some(())
    }

    fn publish(&self, id: &str, message: String) -> usize {
        let mut hall = self.hall.lock().unwrap();
        let hall = &mut *hall;
        let number = hall.published.entry(id.to_owned()).or_default();
        *number += 1;
        for message in (self.crook)(*number - 1, message) {
            let listeners = hall.listeners.entry(id.to_owned()).or_default();
            listeners.retain_mut(|(kind, stream)| send(*kind, stream, &message).is_ok());
            hall.delivered.entry(id.to_owned()).or_default().push(message);
        }
        self.news.notify_all();
        hall.listeners.get(id).map_or(0, Vec::len)
    }

    /// `timeout=0` asks for the position, `after=e-N` for what comes after the first N.
    fn poll(&self, id: &str, query: &str, stream: &mut TcpStream) -> Option<()> {
        let after = query.split('&').find_map(|pair| pair.strip_prefix("after=e-")).map(|text| text.parse().unwrap());
        let hall = self.hall.lock().unwrap();
        let count = |hall: &Hall| hall.delivered.get(id).map_or(0, Vec::len);
        let Some(after) = after else {
            return write!(stream, "HTTP/1.1 204 No Content\r\nLf-Next: e-{}\r\n\r\n", count(&hall)).ok();
        };
        let patience = Duration::from_secs(20);
        let (hall, _) = self.news.wait_timeout_while(hall, patience, |hall| count(hall) <= after).unwrap();
        let fresh: Vec<String> =
            hall.delivered[id][after..].iter().map(|body| format!("{{\"id\":\"e-1\",\"body\":\"{body}\"}}")).collect();
        let body = format!("{{\"next\":\"e-{}\",\"messages\":[{}]}}", count(&hall), fresh.join(","));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()
    }

    fn batch(&self, reader: &mut BufReader<TcpStream>, mut stream: TcpStream) -> Option<()> {
        write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                return write!(stream, "0\r\n\r\n").ok();
            }
            let line: serde_json::Value = serde_json::from_slice(&chunk[..size]).unwrap();
            let count = self.publish(line["send"].as_str().unwrap(), line["body"].as_str().unwrap().to_owned());
            let answer = format!("{{\"delivered\":{count}}}\n");
            write!(stream, "{:x}\r\n{answer}\r\n", answer.len()).ok()?;
        }
    }
}

/// The request line, and the length of what follows the head.
fn head(reader: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let (mut first, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Some((first?, length));
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse().ok()?;
        }
        first.get_or_insert_with(|| line.to_owned());
    }
}

/// In two writes, cut somewhere.
fn send(kind: Kind, stream: &mut TcpStream, message: &str) -> std::io::Result<()> {
    let chunk = |text: String| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    let bytes = match kind {
        Kind::Chunks => chunk(message.to_owned()),
        Kind::Lines => chunk(format!("{{\"id\":\"e-1\",\"body\":\"{message}\"}}\n")),
        Kind::Events => chunk(format!("id: e-1\ndata: {message}\n\n")),
        Kind::Frames => [&[0x81, u8::try_from(message.len()).unwrap()], message.as_bytes()].concat(),
    };
    let (front, back) = bytes.split_at(message.len() % bytes.len() / 2);
    stream.write_all(front)?;
    stream.write_all(back)
}
