//! Server-Sent Events (HTML living standard, 9.2). Lines end with LF or CRLF; the lone CR of the standard is
//! not read, no server of this century sends it.

use super::line;
use std::borrow::Cow;

/// An event with its fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Empty where it is the default, `message`.
    pub(crate) kind: &'a [u8],
    /// The lines of data, joined by LF. `None`: comments or `retry` only.
    pub(crate) data: Option<Cow<'a, [u8]>>,
}

/// What stands before the next empty line, and how many bytes that took.
pub(super) fn event(bytes: &[u8]) -> Option<(Event<'_>, usize)> {
    let mut event = Event { kind: b"", data: None };
    let mut at = 0;
    loop {
        let (line, used) = line(&bytes[at..])?;
        at += used;
        if line.is_empty() {
            return Some((event, at));
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &line[..0]),
        };
        match name {
            b"event" => event.kind = value,
            b"data" => match &mut event.data {
                None => event.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_comments_are_not() {
        let text = b"retry: 3000\n: hello\nid: a-1\nevent: lost\ndata: {}\n\nrest";
        let (event, used) = event(text).unwrap();
        assert_eq!((event.kind, event.data.as_deref()), (&b"lost"[..], Some(&b"{}"[..])));
        assert_eq!(&text[used..], b"rest");
    }

    #[test]
    fn lines_of_data_are_joined_and_need_no_blank() {
        let (event, _) = event(b"data:a\r\ndata: b\r\ndata\r\n\r\n").unwrap();
        assert_eq!(event.data.as_deref(), Some(&b"a\nb\n"[..]));
    }

    #[test]
    fn a_heartbeat_is_an_event_without_data() {
        assert_eq!(event(b":\n\n").unwrap(), (Event { kind: b"", data: None }, 3));
    }
}
