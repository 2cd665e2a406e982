//! A message that comes together from pieces of frames.

use super::{Event, Kind, Limits, Violation, header::Header};

/// A message of which not all has come.
#[derive(Debug)]
pub(super) struct Message {
    kind: Kind,
    payload: Vec<u8>,
    /// Of text: this much is whole characters. At most 3 bytes behind it are the beginning of one.
    valid_bytes: usize,
    fragments: usize,
    /// Of the frame that is being read.
    frame_bytes_left: usize,
    mask: [u8; 4],
    last: bool,
}

impl Message {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, payload: Vec::new(), valid_bytes: 0, fragments: 0, frame_bytes_left: 0, mask: [0; 4], last: false }
    }

    pub(super) fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Whether payload comes next, not a header.
    pub(super) fn in_frame(&self) -> bool {
        self.frame_bytes_left > 0
    }

    pub(super) fn is_whole(&self) -> bool {
        self.last && self.frame_bytes_left == 0
    }

    /// Begins a frame of this message and takes what there is of it; says how many bytes that was.
    pub(super) fn read_frame(&mut self, header: &Header, limits: &Limits, input: &[u8]) -> Result<usize, Violation> {
        self.begin_frame(header, limits)?;
        Ok(header.bytes + self.fill(&input[header.bytes..])?)
    }

    fn begin_frame(&mut self, header: &Header, limits: &Limits) -> Result<(), Violation> {
        if header.payload_bytes > limits.message_bytes.saturating_sub(self.payload.len()) {
            return Err(Violation::too_big("a message over this server's limit"));
        }
        self.fragments += 1;
        if self.fragments > limits.fragments {
            return Err(Violation::policy("a message in more frames than this server takes"));
        }
        self.frame_bytes_left = header.payload_bytes;
        self.mask = header.mask;
        self.last = header.last;
        Ok(())
    }

    /// Takes from the front of `input` what belongs to the frame, and says how many bytes that was.
    pub(super) fn fill(&mut self, input: &[u8]) -> Result<usize, Violation> {
        let taken = self.frame_bytes_left.min(input.len());
        self.make_room(taken);
        let old = self.payload.len();
        self.payload.extend_from_slice(&input[..taken]);
        unmask(&mut self.payload[old..], self.mask);
        self.mask.rotate_left(taken % 4);
        self.frame_bytes_left -= taken;
        self.check_text()?;
        Ok(taken)
    }

    /// Grows by doubling, as pieces come, and not past what the last frame declares: memory is for what has come, not for
    /// what a header promises.
    fn make_room(&mut self, more: usize) {
        let used = self.payload.len();
        if self.payload.capacity() - used >= more {
            return;
        }
        if self.last {
            self.payload.reserve_exact(self.frame_bytes_left.min(more.max(used)));
        } else {
            self.payload.reserve(more);
        }
    }

    /// Finds the first byte that cannot be UTF-8 when it comes, not when the message ends.
    fn check_text(&mut self) -> Result<(), Violation> {
        if self.kind != Kind::Text {
            return Ok(());
        }
        let not_utf8 = Violation::payload("text that is not UTF-8");
        match std::str::from_utf8(&self.payload[self.valid_bytes..]) {
            Ok(text) => self.valid_bytes += text.len(),
            Err(error) if error.error_len().is_some() || self.is_whole() => return Err(not_utf8),
            Err(error) => self.valid_bytes += error.valid_up_to(),
        }
        Ok(())
    }

    pub(super) fn into_event(self) -> Event {
        Event::Message { kind: self.kind, payload: self.payload }
    }
}

/// Takes the mask off (or puts it on), eight bytes at a time.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        if let Some(bytes) = word.first_chunk_mut::<8>() {
            *bytes = (u64::from_ne_bytes(*bytes) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::websocket::header::Opcode;

    #[test]
    fn unmasking_by_words_is_unmasking_by_bytes() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..40 {
            let plain: Vec<u8> = (100..100 + len).collect();
            let mut masked = plain.clone();
            unmask(&mut masked, mask);
            let by_bytes: Vec<u8> = plain.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(masked, by_bytes, "{len} bytes");
        }
    }

    fn header(payload_bytes: usize, last: bool) -> Header {
        Header { opcode: Opcode::Message(Kind::Binary), last, mask: [0; 4], payload_bytes, bytes: 0 }
    }

    #[test]
    fn a_declared_length_is_not_allocated_before_it_comes() {
        let limits = Limits::new(1 << 40);
        let mut message = Message::new(Kind::Binary);
        message.begin_frame(&header(1 << 30, true), &limits).unwrap();
        message.fill(b"abc").unwrap();
        assert!(message.payload.capacity() < 64, "{}", message.payload.capacity());
    }

    #[test]
    fn a_frame_in_pieces_ends_in_a_buffer_of_its_size() {
        let mut message = Message::new(Kind::Binary);
        message.begin_frame(&header(1000, true), &Limits::default()).unwrap();
        let mut allocations = 0;
        for _ in 0..1000 {
            let before = message.payload.capacity();
            message.fill(b"x").unwrap();
            allocations += usize::from(message.payload.capacity() != before);
        }
        assert!(message.is_whole());
        assert_eq!(message.payload.capacity(), 1000);
        assert!(allocations <= 11, "{allocations} allocations, so the buffer does not double");
    }
}
