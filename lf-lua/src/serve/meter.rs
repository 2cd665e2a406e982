//! What is measured of a handler's calls, if anything is.

use lf_core::HandlerStats;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Measures the calls of a handler: for the admin pages, for the log of slow requests, or not at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    stats: Option<Arc<HandlerStats>>,
    slow: Option<Duration>,
}

/// A call that is measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    meter: Meter,
    began: Option<Instant>,
    goes_on: bool,
}

impl Meter {
    pub(crate) fn new(stats: Option<Arc<HandlerStats>>, slow: Option<Duration>) -> Self {
        Self { stats, slow }
    }

    /// A call begins.
    pub(crate) fn begin(&self) -> Measured {
        let measures = self.stats.is_some() || self.slow.is_some();
        if measures {
            Measured { meter: self.clone(), began: Some(Instant::now()), goes_on: false }
        } else {
            Measured::default()
        }
    }
}

impl Measured {
    /// Its turn ends before it does.
    pub(crate) fn goes_on(&mut self) {
        if let Some(stats) = &self.meter.stats {
            self.goes_on = true;
            stats.goes_on();
        }
    }

    /// It is over. `what` names it in the log if it was slow.
    pub(crate) fn end(&mut self, failed: bool, what: impl Display) {
        let Some(began) = self.began.take() else { return };
        let took = began.elapsed();
        if let Some(stats) = &self.meter.stats {
            stats.answered(took);
            if failed {
                stats.failed();
            }
        }
        if self.meter.slow.is_some_and(|slow| took >= slow) {
            tracing::warn!(?took, "slow: {what}");
        }
    }
}

impl Drop for Measured {
    /// Whose connection has ended is not answered, but it is over.
    fn drop(&mut self) {
        if self.goes_on
            && let Some(stats) = &self.meter.stats
        {
            stats.comes_back();
        }
    }
}
