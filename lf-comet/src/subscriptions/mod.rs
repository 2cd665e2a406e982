//! Who follows whom, on disk and in memory.
