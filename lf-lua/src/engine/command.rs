//! What a script wants of a connection, as bytes: so that it can be sent to whoever owns the connection as well as be
//! carried out on the spot.

/// A command, borrowed from the bytes that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command<'a> {
    /// A frame, or bytes where there are no frames.
    Send(&'a [u8]),
    /// No more after what was sent.
    Close,
    /// The next frame is for the call that waits with this ticket.
    Want(f64),
    /// The next frame is for nobody; tells the call that waits with this ticket that it is so.
    Unwant(f64),
    /// Tells the call that waits with this ticket once the peer has taken everything.
    Drained(f64),
    /// The call that was in progress is over: frames may be taken again.
    Release,
    /// The script wants to hear of the connection's end.
    Watch,
    /// A whole HTTP answer. `kind` is the type; empty if it is among the fields.
    Respond { status: u16, kind: &'a [u8], fields: Fields<'a>, body: &'a [u8] },
    /// The head of an HTTP answer in pieces.
    Start { status: u16, fields: Fields<'a> },
    /// A piece of it.
    Chunk(&'a [u8]),
    /// Its end.
    Finish,
    /// A WebSocket message.
    Text(&'a [u8]),
    /// A WebSocket message.
    Binary(&'a [u8]),
    /// A WebSocket ping.
    Ping(&'a [u8]),
    /// The end of a WebSocket.
    CloseSocket { code: u16, reason: &'a [u8] },
}

/// Names and values of header fields, each with its length before it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields; those that are not UTF-8 are left out.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut reader = Reader(self.0);
        std::iter::from_fn(move || Some((reader.bytes()?, reader.bytes()?)))
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
    }
}

/// Appends a field as [`Fields`] reads it.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_bytes(out, name);
    write_bytes(out, value);
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) const SEND: u8 = 1;
pub(super) const CLOSE: u8 = 2;
pub(super) const WANT: u8 = 3;
pub(super) const DRAINED: u8 = 4;
pub(super) const RELEASE: u8 = 5;
pub(super) const WATCH: u8 = 6;
pub(super) const RESPOND: u8 = 7;
pub(super) const START: u8 = 8;
pub(super) const CHUNK: u8 = 9;
pub(super) const FINISH: u8 = 10;
pub(super) const TEXT: u8 = 11;
pub(super) const BINARY: u8 = 12;
pub(super) const PING: u8 = 13;
pub(super) const CLOSE_SOCKET: u8 = 14;
pub(super) const UNWANT: u8 = 15;

/// What a command takes beside its texts, at most.
const ROOM: usize = 16;

impl<'a> Command<'a> {
    /// Appends the command.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let tagged = |out: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
            out.reserve(ROOM + bytes.len());
            out.push(tag);
            write_bytes(out, bytes);
        };
        match *self {
            Self::Send(bytes) => tagged(out, SEND, bytes),
            Self::Chunk(bytes) => tagged(out, CHUNK, bytes),
            Self::Text(bytes) => tagged(out, TEXT, bytes),
            Self::Binary(bytes) => tagged(out, BINARY, bytes),
            Self::Ping(bytes) => tagged(out, PING, bytes),
            Self::Close => out.push(CLOSE),
            Self::Release => out.push(RELEASE),
            Self::Watch => out.push(WATCH),
            Self::Finish => out.push(FINISH),
            Self::Want(ticket) => {
                out.push(WANT);
                out.extend_from_slice(&ticket.to_le_bytes());
            }
            Self::Unwant(ticket) => {
                out.push(UNWANT);
                out.extend_from_slice(&ticket.to_le_bytes());
            }
            Self::Drained(ticket) => {
                out.push(DRAINED);
                out.extend_from_slice(&ticket.to_le_bytes());
            }
            Self::Respond { status, kind, fields, body } => {
                out.reserve(ROOM + kind.len() + fields.0.len() + body.len());
                out.push(RESPOND);
                out.extend_from_slice(&status.to_le_bytes());
                write_bytes(out, kind);
                write_bytes(out, fields.0);
                write_bytes(out, body);
            }
            Self::Start { status, fields } => {
                out.push(START);
                out.extend_from_slice(&status.to_le_bytes());
                write_bytes(out, fields.0);
            }
            Self::CloseSocket { code, reason } => {
                out.push(CLOSE_SOCKET);
                out.extend_from_slice(&code.to_le_bytes());
                write_bytes(out, reason);
            }
        }
    }

    /// The commands in `bytes`, up to the first that is none.
    pub(crate) fn read_all(bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut reader = Reader(bytes);
        std::iter::from_fn(move || reader.command())
    }

    /// A head with fields that [`write_field`] wrote.
    pub(crate) fn start(status: u16, fields: &'a [u8]) -> Self {
        Self::Start { status, fields: Fields(fields) }
    }

    /// An answer with fields that [`write_field`] wrote.
    pub(crate) fn respond(status: u16, kind: &'a [u8], fields: &'a [u8], body: &'a [u8]) -> Self {
        Self::Respond { status, kind, fields: Fields(fields), body }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(self.take()?) as usize;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take()?))
    }

    fn command(&mut self) -> Option<Command<'a>> {
        let [tag] = self.take()?;
        Some(match tag {
            SEND => Command::Send(self.bytes()?),
            CHUNK => Command::Chunk(self.bytes()?),
            TEXT => Command::Text(self.bytes()?),
            BINARY => Command::Binary(self.bytes()?),
            PING => Command::Ping(self.bytes()?),
            CLOSE => Command::Close,
            RELEASE => Command::Release,
            WATCH => Command::Watch,
            FINISH => Command::Finish,
            WANT => Command::Want(f64::from_le_bytes(self.take()?)),
            UNWANT => Command::Unwant(f64::from_le_bytes(self.take()?)),
            DRAINED => Command::Drained(f64::from_le_bytes(self.take()?)),
            RESPOND => {
                let (status, kind) = (self.u16()?, self.bytes()?);
                Command::Respond { status, kind, fields: Fields(self.bytes()?), body: self.bytes()? }
            }
            START => Command::Start { status: self.u16()?, fields: Fields(self.bytes()?) },
            CLOSE_SOCKET => Command::CloseSocket { code: self.u16()?, reason: self.bytes()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_read_as_it_was_written() {
        let mut fields = Vec::new();
        write_field(&mut fields, b"A", b"b");
        let commands = [
            Command::Send(b"x"),
            Command::Close,
            Command::Want(7.0),
            Command::Unwant(8.0),
            Command::Drained(9.0),
            Command::Release,
            Command::Watch,
            Command::respond(201, b"text/html", &fields, b"body"),
            Command::start(200, &fields),
            Command::Chunk(b""),
            Command::Finish,
            Command::Text(b"t"),
            Command::Binary(b"\xff"),
            Command::Ping(b"p"),
            Command::CloseSocket { code: 1000, reason: b"bye" },
        ];
        let mut bytes = Vec::new();
        for command in &commands {
            command.write(&mut bytes);
        }
        assert_eq!(Command::read_all(&bytes).collect::<Vec<_>>(), commands);
        assert_eq!(Fields(&fields).iter().collect::<Vec<_>>(), [("A", "b")]);
    }

    #[test]
    fn what_was_cut_off_is_not_read() {
        let mut bytes = Vec::new();
        Command::Send(b"hello").write(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(Command::read_all(&bytes[..len]).count(), 0, "{len} bytes");
        }
    }
}
