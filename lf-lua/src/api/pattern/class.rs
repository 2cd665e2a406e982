//! Character classes, in the "C" locale.

/// Whether a byte is in the class of a letter after `%`; any other byte stands for itself.
pub(super) fn is_in_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        // With the vertical tab, which Rust leaves out.
        b's' => matches!(byte, b' ' | 0x09..=0x0d),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return byte == class,
    };
    is_in == class.is_ascii_lowercase()
}

/// Whether a byte is in a set, given with its brackets.
pub(super) fn is_in_set(byte: u8, set: &[u8]) -> bool {
    let inner = &set[1..set.len() - 1];
    let (inner, wanted) = inner.strip_prefix(b"^").map_or((inner, true), |inner| (inner, false));
    let mut rest = inner;
    while let [first, after @ ..] = rest {
        let (found, next) = match (first, after) {
            // At the end of a malformed set the bracket is what is escaped.
            (b'%', []) => (byte == b']', after),
            (b'%', [class, after @ ..]) => (is_in_class(byte, *class), after),
            (low, [b'-', high, after @ ..]) => ((*low..=*high).contains(&byte), after),
            (literal, after) => (*literal == byte, after),
        };
        if found {
            return wanted;
        }
        rest = next;
    }
    !wanted
}
