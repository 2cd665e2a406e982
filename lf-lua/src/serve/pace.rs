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
pub(crate) struct Pace(Arc<AtomicBool>);

impl Pace {
    /// Makes a call. If the last one was slow, others serve the group meanwhile, from the beginning on.
    pub(crate) fn run<C: Codec, S, R>(
        &self,
        cx: &mut Context<'_, C, S>,
        call: impl FnOnce(&mut Context<'_, C, S>) -> R,
    ) -> R {
        if self.0.load(Ordering::Relaxed) {
            cx.blocking(|| ());
            let began = Instant::now();
            let result = call(cx);
            if began.elapsed() < QUICK {
                self.0.store(false, Ordering::Relaxed);
            }
            return result;
        }
        let led = cx.leads();
        let result = call(cx);
        if led && !cx.leads() {
            self.0.store(true, Ordering::Relaxed);
        }
        result
    }
}
