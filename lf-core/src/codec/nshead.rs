//! nshead: the 36-byte header, little-endian, of many RPC back ends.
//!
//! `u16 id | u16 version | u32 log_id | char provider[16] | u32 magic | u32 reserved | u32 body_len | body`

use super::{Codec, Decoded, FrameError, too_large};

/// Bytes before the body.
const HEADER_BYTES: usize = 36;
/// What every header carries, so that a stream out of step is noticed.
const MAGIC: u32 = 0xfb70_9394;
/// Bodies up to this size are taken unless told otherwise, in bytes.
const BODY_BYTES_MAX_DEFAULT: usize = 64 * 1024 * 1024;

/// The fields of a header that mean something to a program; magic and length are the codec's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NsheadHeader {
    /// The sender's number for the kind of message.
    pub id: u16,
    /// The sender's version.
    pub version: u16,
    /// Names the request in the logs of every server that it passes.
    pub log_id: u32,
    /// The sender's name, padded with zeros.
    pub provider: [u8; 16],
    /// Free for use.
    pub reserved: u32,
}

impl NsheadHeader {
    /// The sender's name without the zeros that pad it.
    #[must_use]
    pub fn provider_name(&self) -> &[u8] {
        let end = self.provider.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &self.provider[..end]
    }
}

/// A header and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NsheadFrame<'a> {
    /// The header.
    pub header: NsheadHeader,
    /// The body, without the header.
    pub body: &'a [u8],
}

/// nshead framing.
#[derive(Clone, Copy, Debug)]
pub struct Nshead {
    bytes_max: usize,
}

impl Default for Nshead {
    fn default() -> Self {
        Self::new(BODY_BYTES_MAX_DEFAULT)
    }
}

impl Nshead {
    /// Bodies of at most `bytes_max` bytes.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max }
    }
}

/// Reads the fields of a header one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *field
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
}

impl Codec for Nshead {
    type Frame<'a> = NsheadFrame<'a>;
    type State = ();

    fn decode<'a>(
        &self,
        (): &mut (),
        input: &'a [u8],
        _examined: usize,
    ) -> Result<Decoded<NsheadFrame<'a>>, FrameError> {
        let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(Decoded::Partial { examined: 0, needed: HEADER_BYTES });
        };
        let mut fields = Fields(header);
        let (id, version, log_id, provider) = (fields.u16(), fields.u16(), fields.u32(), fields.take::<16>());
        if fields.u32() != MAGIC {
            return Err(FrameError::Malformed("nshead magic is not 0xfb709394"));
        }
        let reserved = fields.u32();
        let len = usize::try_from(fields.u32()).unwrap_or(usize::MAX);
        if len > self.bytes_max {
            return Err(too_large(len, self.bytes_max));
        }
        let header = NsheadHeader { id, version, log_id, provider, reserved };
        Ok(match rest.get(..len) {
            Some(body) => Decoded::Frame { frame: NsheadFrame { header, body }, consumed: HEADER_BYTES + len },
            None => Decoded::Partial { examined: 0, needed: HEADER_BYTES + len },
        })
    }

    fn encode(&self, frame: NsheadFrame<'_>, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let NsheadFrame { header, body } = frame;
        let Ok(len) = u32::try_from(body.len()) else {
            return Err(too_large(body.len(), u32::MAX as usize));
        };
        out.reserve(HEADER_BYTES + body.len());
        out.extend_from_slice(&header.id.to_le_bytes());
        out.extend_from_slice(&header.version.to_le_bytes());
        out.extend_from_slice(&header.log_id.to_le_bytes());
        out.extend_from_slice(&header.provider);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&header.reserved.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(body);
        Ok(())
    }
}
