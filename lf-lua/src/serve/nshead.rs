//! `lf.nshead`: requests for a script, answered in their order.

use super::NSHEAD_FAILED;
use super::call::Call;
use crate::engine::Command;
use crate::script::{Current, Script};
use lf_core::codec::{Nshead, NsheadFrame, NsheadHeader};
use lf_core::{Closed, Context, Handler, Message, Outcome, Peer};

/// Serves the connections of an `lf.nshead`.
#[derive(Clone, Debug)]
pub(crate) struct NsheadServer {
    pub(crate) current: Current,
    /// Which of the script's servers it is.
    pub(crate) server: usize,
}

/// A connection: the call whose answer is waited for.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<Box<Call>>);

impl NsheadServer {
    fn call(&self, cx: &mut Context<'_, Nshead, Waiting>, script: &Script, frame: NsheadFrame<'_>) -> Outcome {
        let Some(handler) = script.handler(self.server) else { return Err("the script has no such server".into()) };
        let at = (cx.token(), cx.peer());
        let mut measured = script.measure(self.server);
        script.pool(cx.group()).with(|vm, mut engine| {
            let (mut sent, mut has_failed) = (Ok(()), false);
            let (suspended, commands) =
                engine.nshead(handler, at, &frame.header, frame.body, |failed, header, body| {
                    has_failed = failed;
                    let provider = if failed { NSHEAD_FAILED } else { header.provider };
                    sent = cx.send(NsheadFrame { header: NsheadHeader { provider, ..header }, body });
                });
            sent?;
            if suspended {
                cx.state.0 = Some(Box::new(Call::new(vm, measured)));
                cx.hold();
            } else {
                measured.end(has_failed, format_args!("nshead log_id {} from {}", frame.header.log_id, at.1));
            }
            Command::read_all(&commands).for_each(|command| carry_out(cx, &command));
            Ok(())
        })?
    }
}

fn carry_out(cx: &mut Context<'_, Nshead, Waiting>, command: &Command<'_>) {
    match *command {
        Command::Send(bytes) => cx.send_bytes(bytes),
        Command::Release => {
            let peer = cx.peer();
            if let Some(mut call) = cx.state.0.take() {
                call.measured.end(false, format_args!("nshead from {peer}"));
            }
            cx.release_hold();
        }
        Command::Close => {
            cx.close();
            cx.release_hold();
        }
        Command::Want(_)
        | Command::Unwant(_)
        | Command::Drained(_)
        | Command::Watch
        | Command::Respond { .. }
        | Command::Start { .. }
        | Command::Chunk(_)
        | Command::Finish
        | Command::Text(_)
        | Command::Binary(_)
        | Command::Ping(_)
        | Command::CloseSocket { .. } => tracing::error!("a command of another protocol for a connection of lf.nshead"),
    }
}

impl Handler<Nshead> for NsheadServer {
    type State = Waiting;

    fn open(&self, _peer: &Peer) -> Waiting {
        Waiting(None)
    }

    fn frame(&self, cx: &mut Context<'_, Nshead, Waiting>, frame: NsheadFrame<'_>) -> Outcome {
        let script = self.current.load();
        let Some(pace) = script.pace(self.server) else { return Err("the script has no such server".into()) };
        pace.run(cx, |cx| self.call(cx, &script, frame))
    }

    fn message(&self, cx: &mut Context<'_, Nshead, Waiting>, message: &Message) -> Outcome {
        Command::read_all(message).for_each(|command| carry_out(cx, &command));
        Ok(())
    }

    fn closed(&self, state: &mut Waiting, closed: &Closed) {
        if let Some(mut call) = state.0.take() {
            call.end(closed.token, "closed");
        }
    }
}
