//! Lua values to JSON text.

use super::number::{write_integer, write_number};
use super::{DEPTH_MAX, EMPTY_ARRAY, Marks};
use mlua::{Number, Table, Value};

/// Tables in tables that are walked by `Table::for_each`, the fastest way, which nests a protected call of the engine in
/// each level. Engines allow 200 of those; deeper levels are walked entry by entry.
const WALKED_DEPTH_MAX: u32 = 48;

/// What to do with infinities and NaN, which JSON does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    Refuse,
    /// `Infinity`, `-Infinity`, `NaN`: not JSON, but many read it.
    Name,
    Null,
}

/// When a table with holes is too sparse for an array: if its length is above `safe` and above `ratio` times its items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sparse {
    /// Written as an object then; else an error.
    pub(super) convert: bool,
    /// 0: never too sparse.
    pub(super) ratio: u32,
    pub(super) safe: u32,
}

/// How to write.
#[derive(Clone, Debug)]
pub(super) struct Encoding {
    /// Digits of a number; none: as many as bring it back unchanged.
    pub(super) precision: Option<u32>,
    pub(super) depth_max: u32,
    pub(super) invalid: Invalid,
    pub(super) sparse: Sparse,
    pub(super) empty_as_object: bool,
    pub(super) escape_slash: bool,
    pub(super) escape_delete: bool,
}

impl Encoding {
    pub(super) const FAITHFUL: Self = Self {
        precision: None,
        depth_max: DEPTH_MAX,
        invalid: Invalid::Refuse,
        sparse: Sparse { convert: false, ratio: 2, safe: 10 },
        empty_as_object: true,
        escape_slash: false,
        escape_delete: false,
    };

    pub(super) const CJSON: Self =
        Self { precision: Some(14), escape_slash: true, escape_delete: true, ..Self::FAITHFUL };
}

/// Appends the text of a value to `out`; or what is wrong with the value.
pub(super) fn write(
    value: &Value,
    encoding: &Encoding,
    marks: &Marks,
    out: &mut Vec<u8>,
) -> mlua::Result<Result<(), String>> {
    let mut writer = Writer { encoding, marks, out, depth: 0, refusal: None };
    match writer.value(value) {
        Ok(()) => Ok(Ok(())),
        Err(error) => writer.refusal.map_or(Err(error), |refusal| Ok(Err(refusal))),
    }
}

enum Shape {
    Object,
    /// Without holes.
    List,
    Holed(usize),
}

struct Writer<'a> {
    encoding: &'a Encoding,
    marks: &'a Marks,
    out: &'a mut Vec<u8>,
    depth: u32,
    /// Why it ended early, beside the error that ends the walk.
    refusal: Option<String>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> mlua::Result<()> {
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Integer(number) => write_integer(self.out, *number, self.encoding.precision),
            Value::Number(number) => return self.number(*number),
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Table(table) => return self.table(table),
            Value::LightUserData(at) if at.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::LightUserData(at) if at.0.cast_const().cast() == &raw const EMPTY_ARRAY => {
                self.out.extend_from_slice(b"[]");
            }
            Value::LightUserData(_)
            | Value::Function(_)
            | Value::Thread(_)
            | Value::UserData(_)
            | Value::Error(_)
            | Value::Other(_) => {
                return self.refuse(format!("Cannot serialise {}: type not supported", type_name(value)));
            }
        }
        Ok(())
    }

    fn number(&mut self, number: Number) -> mlua::Result<()> {
        if number.is_finite() {
            write_number(self.out, number, self.encoding.precision);
            return Ok(());
        }
        let text = match self.encoding.invalid {
            Invalid::Refuse => return self.refuse("Cannot serialise number: must not be NaN or Inf".to_owned()),
            Invalid::Null => "null",
            Invalid::Name if number.is_nan() => "NaN",
            Invalid::Name if number > 0.0 => "Infinity",
            Invalid::Name => "-Infinity",
        };
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        let mut rest = text;
        while let Some(at) = rest.iter().position(|&byte| self.is_escaped(byte)) {
            let (plain, after) = rest.split_at(at);
            self.out.extend_from_slice(plain);
            push_escape(self.out, after[0]);
            rest = &after[1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
    }

    fn is_escaped(&self, byte: u8) -> bool {
        match ESCAPED[byte as usize] {
            0 => false,
            b'/' => self.encoding.escape_slash,
            0x7f => self.encoding.escape_delete,
            _ => true,
        }
    }

    fn table(&mut self, table: &Table) -> mlua::Result<()> {
        if self.depth >= self.encoding.depth_max {
            let depth = self.depth + 1;
            return self.refuse(format!("Cannot serialise, excessive nesting ({depth})"));
        }
        self.depth += 1;
        let mark = table.metatable().map_or(0, |mark| mark.to_pointer().addr());
        let empty_as_array = mark == self.marks.empty_array_at || !self.encoding.empty_as_object;
        let length = table.raw_len();
        if mark == self.marks.array_at {
            self.holed(table, length)?;
        } else if length > 0 || !self.object(table, empty_as_array, true)? {
            match self.shape(table)? {
                Shape::List => self.list(table)?,
                Shape::Holed(length) => self.holed(table, length)?,
                Shape::Object => self.object(table, empty_as_array, false).map(drop)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Whether all keys of a table are positive integers, and how far they go.
    fn shape(&mut self, table: &Table) -> mlua::Result<Shape> {
        let (mut items, mut last, mut mixed) = (0, 0.0, false);
        let walked = table.for_each::<Value, bool>(|key, _| match index(&key) {
            Some(key) => {
                items += 1;
                last = f64::max(last, key);
                Ok(())
            }
            None => {
                mixed = true;
                Err(mlua::Error::BindError)
            }
        });
        if mixed {
            return Ok(Shape::Object);
        }
        walked?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, above zero; else too sparse"
        )]
        let last = last as usize;
        let Sparse { convert, ratio, safe } = self.encoding.sparse;
        if last == items {
            return Ok(Shape::List);
        }
        if ratio == 0 || last <= items.saturating_mul(ratio as usize) || last <= safe as usize {
            return Ok(Shape::Holed(last));
        }
        if convert {
            return Ok(Shape::Object);
        }
        self.refuse("Cannot serialise table: excessively sparse array".to_owned())?;
        Ok(Shape::Object)
    }

    fn list(&mut self, table: &Table) -> mlua::Result<()> {
        self.out.push(b'[');
        table.for_each_value::<Value>(|value| {
            self.value(&value)?;
            self.out.push(b',');
            Ok(())
        })?;
        self.close(b']');
        Ok(())
    }

    fn holed(&mut self, table: &Table, length: usize) -> mlua::Result<()> {
        self.out.push(b'[');
        for index in 1..=length {
            self.value(&table.raw_get(index)?)?;
            self.out.push(b',');
        }
        self.close(b']');
        Ok(())
    }

    /// Writes an object. If its first key is a number and `unless_numbered`, writes nothing and answers `false`.
    fn object(&mut self, table: &Table, empty_as_array: bool, unless_numbered: bool) -> mlua::Result<bool> {
        let start = self.out.len();
        let (walks, mut numbered) = (self.depth <= WALKED_DEPTH_MAX, false);
        self.out.push(b'{');
        let mut entry = |key: Value, value: Value| {
            if unless_numbered && self.out.len() == start + 1 && matches!(key, Value::Integer(_) | Value::Number(_)) {
                numbered = true;
                return Err(mlua::Error::BindError);
            }
            self.entry(&key, &value)
        };
        let walked = if walks {
            table.for_each(entry)
        } else {
            table.pairs::<Value, Value>().try_for_each(|pair| pair.and_then(|(key, value)| entry(key, value)))
        };
        if numbered {
            self.out.truncate(start);
            return Ok(false);
        }
        walked?;
        self.close(b'}');
        if self.out.len() == start + 2 && empty_as_array {
            self.out.truncate(start);
            self.out.extend_from_slice(b"[]");
        }
        Ok(true)
    }

    fn entry(&mut self, key: &Value, value: &Value) -> mlua::Result<()> {
        match key {
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Integer(_) | Value::Number(_) => {
                self.out.push(b'"');
                self.value(key)?;
                self.out.push(b'"');
            }
            Value::Nil
            | Value::Boolean(_)
            | Value::LightUserData(_)
            | Value::Table(_)
            | Value::Function(_)
            | Value::Thread(_)
            | Value::UserData(_)
            | Value::Error(_)
            | Value::Other(_) => {
                let name = type_name(key);
                return self.refuse(format!("Cannot serialise {name}: table key must be a number or string"));
            }
        }
        self.out.push(b':');
        self.value(value)?;
        self.out.push(b',');
        Ok(())
    }

    /// Puts a bracket in place of the last comma.
    fn close(&mut self, bracket: u8) {
        match self.out.last_mut() {
            Some(last) if *last == b',' => *last = bracket,
            Some(_) | None => self.out.push(bracket),
        }
    }

    /// Ends the walk.
    fn refuse(&mut self, refusal: String) -> mlua::Result<()> {
        self.refusal = Some(refusal);
        Err(mlua::Error::BindError)
    }
}

/// A key that may be one of an array.
#[allow(clippy::cast_precision_loss, reason = "an array of that length does not fit into memory")]
fn index(key: &Value) -> Option<f64> {
    let index = key.as_integer().map(|key| key as f64).or_else(|| key.as_number())?;
    (index >= 1.0 && index.fract() == 0.0).then_some(index)
}

/// The type as Lua names it.
fn type_name(value: &Value) -> &'static str {
    match value.type_name() {
        "integer" => "number",
        "lightuserdata" | "error" => "userdata",
        "other" => "cdata",
        name => name,
    }
}

/// What follows the backslash, or the byte itself for an escape by number; 0: none.
const ESCAPED: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table[0x7f] = 0x7f;
    table
};

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match ESCAPED[byte as usize] {
        b'u' | 0x7f => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}
