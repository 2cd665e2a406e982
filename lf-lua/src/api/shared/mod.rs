//! Dictionaries of the whole process: `lf.shared.NAME`, with the functions of openresty's `ngx.shared.DICT`.
//!
//! They belong to no VM: all VMs and threads see the same ones, and a script that is loaded anew finds them as they were.

mod bind;
mod dict;
mod list;
mod shard;
mod value;

pub use bind::install;
pub use dict::{Clock, Dict};
pub use value::Scalar;

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Memory of a dictionary that nobody gave a size.
pub const CAPACITY_BYTES: usize = 16 << 20;

/// A dictionary that holds less than a few entries is a mistake.
const CAPACITY_BYTES_MIN: usize = 4096;

/// Dictionaries of a process: a script that makes names up would otherwise fill its memory.
const DICTS_MAX: usize = 256;

/// Bytes of the name of a dictionary.
const NAME_BYTES_MAX: usize = 128;

/// All dictionaries.
#[derive(Clone)]
pub struct Dicts {
    dicts: Arc<Mutex<HashMap<Vec<u8>, Arc<Dict>>>>,
    clock: Clock,
    /// Bytes that all of them may have together.
    bytes_max: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Dicts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Dicts").field("dicts", &self.dicts).finish_non_exhaustive()
    }
}

impl Default for Dicts {
    fn default() -> Self {
        let start = Instant::now();
        Self::with_clock(Arc::new(move || start.elapsed()))
    }
}

impl Dicts {
    /// Dictionaries whose entries expire by another clock than the system's.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self { dicts: Arc::default(), clock, bytes_max: Arc::new(AtomicUsize::new(usize::MAX)) }
    }

    /// Sets the memory of all dictionaries together, in bytes. Those that there are already stay.
    pub fn limit(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// The dictionary of a name, which is made if there is none.
    ///
    /// # Errors
    ///
    /// If there are too many, or the name is too long.
    pub fn dict(&self, name: &[u8]) -> Result<Arc<Dict>, String> {
        self.sized(name, None)
    }

    /// Makes the dictionary of a name with a size in bytes.
    ///
    /// # Errors
    ///
    /// If there is one of another size, there are too many, the name is too long or the size too small.
    pub fn declare(&self, name: &[u8], capacity: usize) -> Result<Arc<Dict>, String> {
        let dict = self.sized(name, Some(capacity))?;
        if dict.capacity() == capacity {
            return Ok(dict);
        }
        Err(format!(
            "shared dictionary '{}' has {} bytes already; {capacity} were asked for. A size is set before the first use, \
             and changes with a restart only",
            String::from_utf8_lossy(name),
            dict.capacity()
        ))
    }

    fn sized(&self, name: &[u8], capacity: Option<usize>) -> Result<Arc<Dict>, String> {
        let mut dicts = self.dicts.lock();
        if let Some(dict) = dicts.get(name) {
            return Ok(Arc::clone(dict));
        }
        let shown = String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]);
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let length = name.len();
            return Err(format!(
                "shared dictionary '{shown}': a name has 1 to {NAME_BYTES_MAX} bytes, this one {length}"
            ));
        }
        if dicts.len() >= DICTS_MAX {
            return Err(format!("shared dictionary '{shown}': there are {DICTS_MAX} already, the most; share one"));
        }
        let capacity = capacity.unwrap_or(CAPACITY_BYTES);
        if capacity < CAPACITY_BYTES_MIN {
            return Err(format!(
                "shared dictionary '{shown}': {capacity} bytes; at least {CAPACITY_BYTES_MIN} are needed"
            ));
        }
        let (taken, bytes_max) =
            (dicts.values().map(|dict| dict.capacity()).sum::<usize>(), self.bytes_max.load(Ordering::Relaxed));
        if taken.saturating_add(capacity) > bytes_max {
            return Err(format!(
                "shared dictionary '{shown}': {capacity} bytes; the others have {taken} of {bytes_max} already; make them \
                 smaller with lf.shared_dict"
            ));
        }
        let dict = Arc::new(Dict::new(capacity, Arc::clone(&self.clock)));
        dicts.insert(name.to_owned(), Arc::clone(&dict));
        Ok(dict)
    }
}
