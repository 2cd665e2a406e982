//! Lines that end in LF; a CR before it is part of the line ending when read.

use super::{Codec, Decoded, FRAME_BYTES_MAX_DEFAULT, FrameError, too_large};

/// A frame a line, without its ending. The end of the stream ends the last line.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    bytes_max: usize,
    keep_cr: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX_DEFAULT)
    }
}

impl Line {
    /// Lines of at most `bytes_max` bytes, the ending not counted.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, keep_cr: false }
    }

    /// Leaves a CR before the LF in the frame, so that what is echoed is what was sent.
    #[must_use]
    pub const fn keep_cr(mut self) -> Self {
        self.keep_cr = true;
        self
    }

    fn strip<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if self.keep_cr { line } else { line.strip_suffix(b"\r").unwrap_or(line) }
    }
}

impl Codec for Line {
    type Frame<'a> = &'a [u8];
    type State = ();

    fn decode<'a>(&self, (): &mut (), input: &'a [u8], examined: usize) -> Result<Decoded<&'a [u8]>, FrameError> {
        let fresh = input.get(examined..).unwrap_or_default();
        match memchr::memchr(b'\n', fresh) {
            Some(at) => {
                let end = examined + at;
                let line = self.strip(&input[..end]);
                if line.len() > self.bytes_max {
                    return Err(too_large(line.len(), self.bytes_max));
                }
                Ok(Decoded::Frame { frame: line, consumed: end + 1 })
            }
            // One byte over the limit may still be the CR of the ending.
            None if input.len() > self.bytes_max + 1 => Err(too_large(input.len(), self.bytes_max)),
            None => Ok(Decoded::Partial { examined: input.len(), needed: input.len() + 1 }),
        }
    }

    fn finish<'a>(&self, (): &mut (), rest: &'a [u8]) -> Result<Option<&'a [u8]>, FrameError> {
        let line = self.strip(rest);
        if line.len() > self.bytes_max { Err(too_large(line.len(), self.bytes_max)) } else { Ok(Some(line)) }
    }

    fn encode(&self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        if memchr::memchr(b'\n', frame).is_some() {
            return Err(FrameError::Unwritable("a line cannot hold a line feed"));
        }
        out.reserve(frame.len() + 1);
        out.extend_from_slice(frame);
        out.push(b'\n');
        Ok(())
    }
}
