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
    let mut reader = Reader { lua, text, at: 0, depth: 0, decoding, marks };
    let value = reader.next().and_then(|token| reader.value(token)).and_then(|value| match reader.next()? {
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
    depth: u32,
    decoding: &'a Decoding,
    marks: &'a Marks,
}

impl<'a> Reader<'a> {
    fn value(&mut self, token: Token<'a>) -> Result<Item<'a>, Fault> {
        Ok(match token.kind {
            Kind::String(text) => Either::Left(text),
            Kind::Number(number) => Either::Right(number),
            Kind::Boolean(value) => Either::Right(Value::Boolean(value)),
            Kind::Null => Either::Right(Value::NULL),
            Kind::ObjectBegin => {
                self.descend()?;
                let lua = self.lua;
                let object = self.collect(Self::entry, |entries| lua.create_table_from(entries))?;
                Either::Right(Value::Table(object))
            }
            Kind::ArrayBegin => {
                self.descend()?;
                let lua = self.lua;
                let array = self.collect(Self::item, |items| lua.create_sequence_from(items))?;
                if self.decoding.mark_arrays {
                    array.set_metatable(Some(self.marks.array.clone()))?;
                }
                Either::Right(Value::Table(array))
            }
            Kind::ObjectEnd | Kind::ArrayEnd | Kind::Colon | Kind::Comma | Kind::End | Kind::Bad(_) => {
                return Err(token.instead_of("value"));
            }
        })
    }

    fn descend(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > self.decoding.depth_max {
            let (depth, at) = (self.depth, self.at);
            return Err(Fault::Text(format!("Found too many nested data structures ({depth}) at character {at}")));
        }
        Ok(())
    }

    /// Hands what `next` reads, until it answers none, to the engine.
    fn collect<T>(
        &mut self,
        next: fn(&mut Self, bool) -> Result<Option<T>, Fault>,
        fill: impl FnOnce(&mut dyn Iterator<Item = T>) -> mlua::Result<Table>,
    ) -> Result<Table, Fault> {
        let (mut first, mut fault) = (true, None);
        let table = fill(&mut std::iter::from_fn(|| {
            let item = next(self, std::mem::take(&mut first));
            item.unwrap_or_else(|error| {
                fault = Some(error);
                None
            })
        }))?;
        self.depth -= 1;
        fault.map_or(Ok(table), Err)
    }

    fn entry(&mut self, first: bool) -> Result<Option<(Text<'a>, Item<'a>)>, Fault> {
        let mut token = self.next()?;
        if matches!(token.kind, Kind::ObjectEnd) {
            return Ok(None);
        }
        if !first {
            if !matches!(token.kind, Kind::Comma) {
                return Err(token.instead_of("comma or object end"));
            }
            token = self.next()?;
        }
        let Kind::String(key) = token.kind else { return Err(token.instead_of("object key string")) };
        let colon = self.next()?;
        if !matches!(colon.kind, Kind::Colon) {
            return Err(colon.instead_of("colon"));
        }
        let token = self.next()?;
        Ok(Some((key, self.value(token)?)))
    }

    fn item(&mut self, first: bool) -> Result<Option<Item<'a>>, Fault> {
        let mut token = self.next()?;
        if matches!(token.kind, Kind::ArrayEnd) {
            return Ok(None);
        }
        if !first {
            if !matches!(token.kind, Kind::Comma) {
                return Err(token.instead_of("comma or array end"));
            }
            token = self.next()?;
        }
        self.value(token).map(Some)
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
