//! How records look on disk.
//!
//! Numbers are in LEB128, as many bytes as they need. A record ends in a CRC-32 of its place and its bytes, so that one that
//! went bad between the store's own check and its reading, or that a fault has put elsewhere, is not taken for data.
//!
//! | record | bytes |
//! |---|---|
//! | `Meta` | format, edges, first of the log, whether the store was closed |
//! | `Names` n | for each of the numbers from 1024 n: 0 (no name), or 1 and the name's value, or 1 + its length and its bytes |
//! | `Sources` n | how many edges; for each of the numbers from 256 n up to the last one with edges: how many, the first source, and the distance to the next for the others |
//! | `Log` n | edges after it; changes, each a tag and what it needs |

use super::block::{BLOCK_ROWS, Block, end};
use super::store::{Key, Kind};
use crate::names::{ID_BYTES_MAX, NameRef, parse_id};

/// The format that is written here.
pub(super) const FORMAT: u64 = 1;
/// Numbers in a record of names.
pub(super) const NAMES_ROWS: u32 = 1024;
const CHECKSUM_BYTES: usize = 4;

/// What is known of the store as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// When the log is empty.
    pub(super) edges: u64,
    /// Where the log begins: earlier changes are in the blocks.
    pub(super) log_first: u64,
    /// It was closed, and nothing was written since.
    pub(super) is_closed: bool,
}

/// A change, as the log has it. The last one about a name or an edge counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Name(u32, NameRef<'a>),
    Forget(u32),
    Follow(u32, u32),
    Unfollow(u32, u32),
}

/// Why a record cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    Damaged(&'static str),
    Format(u64),
}

impl From<&'static str> for Unreadable {
    fn from(what: &'static str) -> Self {
        Self::Damaged(what)
    }
}

type Read<T> = Result<T, Unreadable>;

fn checksum(key: Key, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&[key.kind as u8]);
    sum.update(&key.number.to_le_bytes());
    sum.update(body);
    sum.finalize().to_le_bytes()
}

fn seal(key: Key, mut body: Vec<u8>) -> Vec<u8> {
    body.extend(checksum(key, &body));
    body
}

fn put(out: &mut Vec<u8>, value: impl Into<u64>) {
    let mut value = value.into();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// What is left of a record.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    /// Opens a record if its checksum is right.
    fn open(key: Key, record: &'a [u8]) -> Read<Self> {
        let (body, sum) = record.split_last_chunk::<CHECKSUM_BYTES>().ok_or("a record is cut short")?;
        if *sum == checksum(key, body) { Ok(Self(body)) } else { Err("a record's checksum is wrong".into()) }
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a record ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn number(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits.leading_zeros() < shift {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number is too big".into())
    }

    fn small(&mut self) -> Read<u32> {
        self.number()?.try_into().map_err(|_| "a number is too big".into())
    }

    /// A count of things of which each takes a byte or more.
    fn count(&mut self) -> Read<usize> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count <= self.0.len() { Ok(count) } else { Err("a record ends too early".into()) }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A name; `None` stands for none.
    fn name(&mut self) -> Read<Option<NameRef<'a>>> {
        match self.small()? {
            0 => Ok(None),
            1 => Ok(Some(NameRef::Decimal(self.number()?))),
            length => {
                let length = length as usize - 1;
                let text = parse_id(self.take(length.min(ID_BYTES_MAX + 1))?).map_err(|_| "a name is none")?;
                Ok(Some(text.into()))
            }
        }
    }
}

fn put_name(out: &mut Vec<u8>, name: NameRef<'_>) {
    match name {
        NameRef::Decimal(value) => {
            put(out, 1u32);
            put(out, value);
        }
        NameRef::Text(text) => {
            put(out, text.len() as u64 + 1);
            out.extend(text.as_bytes());
        }
    }
}

impl Meta {
    pub(super) const KEY: Key = Key { kind: Kind::Meta, number: 0 };

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, FORMAT);
        put(&mut out, self.edges);
        put(&mut out, self.log_first);
        put(&mut out, u64::from(self.is_closed));
        seal(Self::KEY, out)
    }

    pub(super) fn decode(record: &[u8]) -> Read<Self> {
        let mut body = Body::open(Self::KEY, record)?;
        let format = body.number()?;
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        Ok(Self { edges: body.number()?, log_first: body.number()?, is_closed: body.number()? != 0 })
    }
}

/// The names of a record, which ascend; `None` if there is none.
pub(super) fn encode_names<'a>(index: u32, names: impl Iterator<Item = (u32, NameRef<'a>)>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut next = index * NAMES_ROWS;
    for (number, name) in names {
        out.resize(out.len() + (number - next) as usize, 0);
        put_name(&mut out, name);
        next = number + 1;
    }
    (!out.is_empty()).then(|| seal(Key { kind: Kind::Names, number: index.into() }, out))
}

/// Calls `each` with the names of a record.
pub(super) fn decode_names<'a>(index: u32, record: &'a [u8], mut each: impl FnMut(u32, NameRef<'a>)) -> Read<()> {
    let mut body = Body::open(Key { kind: Kind::Names, number: index.into() }, record)?;
    for row in 0..NAMES_ROWS {
        if body.is_empty() {
            return Ok(());
        }
        let number = index.checked_mul(NAMES_ROWS).and_then(|first| first.checked_add(row));
        if let Some(name) = body.name()? {
            each(number.ok_or("a number is too big")?, name);
        }
    }
    if body.is_empty() { Ok(()) } else { Err("a record has too many names".into()) }
}

/// The edges of a block without changes; `None` if it has none.
pub(super) fn encode_block(index: u32, block: &Block) -> Option<Vec<u8>> {
    let edges: usize = block.rows().map(|(_, cells)| cells.len()).sum();
    let mut out = Vec::with_capacity(edges * 3 + BLOCK_ROWS as usize);
    put(&mut out, edges as u64);
    let mut left = edges;
    for (_, cells) in block.rows() {
        if left == 0 {
            break;
        }
        left -= cells.len();
        put(&mut out, cells.len() as u64);
        let mut last = 0;
        for cell in cells {
            put(&mut out, cell - last);
            last = *cell;
        }
    }
    (edges > 0).then(|| seal(Key { kind: Kind::Sources, number: index.into() }, out))
}

/// The block of a record.
pub(super) fn decode_block(index: u32, record: &[u8]) -> Read<Block> {
    let mut body = Body::open(Key { kind: Kind::Sources, number: index.into() }, record)?;
    let mut cells = Vec::with_capacity(body.count()?);
    let mut ends = Vec::with_capacity(BLOCK_ROWS as usize);
    for _ in 0..BLOCK_ROWS {
        let count = if body.is_empty() { 0 } else { body.count()? };
        let begin = cells.len();
        for _ in 0..count {
            let distance = body.small()?;
            let cell = match cells.get(begin..).and_then(<[u32]>::last) {
                None => distance,
                Some(_) if distance == 0 => return Err("an edge is there twice".into()),
                Some(last) => last.checked_add(distance).ok_or("a number is too big")?,
            };
            cells.push(cell);
        }
        ends.push(end(cells.len()));
    }
    if body.is_empty() { Ok(Block::new(ends.into(), cells.into())) } else { Err("a record has too many edges".into()) }
}

/// A record of the log, with how many edges there are after it.
pub(super) fn encode_log<'a>(sequence: u64, edges: u64, changes: impl Iterator<Item = Change<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, edges);
    for change in changes {
        let (tag, numbers): (u8, [Option<u32>; 2]) = match change {
            Change::Name(number, _) => (0, [Some(number), None]),
            Change::Forget(number) => (1, [Some(number), None]),
            Change::Follow(subscriber, source) => (2, [Some(subscriber), Some(source)]),
            Change::Unfollow(subscriber, source) => (3, [Some(subscriber), Some(source)]),
        };
        out.push(tag);
        numbers.into_iter().flatten().for_each(|number| put(&mut out, number));
        if let Change::Name(_, name) = change {
            put_name(&mut out, name);
        }
    }
    seal(Key { kind: Kind::Log, number: sequence }, out)
}

/// Calls `each` with the changes of a record of the log; answers how many edges there are after it.
pub(super) fn decode_log<'a>(sequence: u64, record: &'a [u8], mut each: impl FnMut(Change<'a>)) -> Read<u64> {
    let mut body = Body::open(Key { kind: Kind::Log, number: sequence }, record)?;
    let edges = body.number()?;
    while !body.is_empty() {
        each(match body.byte()? {
            0 => Change::Name(body.small()?, body.name()?.ok_or("a name is none")?),
            1 => Change::Forget(body.small()?),
            2 => Change::Follow(body.small()?, body.small()?),
            3 => Change::Unfollow(body.small()?, body.small()?),
            _ => return Err("a change is of no known kind".into()),
        });
    }
    Ok(edges)
}

#[cfg(test)]
mod tests;
