//! Matching at one place of a subject, with a budget.
//!
//! It follows the manual of the engine, and the engine where the manual is silent: what is malformed is an error only
//! once a match gets there.

use super::budget::{Budget, Stop};
use super::class::{is_in_class, is_in_set};

/// Captures of a pattern, as in the engines.
pub(super) const CAPTURES_MAX: usize = 32;

/// Places that a match may return to at once, as in the engines; with it the recursion here is bounded.
const DEPTH_MAX: u32 = 200;

/// What the two engines say differently.
pub(super) const IS_LUA54: bool = cfg!(feature = "lua54");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Open,
    Position,
    Length(usize),
}

#[derive(Clone, Copy, Debug)]
struct Capture {
    start: usize,
    extent: Extent,
}

/// What a capture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Captured<'a> {
    Text(&'a [u8]),
    Position(usize),
}

/// A pattern on its way through a subject.
pub(super) struct Matcher<'a, 'b> {
    subject: &'a [u8],
    pattern: &'a [u8],
    captures: [Capture; CAPTURES_MAX],
    level: usize,
    depth: u32,
    budget: Budget<'b>,
}

type Matched = Result<Option<usize>, Stop>;

fn malformed<T>(message: &str) -> Result<T, Stop> {
    Err(Stop::Error(message.to_owned()))
}

impl<'a, 'b> Matcher<'a, 'b> {
    pub(super) fn new(subject: &'a [u8], pattern: &'a [u8], budget: Budget<'b>) -> Self {
        // One engine takes the pattern as a C string.
        let end = if IS_LUA54 { None } else { memchr::memchr(0, pattern) };
        let pattern = &pattern[..end.unwrap_or(pattern.len())];
        let capture = Capture { start: 0, extent: Extent::Open };
        Self { subject, pattern, captures: [capture; CAPTURES_MAX], level: 0, depth: 0, budget }
    }

    pub(super) fn budget(&mut self) -> &mut Budget<'b> {
        &mut self.budget
    }

    /// The end of a match that begins at `at`, by the pattern from `from`.
    pub(super) fn match_at(&mut self, at: usize, from: usize) -> Matched {
        (self.level, self.depth) = (0, 0);
        self.run(at, from)
    }

    /// Captures of the last match, or all of it if there are none and it is wanted then.
    pub(super) fn captured(&self, whole: Option<(usize, usize)>) -> Result<Vec<Captured<'a>>, Stop> {
        let count = if self.level == 0 && whole.is_some() { 1 } else { self.level };
        (0..count).map(|index| self.capture(index, whole.unwrap_or_default())).collect()
    }

    /// One capture of the last match.
    pub(super) fn capture(&self, index: usize, (start, end): (usize, usize)) -> Result<Captured<'a>, Stop> {
        if index >= self.level {
            return if index == 0 { Ok(Captured::Text(&self.subject[start..end])) } else { bad_index(index) };
        }
        let capture = self.captures[index];
        match capture.extent {
            Extent::Open => malformed("unfinished capture"),
            Extent::Position => Ok(Captured::Position(capture.start + 1)),
            Extent::Length(length) => Ok(Captured::Text(&self.subject[capture.start..capture.start + length])),
        }
    }

    /// A byte of the pattern, 0 behind its end.
    fn pattern_byte(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn subject_byte(&self, at: usize) -> u8 {
        self.subject.get(at).copied().unwrap_or(0)
    }

    fn run(&mut self, at: usize, from: usize) -> Matched {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return malformed("pattern too complex");
        }
        let matched = self.steps(at, from)?;
        self.depth -= 1;
        Ok(matched)
    }

    fn steps(&mut self, mut at: usize, mut from: usize) -> Matched {
        loop {
            self.budget.spend(1)?;
            let Some(&byte) = self.pattern.get(from) else { return Ok(Some(at)) };
            match (byte, self.pattern_byte(from + 1)) {
                (b'(', b')') => return self.open(at, from + 2, Extent::Position),
                (b'(', _) => return self.open(at, from + 1, Extent::Open),
                (b')', _) => return self.close(at, from + 1),
                (b'$', _) if from + 1 == self.pattern.len() => return Ok((at == self.subject.len()).then_some(at)),
                (b'%', b'b') => match self.balanced(at, from + 2)? {
                    Some(end) => (at, from) = (end, from + 4),
                    None => return Ok(None),
                },
                (b'%', b'f') => match self.frontier(at, from + 2)? {
                    Some(next) => from = next,
                    None => return Ok(None),
                },
                (b'%', digit @ b'0'..=b'9') => match self.again(at, digit)? {
                    Some(end) => (at, from) = (end, from + 2),
                    None => return Ok(None),
                },
                _ => match self.item(at, from)? {
                    Next::Go(next_at, next_from) => (at, from) = (next_at, next_from),
                    Next::Done(matched) => return Ok(matched),
                },
            }
        }
    }

    /// A single class with what is behind it.
    fn item(&mut self, at: usize, from: usize) -> Result<Next, Stop> {
        let end = self.class_end(from)?;
        let fits = self.fits(at, from, end)?;
        Ok(match self.pattern_byte(end) {
            b'?' => match if fits { self.run(at + 1, end + 1)? } else { None } {
                Some(matched) => Next::Done(Some(matched)),
                None => Next::Go(at, end + 1),
            },
            b'*' | b'-' if !fits && IS_LUA54 => Next::Go(at, end + 1),
            b'+' if !fits => Next::Done(None),
            b'+' => Next::Done(self.most(at + 1, from, end)?),
            b'*' => Next::Done(self.most(at, from, end)?),
            b'-' => Next::Done(self.least(at, from, end)?),
            _ if fits => Next::Go(at + 1, end),
            _ => Next::Done(None),
        })
    }

    /// As many as fit, then fewer.
    fn most(&mut self, at: usize, from: usize, end: usize) -> Matched {
        let mut last = at;
        while self.fits(last, from, end)? {
            last += 1;
        }
        for at in (at..=last).rev() {
            let matched = self.run(at, end + 1)?;
            if matched.is_some() {
                return Ok(matched);
            }
        }
        Ok(None)
    }

    /// As few as possible, then more.
    fn least(&mut self, mut at: usize, from: usize, end: usize) -> Matched {
        loop {
            let matched = self.run(at, end + 1)?;
            if matched.is_some() {
                return Ok(matched);
            }
            if !self.fits(at, from, end)? {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open(&mut self, at: usize, from: usize, extent: Extent) -> Matched {
        if self.level >= CAPTURES_MAX {
            return malformed("too many captures");
        }
        self.captures[self.level] = Capture { start: at, extent };
        self.level += 1;
        let matched = self.run(at, from)?;
        if matched.is_none() {
            self.level -= 1;
        }
        Ok(matched)
    }

    fn close(&mut self, at: usize, from: usize) -> Matched {
        let open = self.captures[..self.level].iter().rposition(|capture| capture.extent == Extent::Open);
        let Some(index) = open else { return malformed("invalid pattern capture") };
        self.captures[index].extent = Extent::Length(at - self.captures[index].start);
        let matched = self.run(at, from)?;
        if matched.is_none() {
            self.captures[index].extent = Extent::Open;
        }
        Ok(matched)
    }

    /// `%bxy`.
    fn balanced(&mut self, at: usize, from: usize) -> Matched {
        if from + 1 >= self.pattern.len() {
            return malformed(if IS_LUA54 {
                "malformed pattern (missing arguments to '%b')"
            } else {
                "unbalanced pattern"
            });
        }
        let (open, close) = (self.pattern[from], self.pattern[from + 1]);
        // Behind the end of the subject there is a zero, which the engines compare too.
        if self.subject_byte(at) != open {
            return Ok(None);
        }
        let mut inside = 1;
        for end in at + 1..self.subject.len() {
            self.budget.spend(1)?;
            let byte = self.subject[end];
            if byte == close {
                inside -= 1;
                if inside == 0 {
                    return Ok(Some(end + 1));
                }
            } else if byte == open {
                inside += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`: where the pattern goes on, if there is a frontier.
    fn frontier(&mut self, at: usize, from: usize) -> Matched {
        if self.pattern_byte(from) != b'[' {
            return malformed("missing '[' after '%f' in pattern");
        }
        let end = self.class_end(from)?;
        let before = if at == 0 { 0 } else { self.subject[at - 1] };
        self.budget.spend(end - from)?;
        let set = &self.pattern[from..end];
        Ok((!is_in_set(before, set) && is_in_set(self.subject_byte(at), set)).then_some(end))
    }

    /// `%1`: what a capture holds, once more.
    fn again(&mut self, at: usize, digit: u8) -> Matched {
        let index = usize::from(digit).wrapping_sub(usize::from(b'1'));
        let extent = self.captures[..self.level].get(index).map_or(Extent::Open, |capture| capture.extent);
        match extent {
            Extent::Open => bad_index(index),
            // A length that no subject has.
            Extent::Position => Ok(None),
            Extent::Length(length) => {
                self.budget.spend(length / 16)?;
                let start = self.captures[index].start;
                let again = self.subject[at..].starts_with(&self.subject[start..start + length]);
                Ok(again.then_some(at + length))
            }
        }
    }

    /// Where the single class ends that begins at `from`.
    fn class_end(&mut self, from: usize) -> Result<usize, Stop> {
        match self.pattern[from] {
            b'%' if from + 1 >= self.pattern.len() => malformed("malformed pattern (ends with '%')"),
            b'%' => Ok(from + 2),
            b'[' => {
                let mut end = from + 1;
                if self.pattern_byte(end) == b'^' {
                    end += 1;
                }
                // A bracket in front belongs to the set.
                loop {
                    if end >= self.pattern.len() {
                        return malformed("malformed pattern (missing ']')");
                    }
                    let escapes = self.pattern[end] == b'%' && end + 1 < self.pattern.len();
                    end += 1 + usize::from(escapes);
                    if self.pattern_byte(end) == b']' {
                        self.budget.spend(end - from)?;
                        return Ok(end + 1);
                    }
                }
            }
            _ => Ok(from + 1),
        }
    }

    fn fits(&mut self, at: usize, from: usize, end: usize) -> Result<bool, Stop> {
        let Some(&byte) = self.subject.get(at) else { return Ok(false) };
        self.budget.spend(end - from)?;
        Ok(match self.pattern[from] {
            b'.' => true,
            b'%' => is_in_class(byte, self.pattern_byte(from + 1)),
            b'[' => is_in_set(byte, &self.pattern[from..end]),
            literal => literal == byte,
        })
    }
}

enum Next {
    Go(usize, usize),
    Done(Option<usize>),
}

fn bad_index<T>(index: usize) -> Result<T, Stop> {
    if IS_LUA54 {
        return Err(Stop::Error(format!("invalid capture index %{}", index.wrapping_add(1))));
    }
    malformed("invalid capture index")
}
