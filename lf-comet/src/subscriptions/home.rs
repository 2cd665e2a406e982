//! The directory of the subscriptions, and what lies in it.

use super::error::Error;
use super::format::Meta;
use super::store::{Durability, RedbStore, Store, Write};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const FILE: &str = "subscriptions.redb";
/// A file that is not whole yet: it gets its name when it is.
const DRAFT: &str = "subscriptions.new";
/// What a load sorts.
const SPOOL: &str = "subscriptions.load";
const LOCK: &str = "lock";

/// A directory that no other process uses.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    /// Locked until it is closed.
    _lock: File,
}

impl Home {
    /// Enters a directory, which is made if it is not there, and clears away what an earlier process has left unfinished.
    pub(super) fn enter(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|error| Error::disk(dir, "make the directory", error))?;
        let path = dir.join(LOCK);
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.map_err(|error| Error::disk(&path, "open", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(Error::disk(path, "lock", error)),
        }
        let home = Self { dir: dir.to_owned(), _lock: lock };
        home.clear()?;
        Ok(home)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    pub(super) fn draft(&self) -> PathBuf {
        self.dir.join(DRAFT)
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.dir.join(SPOOL)
    }

    /// Opens the store; makes it if there is none.
    pub(super) fn store(&self) -> Result<Box<dyn Store>, Error> {
        let file = self.file();
        if !file.try_exists().map_err(|error| Error::disk(&file, "look for", error))? {
            let mut store = Box::new(RedbStore::create(&self.draft())?);
            let meta = Meta { is_closed: true, ..Meta::default() };
            store.commit(&[Write::Put(Meta::KEY, meta.encode())], Durability::Twice)?;
            store.close()?;
            self.install_draft()?;
        }
        Ok(Box::new(RedbStore::open(&file)?))
    }

    /// Puts the draft, which has to be whole and closed, in the place of the file.
    pub(super) fn install_draft(&self) -> Result<(), Error> {
        let draft = self.draft();
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        sync(&draft).map_err(|error| Error::disk(&draft, "sync", error))?;
        fs::rename(&draft, self.file()).map_err(|error| Error::disk(&draft, "rename", error))?;
        sync(&self.dir).map_err(|error| Error::disk(&self.dir, "sync", error))
    }

    /// Removes what is unfinished.
    pub(super) fn clear(&self) -> Result<(), Error> {
        let gone = |result: io::Result<()>, path: PathBuf| match result {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::disk(path, "remove", error)),
            _ => Ok(()),
        };
        gone(fs::remove_file(self.draft()), self.draft())?;
        gone(fs::remove_dir_all(self.spool()), self.spool())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_entered_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::enter(dir.path()).unwrap();
        let error = Home::enter(dir.path()).unwrap_err();
        assert!(matches!(&error, Error::InUse(path) if path == dir.path()), "{error}");
        drop(home);
        Home::enter(dir.path()).unwrap();
    }

    #[test]
    fn what_is_unfinished_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        drop(Home::enter(dir.path()).unwrap().store().unwrap().close());
        fs::write(dir.path().join(DRAFT), "half").unwrap();
        fs::create_dir(dir.path().join(SPOOL)).unwrap();
        fs::write(dir.path().join(SPOOL).join("1"), "x").unwrap();
        drop(Home::enter(dir.path()).unwrap());
        let left: std::collections::BTreeSet<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(left, [FILE, LOCK].map(str::to_owned).into());
    }
}
