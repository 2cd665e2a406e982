//! A call that a connection has in progress.

use super::meter::Measured;
use crate::engine::{Completion, Event, Vm};
use lf_core::Token;
use std::sync::Arc;

/// The call of a script that a connection waits for, or that waits for the connection.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) vm: Arc<Vm>,
    /// The ticket of who waits for a frame.
    want: Option<f64>,
    /// The ticket of who waits until everything is out.
    drained: Option<f64>,
    /// The script wants to hear of the end.
    watched: bool,
    pub(super) measured: Measured,
    /// A call is in progress; without, only the end is waited for.
    pub(super) runs: bool,
}

impl Call {
    pub(super) fn new(vm: &Arc<Vm>, mut measured: Measured) -> Self {
        measured.goes_on();
        Self { vm: Arc::clone(vm), want: None, drained: None, watched: false, measured, runs: true }
    }

    /// The next frame is for `ticket`.
    pub(super) fn wants(&mut self, ticket: f64) {
        self.want = Some(ticket);
    }

    /// It is for nobody. What was handed over before this was handed over before `ticket` hears of it.
    pub(super) fn unwants(&mut self, ticket: f64) {
        self.want = None;
        self.vm.complete(ticket, Completion::Done);
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.want.is_some()
    }

    /// Hands something to who waits for it; `false` if nobody does.
    pub(super) fn hand(&mut self, what: Completion) -> bool {
        let Some(ticket) = self.want.take() else { return false };
        self.vm.complete(ticket, what);
        true
    }

    /// Tells `ticket` once everything is out; now, if it is.
    pub(super) fn tells_drained(&mut self, ticket: f64, unsent_bytes: usize) {
        if unsent_bytes == 0 {
            self.vm.complete(ticket, Completion::Done);
        } else {
            self.drained = Some(ticket);
        }
    }

    /// Everything is out.
    pub(super) fn is_drained(&mut self) {
        if let Some(ticket) = self.drained.take() {
            self.vm.complete(ticket, Completion::Done);
        }
    }

    pub(super) fn watch(&mut self) {
        self.watched = true;
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// The connection has ended: who waits for it hears of it.
    pub(super) fn end(&mut self, token: Token, why: &str) {
        for ticket in [self.want.take(), self.drained.take()].into_iter().flatten() {
            self.vm.complete(ticket, Completion::Failed(why.to_owned()));
        }
        // Also without either: what asks for one may have been on its way.
        self.vm.post(Event::Closed(token, self.watched));
    }
}
