//! Frames behind a 32-bit big-endian length.

use super::{Codec, Decoded, FRAME_BYTES_MAX_DEFAULT, FrameError, too_large};

const HEADER_BYTES: usize = 4;

/// `u32 length (big-endian) | length bytes`; a length of 0 is an empty frame.
#[derive(Clone, Copy, Debug)]
pub struct Len32 {
    bytes_max: usize,
}

impl Default for Len32 {
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX_DEFAULT)
    }
}

impl Len32 {
    /// Frames of at most `bytes_max` bytes, the length field not counted.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max }
    }
}

impl Codec for Len32 {
    type Frame<'a> = &'a [u8];
    type State = ();

    fn decode<'a>(&self, (): &mut (), input: &'a [u8], _examined: usize) -> Result<Decoded<&'a [u8]>, FrameError> {
        let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(Decoded::Partial { examined: 0, needed: HEADER_BYTES });
        };
        let len = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if len > self.bytes_max {
            return Err(too_large(len, self.bytes_max));
        }
        Ok(match rest.get(..len) {
            Some(frame) => Decoded::Frame { frame, consumed: HEADER_BYTES + len },
            None => Decoded::Partial { examined: 0, needed: HEADER_BYTES + len },
        })
    }

    fn encode(&self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let Ok(len) = u32::try_from(frame.len()) else {
            return Err(too_large(frame.len(), u32::MAX as usize));
        };
        out.reserve(HEADER_BYTES + frame.len());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(frame);
        Ok(())
    }
}
