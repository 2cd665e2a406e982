//! What may be an id.

/// Bytes of the longest id.
pub const ID_BYTES_MAX: usize = 128;
/// Bytes of a wrong id that are repeated in an error.
const SHOWN_BYTES: usize = 40;

/// Why something is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// There is nothing.
    #[error("an id is empty: give 1 to {ID_BYTES_MAX} of A-Z a-z 0-9 . _ ~ -")]
    Empty,
    /// It is too long.
    #[error("the id {start}... has {bytes} bytes: the limit is {ID_BYTES_MAX}")]
    Long {
        /// Its first bytes.
        start: String,
        /// How long it is.
        bytes: usize,
    },
    /// It has something in it that is not allowed.
    #[error("the id {start} has characters other than A-Z a-z 0-9 . _ ~ -, or is . or .. alone")]
    Character {
        /// Its first bytes.
        start: String,
    },
}

/// Takes bytes from outside for an id: 1 to 128 of `[A-Za-z0-9._~-]`.
///
/// # Errors
/// If they are none.
pub fn parse_id(bytes: &[u8]) -> Result<&str, IdError> {
    let start = || bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii().to_string();
    match bytes.len() {
        0 => return Err(IdError::Empty),
        1..=ID_BYTES_MAX => {}
        length => return Err(IdError::Long { start: start(), bytes: length }),
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~-".contains(byte);
    match std::str::from_utf8(bytes) {
        // As a part of a path these mean something else, and clients take them away.
        Ok("." | "..") => Err(IdError::Character { start: start() }),
        Ok(text) if bytes.iter().all(allowed) => Ok(text),
        _ => Err(IdError::Character { start: start() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_unreserved_characters() {
        for id in ["1", "alice", "A-b.c_d~e", &"x".repeat(128)] {
            assert_eq!(parse_id(id.as_bytes()), Ok(id));
        }
        for wrong in [".", "..", "a b", "a/b", "a,b", "\u{e4}", "a\0", "%41"] {
            let error = parse_id(wrong.as_bytes()).unwrap_err();
            assert!(matches!(error, IdError::Character { .. }), "{wrong}");
        }
        assert!(parse_id(b"\xff\xfe").is_err());
        assert_eq!(parse_id(b""), Err(IdError::Empty));
    }

    #[test]
    fn an_error_names_the_id_and_the_limit_and_stays_short() {
        let error = parse_id("y".repeat(1000).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("yyy... has 1000 bytes: the limit is 128"), "{error}");
        let error = parse_id("\n".repeat(100).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("\\n\\n") && error.len() < 200, "{error}");
    }
}
