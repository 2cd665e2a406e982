//! The timers of VMs: a task of lf-core each.

use super::pace::Pace;
use crate::engine::Vm;
use lf_core::codec::Raw;
use lf_core::{Context, DialFailure, Dialer, Handler, Message, Outcome, Peer, Remote, Timeout, Token};
use std::sync::{Arc, Weak};

/// Wakes a VM when a deadline passes. A message has it look when the next deadline is; one with bytes has it serve what was left
/// for the VM before.
#[derive(Clone, Debug)]
pub(crate) struct TimerHandler {
    /// Of threads, and calls that go on.
    rest: Pace,
    deadlines: Pace,
}

impl TimerHandler {
    /// For a script that may be hostile, or not.
    pub(crate) fn new(untrusted: bool) -> Self {
        Self { rest: Pace::of_strangers(untrusted), deadlines: Pace::of_strangers(untrusted) }
    }
}

/// What a message says that has it serve the VM.
pub(crate) const SERVE: [u8; 1] = [1];

/// Starts timers.
#[derive(Clone, Debug)]
pub(crate) struct Timers(pub(crate) Dialer<Raw, TimerHandler>);

impl Timers {
    /// A timer for a VM, in its group.
    pub(crate) fn start(&self, remote: &Remote, vm: &Arc<Vm>) -> Result<Token, DialFailure> {
        self.0.task(remote, vm.group, Arc::downgrade(vm)).map_err(|failed| failed.error)
    }
}

fn arm(cx: &mut Context<'_, Raw, Weak<Vm>>) {
    let Some(vm) = cx.state.upgrade() else { return cx.close() };
    match vm.arm() {
        Some(wait) => cx.set_timer(wait),
        None => cx.cancel_timer(),
    }
}

/// A VM that was replaced meanwhile may be ours to close, which takes long if it is full.
fn let_go(cx: &mut Context<'_, Raw, Weak<Vm>>, vm: Arc<Vm>) {
    if Arc::strong_count(&vm) == 1 {
        cx.blocking(|| drop(vm));
    }
}

impl Handler<Raw> for TimerHandler {
    type State = Weak<Vm>;

    fn open(&self, _peer: &Peer) -> Weak<Vm> {
        Weak::new()
    }

    fn frame(&self, _cx: &mut Context<'_, Raw, Weak<Vm>>, _frame: &[u8]) -> Outcome {
        Ok(())
    }

    fn opened(&self, cx: &mut Context<'_, Raw, Weak<Vm>>) -> Outcome {
        arm(cx);
        Ok(())
    }

    fn message(&self, cx: &mut Context<'_, Raw, Weak<Vm>>, message: &Message) -> Outcome {
        if let Some(vm) = cx.state.upgrade().filter(|_| !message.is_empty()) {
            self.rest.run(cx, |_| vm.serve());
            let_go(cx, vm);
        }
        arm(cx);
        Ok(())
    }

    fn timeout(&self, cx: &mut Context<'_, Raw, Weak<Vm>>, which: Timeout) -> Outcome {
        if which == Timeout::User {
            let Some(vm) = cx.state.upgrade() else {
                cx.close();
                return Ok(());
            };
            self.deadlines.run(cx, |_| vm.tick());
            let_go(cx, vm);
            arm(cx);
        }
        Ok(())
    }
}
