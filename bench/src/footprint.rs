//! What connections cost in memory: the server's own, and the kernel's.

use crate::account::{Account, slab_bytes, wait_quiet};
use anyhow::Result;
use serde::Serialize;
use std::time::Duration;

/// How long a server may work on after the last connection before its memory is read.
const QUIET_PATIENCE: Duration = Duration::from_secs(30);

/// Memory beyond what it was before the connections.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// Of the server process; 0 without `--server-pid`.
    pub(crate) rss_bytes: u64,
    pub(crate) rss_bytes_per_connection: f64,
    /// Of the whole machine. On loopback both ends of a connection are in it.
    pub(crate) slab_bytes: i64,
    pub(crate) slab_bytes_per_connection: f64,
}

/// Memory before the connections.
pub(crate) struct Before {
    rss_bytes: u64,
    slab_bytes: u64,
}

impl Before {
    /// # Errors
    /// If there is no process `pid`.
    pub(crate) fn look(pid: Option<u32>) -> Result<Self> {
        let rss_bytes = pid.map(Account::of).transpose()?.map_or(0, |account| account.rss_bytes());
        Ok(Before { rss_bytes, slab_bytes: slab_bytes() })
    }

    /// How much more it is now, once the server is quiet.
    ///
    /// # Errors
    /// If the process `pid` has ended.
    pub(crate) fn grown(&self, pid: Option<u32>, connections: usize) -> Result<Memory> {
        if let Some(pid) = pid {
            wait_quiet(pid, QUIET_PATIENCE)?;
        }
        let now = Before::look(pid)?;
        let slab = now.slab_bytes.cast_signed() - self.slab_bytes.cast_signed();
        let rss = now.rss_bytes.saturating_sub(self.rss_bytes);
        let each = float(i64::try_from(connections.max(1))?);
        Ok(Memory {
            rss_bytes: now.rss_bytes,
            rss_bytes_per_connection: float(rss.cast_signed()) / each,
            slab_bytes: slab,
            slab_bytes_per_connection: float(slab) / each,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one machine's memory are far below 2^53")]
fn float(number: i64) -> f64 {
    number as f64
}
