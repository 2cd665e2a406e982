//! The store in a file of redb.
//!
//! Every page has a checksum in its parent, up to the two commit slots of the header, and opening verifies them all. If the
//! last commit is not whole, it was cut short, and the one before it counts. But a commit that was whole and has gone bad
//! looks the same, and so does a wrong bit in the header that says which slot is the last. So what must not be lost is
//! committed twice, the second time with a mark that means nothing: then it is in both slots. That costs no more syncs
//! than redb's commits in two phases, which leave the one bit.

use super::{Durability, Each, Key, Kind, Store, Write};
use crate::subscriptions::error::Error;
use ::redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition, TableError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Pages that redb keeps; all is read once, at the start, and little is written at a time.
const CACHE_BYTES: usize = 16 << 20;
const RECORDS: TableDefinition<(u8, u64), &[u8]> = TableDefinition::new("records");
/// A record of no kind.
const MARK: (u8, u64) = (u8::MAX, 0);

#[derive(Debug)]
pub(in crate::subscriptions) struct RedbStore {
    database: Database,
    path: PathBuf,
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn place(key: Key) -> (u8, u64) {
    (key.kind as u8, key.number)
}

impl RedbStore {
    /// Makes a new file, without records.
    pub(in crate::subscriptions) fn create(path: &Path) -> Result<Self, Error> {
        let database = builder().create(path).map_err(|error| opening(path, error))?;
        Ok(Self { database, path: path.to_owned() })
    }

    /// Opens a file and checks it. A commit that was cut short is undone.
    pub(in crate::subscriptions) fn open(path: &Path) -> Result<Self, Error> {
        let empty = std::fs::metadata(path).map_err(|error| Error::disk(path, "open", error))?.len() == 0;
        if empty {
            // redb would take it for a new one.
            return Err(Error::Damaged { path: path.to_owned(), what: "the file is empty".into() });
        }
        let database = builder().open(path).map_err(|error| opening(path, error))?;
        Ok(Self { database, path: path.to_owned() })
    }

    /// The same on something else than a file.
    #[cfg(test)]
    pub(in crate::subscriptions) fn with_backend(backend: impl ::redb::StorageBackend) -> Result<Self, Error> {
        let path = PathBuf::from("backend");
        let database = builder().create_with_backend(backend).map_err(|error| opening(&path, error))?;
        Ok(Self { database, path })
    }

    fn failed(&self, doing: &'static str, error: impl Into<::redb::Error>) -> Error {
        failed(&self.path, doing, error.into())
    }

    fn write(&mut self, writes: &[Write], durability: Durability) -> Result<(), ::redb::Error> {
        let mut transaction = self.database.begin_write()?;
        if durability == Durability::Later {
            transaction.set_durability(::redb::Durability::None)?;
        }
        let mut records = transaction.open_table(RECORDS)?;
        for write in writes {
            match write {
                Write::Put(key, bytes) => drop(records.insert(place(*key), bytes.as_slice())?),
                Write::Remove(kind, numbers) => {
                    let kind = *kind as u8;
                    records.retain_in((kind, numbers.start)..(kind, numbers.end), |_, _| false)?;
                }
            }
        }
        drop(records);
        Ok(transaction.commit()?)
    }

    /// A commit for its own sake.
    fn mark(&mut self) -> Result<(), ::redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(RECORDS)?.insert(MARK, [].as_slice())?;
        Ok(transaction.commit()?)
    }
}

impl Store for RedbStore {
    fn read(&self, kind: Kind, each: Each<'_>) -> Result<(), Error> {
        let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
        let records = match transaction.open_table(RECORDS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            other => other.map_err(|error| self.failed("read", error))?,
        };
        let all = (kind as u8, 0)..=(kind as u8, u64::MAX);
        for record in records.range(all).map_err(|error| self.failed("read", error))? {
            let (key, bytes) = record.map_err(|error| self.failed("read", error))?;
            each(key.value().1, bytes.value())?;
        }
        Ok(())
    }

    fn commit(&mut self, writes: &[Write], durability: Durability) -> Result<(), Error> {
        let written = self.write(writes, durability);
        let written = if durability == Durability::Twice { written.and_then(|()| self.mark()) } else { written };
        written.map_err(|error| self.failed("write", error))
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        self.database.close().map_err(|error| failed(&self.path, "close", error.into()))
    }
}

fn failed(path: &Path, doing: &'static str, error: ::redb::Error) -> Error {
    if let ::redb::Error::Corrupted(what) = error {
        return Error::Damaged { path: path.to_owned(), what };
    }
    Error::disk(path, doing, error)
}

fn opening(path: &Path, error: DatabaseError) -> Error {
    let damaged = |what| Error::Damaged { path: path.to_owned(), what };
    if let DatabaseError::Storage(StorageError::Io(error)) = &error
        && matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
    {
        return damaged(error.to_string());
    }
    if let DatabaseError::UpgradeRequired(version) = error {
        return damaged(format!("its header says version {version}"));
    }
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return Error::InUse(path.to_owned());
    }
    failed(path, "open", error.into())
}
