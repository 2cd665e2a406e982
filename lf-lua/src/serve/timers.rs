//! The timers of VMs: a task of lf-core each.

use crate::engine::Vm;
use lf_core::codec::Raw;
use lf_core::{Context, DialFailure, Dialer, Handler, Message, Outcome, Peer, Remote, Timeout, Token};
use std::sync::{Arc, Weak};

/// Wakes a VM when a deadline passes. A message has it serve what was left for the VM, and look when the next deadline is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerHandler;

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

    fn message(&self, cx: &mut Context<'_, Raw, Weak<Vm>>, _message: &Message) -> Outcome {
        if let Some(vm) = cx.state.upgrade() {
            vm.serve();
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
            vm.tick();
            arm(cx);
        }
        Ok(())
    }
}
