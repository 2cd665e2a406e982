//! WebSocket frames (RFC 6455), as a client reads and writes them.

use super::Broken;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A key and what the server must make of it: the example of RFC 6455, 1.3. A proxy's cache could not tell
/// two clients apart by it; a benchmark has no proxy.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(super) const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) is_final: bool,
    pub(super) payload: &'a [u8],
}

/// A frame and its length, if it is there whole.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Broken> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Broken::Format("WebSocket frame: reserved bits"));
    }
    if second & 0x80 != 0 {
        return Err(Broken::Format("WebSocket frame: a server does not mask"));
    }
    let (length, start) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            let length = u32::try_from(length).map_err(|_| Broken::Format("WebSocket frame: length"))?;
            (length as usize, 10)
        }
        (126 | 127, _) => return Ok(None),
        (length, _) => (usize::from(length), 2),
    };
    let frame = |payload| Frame { opcode: first & 0x0f, is_final: first & 0x80 != 0, payload };
    Ok(bytes.get(start..start + length).map(|payload| (frame(payload), start + length)))
}

/// A control frame of the client's. The mask is zero: it hides nothing from anybody here.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const CONTROL_BYTES_MAX: usize = 125;
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    let length = u8::try_from(payload.len()).unwrap_or(0);
    let mut bytes = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(opcode: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match length {
            0..126 => bytes.push(u8::try_from(length).unwrap()),
            126..65536 => {
                bytes.push(126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend((0..length).map(|index| index.to_le_bytes()[0]));
        bytes
    }

    #[test]
    fn all_three_forms_of_a_length_are_read_and_no_cut_makes_a_frame() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let bytes = sent(BINARY, length);
            let (read, used) = frame(&bytes).unwrap().unwrap();
            assert_eq!((read.opcode, read.is_final, read.payload.len(), used), (BINARY, true, length, bytes.len()));
            for end in (0..bytes.len()).take(20).chain([bytes.len() - 1]) {
                assert_eq!(frame(&bytes[..end]), Ok(None));
            }
        }
    }

    #[test]
    fn masks_reserved_bits_and_absurd_lengths_are_refused() {
        for bytes in [&[0x81, 0x81, 0, 0, 0, 0, b'x'][..], &[0xc1, 1, b'x'], &[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(frame(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_client_s_frame_is_masked() {
        assert_eq!(masked(PONG, b"hi"), [0x8a, 0x82, 0, 0, 0, 0, b'h', b'i']);
    }
}
