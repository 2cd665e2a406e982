//! JSON text to Lua values.

use super::scan::{self, Numbers};
use super::{DEPTH_MAX, Marks};
use mlua::{Either, IntoLua, Lua, Table, Value};

/// What to accept beyond the grammar of RFC 8259.
#[derive(Clone, Debug)]
pub(super) struct Decoding {
    pub(super) depth_max: u32,
    pub(super) numbers: Numbers,
    /// Bytes below 0x20 in strings.
    pub(super) control: bool,
    /// Arrays carry the metatable that makes them arrays again.
    pub(super) mark_arrays: bool,
}

impl Decoding {
    pub(super) const STRICT: Self =
        Self { depth_max: DEPTH_MAX, numbers: Numbers::Strict, control: false, mark_arrays: false };
    pub(super) const CJSON: Self = Self { numbers: Numbers::Any, control: true, ..Self::STRICT };
}

/// The value of a text, or what is wrong with it and where.
pub(super) fn read(lua: &Lua, text: &[u8], decoding: &Decoding, marks: &Marks) -> mlua::Result<Result<Value, String>> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Ok(Err("JSON parser does not support UTF-16 or UTF-32".to_owned()));
    }
    let mut reader = Reader { lua, text, at: 0, decoding, marks, frames: Vec::new(), entries: Vec::new() };
    let value = reader.value().and_then(|value| match reader.next()? {
        Token { kind: Kind::End, .. } => Ok(value),
        token => Err(token.instead_of("the end")),
    });
    match value {
        Ok(value) => value.into_lua(lua).map(Ok),
        Err(Fault::Lua(error)) => Err(error),
        Err(Fault::Text(message)) => Ok(Err(message)),
    }
}

enum Fault {
    Text(String),
    Lua(mlua::Error),
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// Strings that are in the text as they are go to the engine without a handle in between.
type Text<'a> = Either<&'a str, Value>;

type Item<'a> = Either<Text<'a>, Value>;

/// An array or object that has begun. There is no recursion: whoever sends the text decides how deep it goes.
struct Frame<'a> {
    is_object: bool,
    /// Where its entries begin.
    start: usize,
    /// The key whose value comes next.
    key: Option<Text<'a>>,
    /// What holds its entries up to the first of those that wait.
    table: Option<Table>,
    /// How many it holds.
    count: usize,
}

/// Entries that wait until their table is complete, which is made in the right size then. Some are handles, of which an
/// engine has eight thousand.
const WAITING_MAX: usize = 256;

/// The same, of an array or object in which another one begins.
const WAITING_OUTSIDE_MAX: usize = 16;

/// The same, of all that have begun; above it none waits where another one begins.
const WAITING_EVERYWHERE_MAX: usize = 1024;

#[derive(Debug)]
enum Kind<'a> {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Text<'a>),
    Number(Value),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// What is wrong.
    Bad(&'static str),
}

#[derive(Debug)]
struct Token<'a> {
    kind: Kind<'a>,
    at: usize,
}

impl Token<'_> {
    fn ends(&self, object: bool) -> bool {
        matches!((&self.kind, object), (Kind::ObjectEnd, true) | (Kind::ArrayEnd, false))
    }

    fn instead_of(&self, expected: &str) -> Fault {
        let found = match self.kind {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::String(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Bad(what) => what,
        };
        Fault::Text(format!("Expected {expected} but found {found} at character {}", self.at + 1))
    }
}

struct Reader<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    decoding: &'a Decoding,
    marks: &'a Marks,
    frames: Vec<Frame<'a>>,
    /// Of all that has begun, one behind the other; items of arrays have no key.
    entries: Vec<(Option<Text<'a>>, Item<'a>)>,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Item<'a>, Fault> {
        let mut token = self.next()?;
        loop {
            let item = match token.kind {
                Kind::String(text) => Either::Left(text),
                Kind::Number(number) => Either::Right(number),
                Kind::Boolean(value) => Either::Right(Value::Boolean(value)),
                Kind::Null => Either::Right(Value::NULL),
                Kind::ObjectBegin | Kind::ArrayBegin => {
                    let is_object = matches!(token.kind, Kind::ObjectBegin);
                    self.begin(is_object)?;
                    token = self.next()?;
                    if !token.ends(is_object) {
                        token = self.entry(token)?;
                        continue;
                    }
                    self.end()?
                }
                Kind::ObjectEnd | Kind::ArrayEnd | Kind::Colon | Kind::Comma | Kind::End | Kind::Bad(_) => {
                    return Err(token.instead_of("value"));
                }
            };
            match self.put(item)? {
                Either::Left(next) => token = next,
                Either::Right(whole) => return Ok(whole),
            }
        }
    }

    fn begin(&mut self, is_object: bool) -> Result<(), Fault> {
        let depth = self.frames.len() + 1;
        if depth > self.decoding.depth_max as usize {
            let at = self.at;
            return Err(Fault::Text(format!("Found too many nested data structures ({depth}) at character {at}")));
        }
        self.flush_above(if self.entries.len() > WAITING_EVERYWHERE_MAX { 0 } else { WAITING_OUTSIDE_MAX })?;
        self.frames.push(Frame { is_object, start: self.entries.len(), key: None, table: None, count: 0 });
        Ok(())
    }

    /// The token that begins the value of an entry that this one begins.
    fn entry(&mut self, token: Token<'a>) -> Result<Token<'a>, Fault> {
        let Some(frame) = self.frames.last_mut().filter(|frame| frame.is_object) else { return Ok(token) };
        let Kind::String(key) = token.kind else { return Err(token.instead_of("object key string")) };
        frame.key = Some(key);
        let colon = self.next()?;
        if matches!(colon.kind, Kind::Colon) { self.next() } else { Err(colon.instead_of("colon")) }
    }

    /// Puts an item where it belongs. Answers with the token that begins the next one, or with what is whole.
    fn put(&mut self, mut item: Item<'a>) -> Result<Either<Token<'a>, Item<'a>>, Fault> {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(Either::Right(item)) };
            let is_object = frame.is_object;
            self.entries.push((frame.key.take(), item));
            self.flush_above(WAITING_MAX)?;
            let token = self.next()?;
            if matches!(token.kind, Kind::Comma) {
                let token = self.next()?;
                return self.entry(token).map(Either::Left);
            }
            if !token.ends(is_object) {
                let expected = if is_object { "comma or object end" } else { "comma or array end" };
                return Err(token.instead_of(expected));
            }
            item = self.end()?;
        }
    }

    /// Moves the waiting entries of the innermost frame into its table, if there are more than `max`.
    fn flush_above(&mut self, max: usize) -> Result<(), Fault> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let waiting = self.entries.len() - frame.start;
        if waiting <= max {
            return Ok(());
        }
        crate::engine::in_time().map_err(Fault::Text)?;
        let entries = self.entries.drain(frame.start..);
        match &frame.table {
            None if frame.is_object => frame.table = Some(self.lua.create_table_from(entries)?),
            None => frame.table = Some(self.lua.create_sequence_from(entries.map(|(_, item)| item))?),
            Some(table) => {
                for (index, (key, item)) in entries.enumerate() {
                    match key {
                        Some(key) => table.raw_set(key, item)?,
                        None => table.raw_set(frame.count + index + 1, item)?,
                    }
                }
            }
        }
        frame.count += waiting;
        Ok(())
    }

    /// The table of the innermost frame, which is complete.
    fn end(&mut self) -> Result<Item<'a>, Fault> {
        self.flush_above(0)?;
        let Some(frame) = self.frames.pop() else { return Ok(Either::Right(Value::NULL)) };
        let table = frame.table.map_or_else(|| self.lua.create_table(), Ok)?;
        if self.decoding.mark_arrays && !frame.is_object {
            table.set_metatable(Some(self.marks.array.clone()))?;
        }
        Ok(Either::Right(Value::Table(table)))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<Token<'a>, Fault> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let at = self.at;
        let Some(byte) = self.peek() else { return Ok(Token { kind: Kind::End, at }) };
        let single = match byte {
            b'{' => Kind::ObjectBegin,
            b'}' => Kind::ObjectEnd,
            b'[' => Kind::ArrayBegin,
            b']' => Kind::ArrayEnd,
            b':' => Kind::Colon,
            b',' => Kind::Comma,
            b'"' => {
                self.at += 1;
                return self.string(at);
            }
            b'-' | b'0'..=b'9' => return Ok(self.number()),
            _ => return Ok(self.word(byte)),
        };
        self.at += 1;
        Ok(Token { kind: single, at })
    }

    fn word(&mut self, byte: u8) -> Token<'a> {
        let at = self.at;
        for (word, kind) in [("true", Kind::Boolean(true)), ("false", Kind::Boolean(false)), ("null", Kind::Null)] {
            if self.text[at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Token { kind, at };
            }
        }
        let may_be_number = matches!(byte, b'+' | b'i' | b'I' | b'n' | b'N') && self.decoding.numbers == Numbers::Any;
        if may_be_number && (byte == b'+' || scan::is_named(&self.text[at..])) {
            return self.number();
        }
        Token { kind: Kind::Bad("invalid token"), at }
    }

    fn number(&mut self) -> Token<'a> {
        let at = self.at;
        let kind = scan::number(&self.text[at..], self.decoding.numbers).map_or(
            Kind::Bad("invalid number"),
            |(number, length)| {
                self.at += length;
                Kind::Number(number)
            },
        );
        Token { kind, at }
    }

    /// A string whose opening quote has been read.
    fn string(&mut self, at: usize) -> Result<Token<'a>, Fault> {
        let start = self.at;
        let end = self.skip_plain();
        let plain = &self.text[start..end];
        if self.peek() == Some(b'"') {
            self.at += 1;
            let text = match std::str::from_utf8(plain) {
                Ok(text) => Either::Left(text),
                Err(_) => Either::Right(Value::String(self.lua.create_string(plain)?)),
            };
            return Ok(Token { kind: Kind::String(text), at });
        }
        let mut whole = plain.to_vec();
        loop {
            let bad = match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    let text = Either::Right(Value::String(self.lua.create_string(whole)?));
                    return Ok(Token { kind: Kind::String(text), at });
                }
                Some(b'\\') => match self.escape(&mut whole) {
                    Ok(()) => {
                        let start = self.at;
                        let end = self.skip_plain();
                        whole.extend_from_slice(&self.text[start..end]);
                        continue;
                    }
                    Err(bad) => bad,
                },
                None | Some(0) => "unexpected end of string",
                Some(_) => "control character in a string",
            };
            return Ok(Token { kind: Kind::Bad(bad), at: self.at });
        }
    }

    /// Goes to the next byte of a string that does not stand for itself, and says where that is.
    fn skip_plain(&mut self) -> usize {
        let control = self.decoding.control;
        let stops = |byte: &u8| match byte {
            b'"' | b'\\' | 0 => true,
            1..0x20 => !control,
            _ => false,
        };
        self.at += self.text[self.at..].iter().position(stops).unwrap_or(self.text.len() - self.at);
        self.at
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        out.push(match self.text.get(self.at + 1) {
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'f') => 0x0c,
            Some(b'r') => b'\r',
            Some(b'u') => {
                let (character, length) = self.unicode().ok_or("invalid unicode escape code")?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                self.at += length;
                return Ok(());
            }
            Some(_) | None => return Err("invalid escape code"),
        });
        self.at += 2;
        Ok(())
    }

    /// The character of `\uXXXX`, or of two of them, and their length.
    fn unicode(&self) -> Option<(char, usize)> {
        let unit = |at: usize| {
            let digits = self.text.get(at..)?.strip_prefix(b"\\u")?.get(..4)?;
            digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
        };
        let first = unit(self.at)?;
        if let Some(character) = char::from_u32(first) {
            return Some((character, 6));
        }
        let second = unit(self.at + 6)?;
        let is_pair = first & 0xfc00 == 0xd800 && second & 0xfc00 == 0xdc00;
        let character = char::from_u32(0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff))?;
        is_pair.then_some((character, 12))
    }
}
