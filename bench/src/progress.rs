//! The progress bar on standard error; nothing where that is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(250);
const STEP: Duration = Duration::from_millis(100);

/// A bar of steps, or of a quantity.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar up to `total`; `quiet` hides it. indicatif itself hides a bar that is not on a terminal.
    pub(crate) fn new(total: u64, quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(total) };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed:>4} {wide_msg}") {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Progress { bar }
    }

    /// No bar at all.
    pub(crate) fn hidden() -> Self {
        Progress { bar: ProgressBar::hidden() }
    }

    pub(crate) fn note(&self, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.bar.set_message(text);
    }

    pub(crate) fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Sleeps, a step of the bar for each [`Progress::steps_of`] it.
    pub(crate) fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            // A hidden bar costs the measured machine not even this.
            std::thread::sleep(if self.bar.is_hidden() { rest } else { rest.min(STEP) });
            self.bar.inc(1);
        }
    }

    /// How many steps a sleep of `time` is.
    pub(crate) fn steps_of(time: Duration) -> u64 {
        u64::try_from(time.as_millis().div_ceil(STEP.as_millis())).unwrap_or(u64::MAX)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
