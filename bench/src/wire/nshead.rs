//! The 36-byte header of nshead, little-endian, without padding:
//! `u16 id | u16 version | u32 log_id | char provider[16] | u32 magic | u32 reserved | u32 body_len`.

/// Bytes before the body.
pub(crate) const HEADER_BYTES: usize = 36;
const MAGIC: u32 = 0xfb70_9394;

/// What stands before a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u16,
    pub(crate) version: u16,
    pub(crate) log_id: u32,
    /// Padded with zeros.
    pub(crate) provider: [u8; 16],
    pub(crate) reserved: u32,
    /// Bytes of the body only.
    pub(crate) body_len: u32,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..2].copy_from_slice(&self.id.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.provider);
        bytes[24..28].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.reserved.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.body_len.to_le_bytes());
        bytes
    }

    /// # Errors
    /// What stands in the place of the magic number, if it is another.
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, u32> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut provider = [0; 16];
        provider.copy_from_slice(&bytes[8..24]);
        match u32_at(24) {
            MAGIC => Ok(Header {
                id: u16_at(0),
                version: u16_at(2),
                log_id: u32_at(4),
                provider,
                reserved: u32_at(28),
                body_len: u32_at(32),
            }),
            other => Err(other),
        }
    }
}

/// Names the magic number that was found instead of nshead's.
pub(crate) fn wrong_magic(found: u32) -> String {
    format!("the magic number is 0x{found:08x}, not 0x{MAGIC:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_its_fields_where_the_protocol_wants_them() {
        let provider = *b"lf-bench\0\0\0\0\0\0\0\0";
        let header = Header { id: 0x0102, version: 3, log_id: 0x0a0b_0c0d, provider, reserved: 9, body_len: 5 };
        let bytes = header.to_bytes();
        assert_eq!(bytes[..8], [2, 1, 3, 0, 0x0d, 0x0c, 0x0b, 0x0a]);
        assert_eq!(bytes[8..24], provider);
        assert_eq!(bytes[24..], [0x94, 0x93, 0x70, 0xfb, 9, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(Header::parse(&bytes), Ok(header));
    }

    #[test]
    fn another_magic_number_is_named() {
        let mut bytes = Header::default().to_bytes();
        bytes[24] = 0;
        assert_eq!(Header::parse(&bytes), Err(0xfb70_9300));
        assert_eq!(wrong_magic(0xfb70_9300), "the magic number is 0xfb709300, not 0xfb709394");
    }
}
