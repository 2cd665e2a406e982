//! What may stand in `Host` (RFC 3986, section 3.2, without the user that RFC 9110 forbids).

/// Whether `value` is a host, perhaps with a port. It may be empty (RFC 9110, section 7.2).
pub(crate) fn is_valid(value: &[u8]) -> bool {
    let (host_is_valid, rest) = if let Some(literal) = value.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
        (end > 0 && literal[..end].iter().all(|byte| is_plain(*byte) || *byte == b':'), &literal[end + 1..])
    } else {
        let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
        (is_name(&value[..end]), &value[end..])
    };
    host_is_valid
        && match rest {
            [] => true,
            [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

fn is_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if is_plain(*byte) => rest,
            _ => return false,
        };
    }
}

/// Unreserved characters and the delimiters that may stand in a name.
static IS_PLAIN: [bool; 256] = {
    let mut is_plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let this = byte as u8;
        is_plain[byte] = matches!(this, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        byte += 1;
    }
    is_plain
};

fn is_plain(byte: u8) -> bool {
    IS_PLAIN[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        for host in
            ["", "a", "example.com", "example.com:80", "127.0.0.1:9876", "[::1]", "[::1]:8080", "a:", "x_y", "%41"]
        {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a/b", "a@b", "u:p@b", "a:b", "a:123456", "[::1", "::1", "[]", "[::1]x", "a,b c", "a?b", "a#b",
            "%4", "%zz", "a\\b", "[a]b]", "\u{e9}", "a:80:80", "a\"", "<a>",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
    }
}
