//! What is counted of upstreams and their servers. Everything is relaxed: statistics order nothing.

use super::call::CallError;
use crate::histogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts, by the kind of error.
#[derive(Debug, Default)]
pub(super) struct Errors([AtomicU64; CallError::LABELS.len()]);

impl Errors {
    pub(super) fn add(&self, error: &CallError) {
        self.0[error.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn by_label(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CallError::LABELS.iter().zip(&self.0).map(|(label, count)| (*label, count.load(Ordering::Relaxed)))
    }

    pub(super) fn total(&self) -> u64 {
        self.by_label().map(|(_, count)| count).sum()
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of one server: requests, not calls, so that second ones show.
#[derive(Debug, Default)]
pub(super) struct ServerStats {
    pub(super) requests: Tally,
    pub(super) errors: Errors,
    pub(super) times: Histogram,
    /// How often it was taken out.
    pub(super) outs: Tally,
    pub(super) probes_failed: Tally,
}

/// What is counted of an upstream.
#[derive(Debug, Default)]
pub(super) struct UpstreamStats {
    pub(super) calls: Tally,
    pub(super) answers: Tally,
    pub(super) errors: Errors,
    pub(super) retries: Tally,
    /// Retries and backups that the budget did not allow.
    pub(super) over_budget: Tally,
    /// Requests sent again because a kept connection had been closed.
    pub(super) stale: Tally,
    pub(super) backups: Tally,
    pub(super) backups_won: Tally,
    /// Requests to a server that was out, because all were.
    pub(super) all_out: Tally,
    pub(super) queued: Tally,
}
