//! The process's descriptor limit: raised as far as it goes, and a clear word where that is not enough.

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft `RLIMIT_NOFILE` to the hard one and says what it is now; `None` is no limit.
pub(crate) fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok()
    {
        return limit.maximum;
    }
    limit.current
}

/// Makes sure that `wanted` descriptors, and `beside` for other things, can be open.
pub(crate) fn require_descriptors(option: &str, wanted: u64, beside: u64) -> Result<()> {
    check(raise_descriptors(), option, wanted, beside)
}

fn check(limit: Option<u64>, option: &str, wanted: u64, beside: u64) -> Result<()> {
    match limit {
        Some(limit) if wanted + beside > limit => bail!(
            "{option} {wanted}: needs {} descriptors, but RLIMIT_NOFILE of this process is {limit} and cannot be raised further; \
             give {option} {} or raise the hard limit (ulimit -Hn, or nofile in /etc/security/limits.conf)",
            wanted + beside,
            limit.saturating_sub(beside)
        ),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_low_a_limit_names_input_limit_and_remedy() {
        let error = check(Some(1000), "--connections", 5000, 64).unwrap_err().to_string();
        for part in ["--connections 5000", "RLIMIT_NOFILE", "1000", "--connections 936", "ulimit -Hn"] {
            assert!(error.contains(part), "{part:?} is missing in {error:?}");
        }
        assert!(check(Some(6000), "--connections", 5000, 64).is_ok());
        assert!(check(None, "--connections", u64::MAX / 2, 64).is_ok());
    }
}
