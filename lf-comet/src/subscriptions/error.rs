//! What can go wrong with subscriptions.

use crate::names::IdError;
use std::path::PathBuf;
use std::sync::Arc;

/// Why subscriptions cannot be opened, changed or loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Something is not an id. Nothing was changed.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Another process has the store open.
    #[error("{}: another process uses these subscriptions: stop it, or give this one a directory of its own", .0.display())]
    InUse(PathBuf),
    /// What is on disk is not what was written.
    #[error(
        "{}: the subscriptions are damaged: {what}: put a backup in the place of this file, or remove it and load the subscriptions anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file was written by another version.
    #[error("{}: the subscriptions are in format {found}, and this version reads format {known}: use the version that wrote them", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The one that is known here.
        known: u64,
    },
    /// The system or the disk failed.
    #[error("{}: cannot {doing}: {cause}", path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// An earlier write has failed, so nothing is known of what is on disk. Reading goes on.
    #[error("no subscription is changed since a write has failed ({0}): see to the disk and start again")]
    Stopped(Arc<Error>),
    /// A fault of this program, which is in its log.
    #[error("a thread panicked while it wrote")]
    Panicked,
    /// The names that subscriptions are opened with are in use already.
    #[error("subscriptions are opened before anybody is connected: {0} names are in use")]
    NamesInUse(usize),
}

impl Error {
    pub(super) fn disk(
        path: impl Into<PathBuf>,
        doing: &'static str,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Disk { path: path.into(), doing, cause: Arc::new(cause) }
    }
}
