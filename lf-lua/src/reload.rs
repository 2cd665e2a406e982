//! Loading a script again while the old one serves.

use crate::engine::Host;
use crate::options::EngineArgs;
use crate::program::{Shape, read};
use crate::script::Current;
use anyhow::{Context, bail};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Between two looks at the file.
const LOOK: Duration = Duration::from_millis(500);

/// What it takes to load a script again.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) engine: EngineArgs,
    pub(crate) host: Arc<Host>,
    pub(crate) shape: Shape,
    pub(crate) current: Current,
}

impl Reloader {
    /// Loads the script again at each SIGHUP, and whenever its file changes if that is wanted.
    pub(crate) fn start(self, watches: bool) -> io::Result<()> {
        let mut signals = Signals::new([SIGHUP])?;
        let mut changed = self.changed();
        std::thread::Builder::new().name("lf-lua-reload".into()).spawn(move || {
            if !watches {
                for _ in signals.forever() {
                    self.reload();
                }
                return;
            }
            loop {
                std::thread::sleep(LOOK);
                let now = self.changed();
                let is_new = now.is_some() && now != changed;
                if signals.pending().next().is_some() || is_new {
                    self.reload();
                    changed = now;
                }
            }
        })?;
        Ok(())
    }

    fn changed(&self) -> Option<SystemTime> {
        std::fs::metadata(&self.path).and_then(|file| file.modified()).ok()
    }

    fn reload(&self) {
        match self.try_reload() {
            Ok(()) => tracing::info!(script = %self.path.display(), "loaded again"),
            Err(error) => tracing::error!("the old script stays: {error:#}"),
        }
    }

    fn try_reload(&self) -> anyhow::Result<()> {
        let source = read(&self.path, &self.engine)?;
        let script = self.shape.load(&self.host, source).context("cannot load the script again")?;
        let before = self.current.load();
        let same = script.definitions.len() == before.definitions.len()
            && script.definitions.iter().zip(&before.definitions).all(|(new, old)| new.listens_as(old));
        if !same {
            bail!(
                "{}: its servers or their addresses are not those of before; that takes a restart",
                self.path.display()
            );
        }
        self.current.replace(script, &self.host);
        Ok(())
    }
}
