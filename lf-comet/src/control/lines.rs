//! Lines out of a body that comes in pieces.

/// A line that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    /// Its number, from 1.
    pub(super) number: u64,
}

/// Collects pieces until a line is whole.
#[derive(Debug)]
pub(super) struct Lines {
    rest: Vec<u8>,
    bytes_max: usize,
    /// Lines so far.
    pub(super) number: u64,
}

impl Lines {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { rest: Vec::new(), bytes_max, number: 0 }
    }

    /// Calls `each` for every line that is whole now, without its ending; `last` ends the last line too. Empty lines are
    /// counted and skipped. Stops at the first error.
    pub(super) fn feed<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        last: bool,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            self.number += 1;
            if self.rest.is_empty() {
                self.check(at)?;
                Self::give(self.number, &bytes[..at], &mut each)?;
            } else {
                self.check(self.rest.len() + at)?;
                self.rest.extend_from_slice(&bytes[..at]);
                let line = std::mem::take(&mut self.rest);
                Self::give(self.number, &line, &mut each)?;
            }
            bytes = &bytes[at + 1..];
        }
        self.number += 1;
        self.check(self.rest.len() + bytes.len())?;
        self.rest.extend_from_slice(bytes);
        if last {
            let line = std::mem::take(&mut self.rest);
            return Self::give(self.number, &line, &mut each);
        }
        self.number -= 1;
        Ok(())
    }

    fn check(&self, len: usize) -> Result<(), TooLong> {
        if len > self.bytes_max { Err(TooLong { number: self.number }) } else { Ok(()) }
    }

    fn give<E>(number: u64, line: &[u8], each: &mut impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let line = line.trim_ascii();
        if line.is_empty() { Ok(()) } else { each(number, line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Result<Vec<(u64, String)>, TooLong> {
        let mut lines = Lines::new(10);
        let mut found = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            lines.feed(piece, index + 1 == pieces.len(), |number, line| {
                found.push((number, String::from_utf8_lossy(line).into_owned()));
                Ok::<_, TooLong>(())
            })?;
        }
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_however_the_body_is_cut() {
        let body = b"one\r\n\ntwo\nthree";
        let expected = vec![(1, "one".into()), (3, "two".into()), (4, "three".into())];
        for cut in 0..=body.len() {
            assert_eq!(lines(&[&body[..cut], &body[cut..]]), Ok(expected.clone()), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(lines(&bytes), Ok(expected));
    }

    #[test]
    fn a_line_over_the_limit_is_named() {
        assert_eq!(lines(&[b"a\n0123456789\nb"]).unwrap().len(), 3);
        assert_eq!(lines(&[b"a\n01234567890\nb"]), Err(TooLong { number: 2 }));
        assert_eq!(lines(&[b"a\n012345", b"67890", b"\n"]), Err(TooLong { number: 2 }));
    }
}
