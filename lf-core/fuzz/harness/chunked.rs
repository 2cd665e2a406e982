//! Another reading of chunked bodies (RFC 9112, section 7.1): all at once, without limits, and in no hurry.

/// Digits of a size, and trailer fields, that the codec takes whatever its limits say.
const SIZE_DIGITS_MAX: usize = 16;
const TRAILER_FIELDS_MAX: usize = 64;

/// What is to be known of a body that begins a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It takes that many bytes.
    Whole(usize),
    /// More must come.
    Cut,
    /// It breaks a rule.
    Broken,
}

pub(crate) fn read(wire: &[u8]) -> Reading {
    let mut body = Vec::new();
    let end = chunks(wire, &mut body).unwrap_or_else(|end| end);
    Reading { body, end }
}

fn chunks(wire: &[u8], body: &mut Vec<u8>) -> Result<End, End> {
    let mut rest = wire;
    loop {
        let size = size(line(&mut rest)?).ok_or(End::Broken)?;
        if size == 0 {
            trailer(&mut rest)?;
            return Ok(End::Whole(wire.len() - rest.len()));
        }
        let there = usize::try_from(size).map_or(rest.len(), |size| size.min(rest.len()));
        body.extend_from_slice(&rest[..there]);
        rest = &rest[there..];
        rest = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Err(End::Cut),
            _ => return Err(End::Broken),
        };
    }
}

/// The next line, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], End> {
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(End::Cut)?;
    let line = rest[..end].strip_suffix(b"\r").ok_or(End::Broken)?;
    *rest = &rest[end + 1..];
    Ok(line)
}

fn size(line: &[u8]) -> Option<u64> {
    let text: String = line.iter().map(|byte| char::from(*byte)).collect();
    let (digits, extension) = text.split_at(text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len()));
    let blank = extension.trim_start_matches([' ', '\t']);
    let follows = extension.is_empty() || blank.starts_with(';');
    (follows && digits.len() <= SIZE_DIGITS_MAX && is_printable(line)).then_some(())?;
    u64::from_str_radix(digits, 16).ok()
}

fn trailer(rest: &mut &[u8]) -> Result<(), End> {
    let mut fields = 0;
    let mut all_are_fields = true;
    loop {
        match line(rest)? {
            [] => break,
            field => all_are_fields &= is_field(field),
        }
        fields += 1;
    }
    if all_are_fields && fields <= TRAILER_FIELDS_MAX { Ok(()) } else { Err(End::Broken) }
}

fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = std::str::from_utf8(&line[..colon]);
    name.is_ok_and(super::request::is_token) && is_printable(&line[colon + 1..])
}

fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}
