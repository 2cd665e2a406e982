//! No framing: what has been read is the frame.

use super::{Codec, Decoded, FrameError};

/// Hands over bytes as they come; where one read ends means nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Frame<'a> = &'a [u8];
    type State = ();

    fn decode<'a>(&self, (): &mut (), input: &'a [u8], _examined: usize) -> Result<Decoded<&'a [u8]>, FrameError> {
        Ok(match input {
            [] => Decoded::Partial { examined: 0, needed: 1 },
            bytes => Decoded::Frame { frame: bytes, consumed: bytes.len() },
        })
    }

    fn encode(&self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(frame);
        Ok(())
    }
}
