//! Saying from anywhere below a handler that its thread may block from here on.

use crate::baton::{Lead, Sight};
use crate::shared::Shared;
use crate::stats::Count;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

struct Reign {
    server: Weak<Shared>,
    group: usize,
    serving: Sight,
}

thread_local! {
    /// What this thread leads, or led last.
    static REIGN: RefCell<Option<Reign>> = const { RefCell::new(None) };
}

/// This thread leads a group from here on.
pub(crate) fn leads(server: &Arc<Shared>, group: usize, lead: &Lead) {
    let serving = Sight::serving(lead);
    REIGN.with_borrow_mut(|reign| *reign = Some(Reign { server: Arc::downgrade(server), group, serving }));
}

/// Hands the lead of this thread's group over, because what comes next may block: what
/// [`Context::blocking`](crate::Context::blocking) does, for code that has no context. Nothing where this thread is no
/// worker, or does not lead.
pub fn hand_over() {
    REIGN.with_borrow_mut(|reign| {
        let Some(Reign { server, group, serving }) = reign.take() else { return };
        let Some(server) = server.upgrade() else { return };
        if Shared::depose(&server, group, serving) {
            server.stats.outside.add(Count::HandOvers, 1);
        }
    });
}
