//! Numbers in JSON text, and in what passes for it.

use mlua::{Integer, Value};

/// Which numbers to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Those of JSON.
    Strict,
    /// Also `1.` and `-.5`.
    Loose,
    /// Also hexadecimal ones, leading zeros, a plus sign, infinities and NaN.
    Any,
}

/// The number at the beginning of a text and its length; none if there is none, or one that is not accepted.
pub(super) fn number(text: &[u8], numbers: Numbers) -> Option<(Value, usize)> {
    let (sign, rest) = match text.first()? {
        b'-' => (1, &text[1..]),
        b'+' if numbers == Numbers::Any => (1, &text[1..]),
        _ => (0, text),
    };
    let negative = text[0] == b'-';
    if numbers == Numbers::Any {
        let special = hexadecimal(rest).or_else(|| named(rest));
        if let Some((number, length)) = special {
            return Some((Value::Number(if negative { -number } else { number }), sign + length));
        }
    } else if rest.first() == Some(&b'0') && rest.get(1).is_some_and(|&byte| byte.is_ascii_digit() || byte | 32 == b'x')
    {
        return None;
    }
    let (length, whole) = decimal(rest, numbers == Numbers::Strict)?;
    let text = std::str::from_utf8(&text[..sign + length]).ok()?;
    let is_integer = whole && !(negative && rest[0] == b'0');
    if let Some(integer) = is_integer.then(|| text.parse::<Integer>().ok()).flatten() {
        return Some((Value::Integer(integer), sign + length));
    }
    Some((Value::Number(text.parse().ok()?), sign + length))
}

/// Whether a text begins with the name of an infinity or of NaN.
pub(super) fn is_named(text: &[u8]) -> bool {
    named(text).is_some()
}

fn named(text: &[u8]) -> Option<(f64, usize)> {
    let names: [(&[u8], f64); 3] = [(b"infinity", f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)];
    let is_at_front = |name: &[u8]| text.get(..name.len()).is_some_and(|front| front.eq_ignore_ascii_case(name));
    names.into_iter().find(|(name, _)| is_at_front(name)).map(|(name, number)| (number, name.len()))
}

/// Length of the digits at the beginning, with fraction and exponent, and whether it has neither.
fn decimal(text: &[u8], strict: bool) -> Option<(usize, bool)> {
    let digits =
        |from: usize| text.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
    let before = digits(0);
    let (mut length, mut whole) = (before, true);
    let mut after = 0;
    if text.get(length) == Some(&b'.') {
        after = digits(length + 1);
        if strict && after == 0 {
            return None;
        }
        if before + after > 0 {
            length += 1 + after;
            whole = false;
        }
    }
    if before + after == 0 || strict && before == 0 {
        return None;
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
            whole = false;
        } else if strict {
            return None;
        }
    }
    Some((length, whole))
}

/// A hexadecimal number as C writes it: `0x1f`, `0x1.8p-3`.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let rest = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X"))?;
    let digit = |at: usize| rest.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let (mut at, mut number, mut scale, mut digits) = (0, 0.0, 0, 0);
    while let Some(value) = digit(at) {
        number = f64::mul_add(number, 16.0, f64::from(value));
        (at, digits) = (at + 1, digits + 1);
    }
    if rest.get(at) == Some(&b'.') && (digits > 0 || digit(at + 1).is_some()) {
        at += 1;
        while let Some(value) = digit(at) {
            number = f64::mul_add(number, 16.0, f64::from(value));
            (at, digits, scale) = (at + 1, digits + 1, scale - 4);
        }
    }
    if digits == 0 {
        // The number is the zero before the `x`.
        return Some((0.0, 1));
    }
    if matches!(rest.get(at), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(rest.get(at + 1), Some(b'+' | b'-')));
        let start = at + 1 + sign;
        let length = rest.get(start..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length > 0 {
            let exponent = std::str::from_utf8(&rest[at + 1..start + length]).ok()?.trim_start_matches('+');
            scale += exponent.parse::<i32>().unwrap_or(if rest[at + 1] == b'-' { -9999 } else { 9999 });
            at = start + length;
        }
    }
    Some((number * f64::powi(2.0, scale), at + 2))
}
