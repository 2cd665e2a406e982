//! What was learned of how long the calls of a handler keep their thread.

use lf_core::Context;
use lf_core::codec::Codec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A slow handler whose call took less is none any more.
const QUICK: Duration = Duration::from_millis(1);

/// Whether the last call of a handler cost its thread the lead. lf-core learns that of connections; but a slow page is slow on all of
/// them, the new ones included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    slow: Arc<AtomicBool>,
    always: bool,
}

impl Pace {
    /// Of calls that are taken for slow, whatever they were before.
    pub(crate) fn of_strangers(always: bool) -> Self {
        Self { slow: Arc::new(AtomicBool::new(always)), always }
    }

    /// Makes a call. If the last one was slow, others serve the group meanwhile, from the beginning on.
    pub(crate) fn run<C: Codec, S, R>(
        &self,
        cx: &mut Context<'_, C, S>,
        call: impl FnOnce(&mut Context<'_, C, S>) -> R,
    ) -> R {
        if self.slow.load(Ordering::Relaxed) {
            cx.blocking(|| ());
            let began = Instant::now();
            let result = call(cx);
            if !self.always && began.elapsed() < QUICK {
                self.slow.store(false, Ordering::Relaxed);
            }
            return result;
        }
        let led = cx.leads();
        let result = call(cx);
        if led && !cx.leads() {
            self.slow.store(true, Ordering::Relaxed);
        }
        result
    }
}
