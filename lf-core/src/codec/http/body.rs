//! Bodies: pieces as they come, without their framing.

use super::exchange::{Exchange, Part};
use super::head::section_end;
use super::{Incoming, Limits, refused};
use crate::codec::{Decoded, FrameError};

/// Digits of a chunk's size at most.
const SIZE_DIGITS_MAX: usize = 16;
/// Trailer fields at most, whatever the limit says.
const TRAILER_FIELDS_MAX: usize = 64;

type Found<'a> = Decoded<Incoming<'a>>;

const fn body(bytes: &[u8], last: bool, consumed: usize) -> Found<'_> {
    Decoded::Frame { frame: Incoming::Body { bytes, last }, consumed }
}

/// Takes what is there of the `left` bytes, from `at` on.
fn take<'a>(exchange: &mut Exchange, input: &'a [u8], at: usize) -> &'a [u8] {
    let there = &input[at..];
    exchange.waits = false;
    let left = &mut exchange.body().left;
    let bytes = usize::try_from(*left).map_or(there, |left| &there[..left.min(there.len())]);
    *left -= bytes.len() as u64;
    bytes
}

/// A piece of a body whose length was declared.
pub(super) fn piece<'a>(exchange: &mut Exchange, input: &'a [u8]) -> Found<'a> {
    let bytes = take(exchange, input, 0);
    let last = exchange.body().left == 0;
    if last {
        exchange.end_body();
    }
    body(bytes, last, bytes.len())
}

/// A piece of a chunk; it begins at `at`.
pub(super) fn chunk_data<'a>(exchange: &mut Exchange, input: &'a [u8], at: usize) -> Found<'a> {
    let bytes = take(exchange, input, at);
    let end = at + bytes.len();
    let whole = exchange.body().left == 0;
    exchange.part = if whole { Part::ChunkEnd } else { Part::ChunkData };
    // Between two chunks nothing should be left over: it would look like one that has begun.
    if whole && input[end..].starts_with(b"\r\n") {
        exchange.part = Part::ChunkLine;
        return body(bytes, false, end + 2);
    }
    body(bytes, false, end)
}

/// The line ending behind a chunk.
pub(super) fn chunk_end<'a>(exchange: &mut Exchange, input: &[u8]) -> Result<Found<'a>, FrameError> {
    match input {
        [b'\r'] => Ok(Decoded::Partial { examined: 1, needed: 2 }),
        [b'\r', b'\n', ..] => {
            exchange.part = Part::ChunkLine;
            Ok(body(&[], false, 2))
        }
        _ => Err(refused(400, "a chunk does not end where its size says")),
    }
}

/// The line before a chunk and the first piece of the chunk, or the end of the body. Until there is one of these, nothing is
/// consumed.
pub(super) fn chunk<'a>(
    limits: &Limits,
    exchange: &mut Exchange,
    input: &'a [u8],
    examined: usize,
) -> Result<Found<'a>, FrameError> {
    exchange.waits = false;
    let partial = Decoded::Partial { examined: input.len(), needed: input.len() + 1 };
    let line_bytes_max = limits.chunk_line_bytes.saturating_add(2);
    let window = &input[..input.len().min(line_bytes_max)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() < line_bytes_max {
            Ok(partial)
        } else {
            Err(refused(400, "the size line of a chunk is too long"))
        };
    };
    let line =
        window[..end].strip_suffix(b"\r").ok_or(refused(400, "the size line of a chunk ends in LF without CR"))?;
    let (bytes, extension) = size(line)?;
    let extension_bytes = exchange.body().extension_bytes + extension.len();
    if extension_bytes > limits.extension_bytes {
        return Err(refused(400, "too many chunk extensions"));
    }
    let data_at = end + 1;
    if bytes == 0 {
        let Some(end) = trailers(limits, input, data_at, examined)? else { return Ok(partial) };
        exchange.end_body();
        return Ok(body(&[], true, end));
    }
    if bytes > limits.body_bytes.saturating_sub(exchange.body().announced) {
        return Err(refused(413, "the body is too large"));
    }
    if data_at == input.len() {
        return Ok(partial);
    }
    let body = exchange.body();
    body.announced += bytes;
    body.extension_bytes = extension_bytes;
    body.left = bytes;
    Ok(chunk_data(exchange, input, data_at))
}

/// The size and the extensions in the line before a chunk.
fn size(line: &[u8]) -> Result<(u64, &[u8]), FrameError> {
    const MALFORMED: FrameError = refused(400, "malformed size of a chunk");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > SIZE_DIGITS_MAX {
        return Err(MALFORMED);
    }
    let (size, extension) = line.split_at(digits);
    let printable = extension.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if !printable || !(extension.is_empty() || extension.trim_ascii_start().starts_with(b";")) {
        return Err(MALFORMED);
    }
    let value =
        size.iter().fold(0, |value, digit| value << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or(0)));
    Ok((value, extension))
}

/// Where the fields behind the last chunk end, which begin at `at`, right behind a line. They are checked and dropped.
fn trailers(limits: &Limits, input: &[u8], at: usize, examined: usize) -> Result<Option<usize>, FrameError> {
    let before = at - 1;
    // The empty line that ends them does not count.
    let bytes_max = limits.trailer_bytes.saturating_add(2);
    let window = &input[before..input.len().min(at.saturating_add(bytes_max))];
    let Some(end) = section_end(window, examined.clamp(at, before + window.len()) - before)? else {
        return if window.len() <= bytes_max { Ok(None) } else { Err(refused(431, "the trailer is too long")) };
    };
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    let fields = &mut fields[..limits.trailer_fields.min(TRAILER_FIELDS_MAX)];
    match httparse::parse_headers(&window[1..end], fields) {
        Ok(httparse::Status::Complete((bytes, _))) if bytes == end - 1 => Ok(Some(before + end)),
        Err(httparse::Error::TooManyHeaders) => Err(refused(431, "too many trailer fields")),
        Ok(_) | Err(_) => Err(refused(400, "malformed trailer")),
    }
}
