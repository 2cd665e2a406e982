//! A name as it is kept: most are whole numbers, and those are kept as such.

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};

/// A name that is owned; 16 bytes, and a heap block only if it is not a number.
#[derive(Debug)]
pub(super) enum Name {
    Decimal(u64),
    Text(Box<str>),
}

const _: () = assert!(size_of::<Name>() == 16);

/// A name that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRef<'a> {
    /// Stands for its decimal digits, without leading zeros.
    Decimal(u64),
    /// Anything else.
    Text(&'a str),
}

impl Name {
    pub(super) fn as_ref(&self) -> NameRef<'_> {
        match self {
            Self::Decimal(value) => NameRef::Decimal(*value),
            Self::Text(text) => NameRef::Text(text),
        }
    }
}

impl<'a> From<&'a str> for NameRef<'a> {
    fn from(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let canonical = match bytes {
            [] | [b'0', _, ..] => false,
            _ => bytes.iter().all(u8::is_ascii_digit),
        };
        match text.parse() {
            Ok(value) if canonical => Self::Decimal(value),
            _ => Self::Text(text),
        }
    }
}

impl NameRef<'_> {
    pub(super) fn to_name(self) -> Name {
        match self {
            Self::Decimal(value) => Name::Decimal(value),
            Self::Text(text) => Name::Text(text.into()),
        }
    }

    pub(super) fn append_to(self, out: &mut String) {
        // Writing to a string does not fail.
        let _ = write!(out, "{self}");
    }
}

impl fmt::Display for NameRef<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal(value) => value.fmt(out),
            Self::Text(text) => out.write_str(text),
        }
    }
}

impl Hash for NameRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Decimal(value) => state.write_u64(*value),
            Self::Text(text) => text.hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_decimals_are_kept_as_numbers() {
        for text in ["0", "1", "10", "123456", "18446744073709551615"] {
            assert_eq!(NameRef::from(text), NameRef::Decimal(text.parse().unwrap()), "{text}");
        }
        for text in ["", "00", "01", "+1", "-1", "1.0", "a1", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(NameRef::from(text), NameRef::Text(text), "{text}");
        }
    }

    #[test]
    fn a_name_reads_as_it_was_given() {
        for text in ["0", "7", "007", "alice", "18446744073709551615", "18446744073709551616", "~._-"] {
            let name = NameRef::from(text).to_name();
            assert_eq!(name.as_ref().to_string(), text);
            let mut out = String::from("to ");
            name.as_ref().append_to(&mut out);
            assert_eq!(out, format!("to {text}"));
        }
    }
}
