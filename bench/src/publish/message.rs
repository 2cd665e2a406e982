//! What is published: the run, an id, its sequence number, the time of sending, padding, and a checksum over
//! all of that.
//!
//! Hexadecimal text, so that every transport carries it as it is.

use anyhow::{Result, bail};

const RUN_DIGITS: usize = 8;
const ID_DIGITS: usize = 8;
const SEQUENCE_DIGITS: usize = 8;
const TIME_DIGITS: usize = 16;
const CHECK_DIGITS: usize = 8;
const ID_AT: usize = RUN_DIGITS + 1;
const SEQUENCE_AT: usize = ID_AT + ID_DIGITS + 1;
const TIME_AT: usize = SEQUENCE_AT + SEQUENCE_DIGITS + 1;
const PADDING_AT: usize = TIME_AT + TIME_DIGITS + 1;
/// A message without padding.
pub(crate) const SIZE_MIN: usize = PADDING_AT + CHECK_DIGITS;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const PATTERN: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-";

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells the messages of this run from what a server has kept of an earlier one.
    pub(crate) run: u32,
    pub(crate) id: u32,
    /// Counts the messages of this id from 0.
    pub(crate) sequence: u32,
    /// When it was sent, or was meant to be; nanoseconds of the run.
    pub(crate) time_ns: u64,
}

/// Writes messages of one size into one buffer.
#[derive(Clone, Debug)]
pub(crate) struct Press {
    message: Vec<u8>,
}

impl Press {
    /// # Errors
    /// If `size` has no room for the stamp.
    pub(crate) fn new(size: usize) -> Result<Self> {
        if size < SIZE_MIN {
            bail!(
                "--size {size}: run, id, sequence, time and checksum take {SIZE_MIN} bytes; give --size {SIZE_MIN} or more"
            );
        }
        let mut message: Vec<u8> = (0..size).map(|index| PATTERN[index % PATTERN.len()]).collect();
        for end in [ID_AT, SEQUENCE_AT, TIME_AT, PADDING_AT] {
            message[end - 1] = b'-';
        }
        Ok(Press { message })
    }

    /// The message. The buffer is reused by the next call.
    pub(crate) fn print(&mut self, stamp: Stamp) -> &[u8] {
        let check_at = self.message.len() - CHECK_DIGITS;
        let (text, check) = self.message.split_at_mut(check_at);
        write_hex(u64::from(stamp.run), &mut text[..RUN_DIGITS]);
        write_hex(u64::from(stamp.id), &mut text[ID_AT..][..ID_DIGITS]);
        write_hex(u64::from(stamp.sequence), &mut text[SEQUENCE_AT..][..SEQUENCE_DIGITS]);
        write_hex(stamp.time_ns, &mut text[TIME_AT..][..TIME_DIGITS]);
        write_hex(u64::from(checksum(text)), check);
        &self.message
    }
}

/// What a message says, if not a bit of it has changed.
pub(crate) fn read(message: &[u8]) -> Option<Stamp> {
    if message.len() < SIZE_MIN {
        return None;
    }
    let (text, check) = message.split_at(message.len() - CHECK_DIGITS);
    if read_hex(check)? != u64::from(checksum(text)) {
        return None;
    }
    Some(Stamp {
        run: u32::try_from(read_hex(&text[..RUN_DIGITS])?).ok()?,
        id: u32::try_from(read_hex(&text[ID_AT..][..ID_DIGITS])?).ok()?,
        sequence: u32::try_from(read_hex(&text[SEQUENCE_AT..][..SEQUENCE_DIGITS])?).ok()?,
        time_ns: read_hex(&text[TIME_AT..][..TIME_DIGITS])?,
    })
}

fn write_hex(mut number: u64, field: &mut [u8]) {
    for digit in field.iter_mut().rev() {
        *digit = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

fn read_hex(field: &[u8]) -> Option<u64> {
    field.iter().try_fold(0, |number: u64, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// Eight bytes a step: it is computed once per delivery, beside syscalls of microseconds.
fn checksum(bytes: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let mut words = bytes.chunks_exact(8);
    let mut sum = mix(0, bytes.len() as u64);
    for word in &mut words {
        sum = mix(sum, u64::from_le_bytes(word.try_into().unwrap_or_default()));
    }
    for byte in words.remainder() {
        sum = mix(sum, u64::from(*byte));
    }
    u32::try_from(sum >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 0xf00d, id: 7, sequence: 0xabc, time_ns: 123_456_789_012 };

    #[test]
    fn what_is_printed_is_read_at_any_size() {
        for size in SIZE_MIN..SIZE_MIN + 20 {
            let mut press = Press::new(size).unwrap();
            press.print(Stamp { run: u32::MAX, id: u32::MAX, sequence: u32::MAX, time_ns: u64::MAX });
            let message = press.print(STAMP).to_vec();
            assert_eq!((message.len(), read(&message)), (size, Some(STAMP)));
        }
    }

    #[test]
    fn one_changed_bit_anywhere_is_seen() {
        let message = Press::new(100).unwrap().print(STAMP).to_vec();
        for at in 0..message.len() {
            for bit in 0..8 {
                let mut changed = message.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(read(&changed), None, "byte {at}, bit {bit}");
            }
        }
        for end in 0..message.len() {
            assert_eq!(read(&message[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn every_byte_is_safe_in_json_and_in_a_line() {
        let message = Press::new(300).unwrap().print(STAMP).to_vec();
        assert!(message.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\'));
    }

    #[test]
    fn too_small_a_size_names_the_limit() {
        let error = Press::new(10).unwrap_err().to_string();
        assert!(error.contains("--size 10") && error.contains("52"), "{error}");
    }
}
