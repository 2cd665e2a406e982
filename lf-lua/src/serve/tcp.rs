//! `lf.tcp`: frames for a script.

use super::call::Call;
use super::meter::Measured;
use crate::engine::{Command, Completion};
use crate::script::{Current, Script};
use lf_core::codec::BytesCodec;
use lf_core::{Closed, Context, Handler, Message, Outcome, Peer};

/// Serves the connections of an `lf.tcp`.
#[derive(Clone, Debug)]
pub(crate) struct TcpServer {
    pub(crate) current: Current,
    /// Which of the script's servers it is.
    pub(crate) server: usize,
    /// Frames are bytes as they come.
    pub(crate) raw: bool,
}

/// A connection: mostly nothing is in progress.
#[derive(Debug, Default)]
pub(crate) struct Talk(Option<Box<Call>>);

impl TcpServer {
    fn call<C: BytesCodec>(&self, cx: &mut Context<'_, C, Talk>, script: &Script, frame: &[u8]) -> Outcome {
        let Some(handler) = script.handler(self.server) else { return Err("the script has no such server".into()) };
        let (token, peer) = (cx.token(), cx.peer());
        let mut measured = script.measure(self.server);
        let served = script.pool(cx.group()).with(|vm, mut engine| {
            let mut unwritable = None;
            let (suspended, commands) = engine.tcp(handler, (token, peer), frame, self.raw, |out| {
                if let Err(error) = cx.send(out) {
                    unwritable = Some(error);
                }
            });
            if suspended {
                cx.state.0 = Some(Box::new(Call::new(vm, measured)));
                cx.hold();
            } else {
                measured.end(unwritable.is_some(), format_args!("{} from {peer}", self.server));
            }
            for command in Command::read_all(&commands) {
                if command == Command::Watch && cx.state.0.is_none() {
                    let mut call = Call::new(vm, Measured::default());
                    call.runs = false;
                    cx.state.0 = Some(Box::new(call));
                }
                carry_out(cx, &command)?;
            }
            unwritable.map_or(Ok(()), |error| Err(error.into()))
        });
        served?
    }
}

/// Does what the script wants of the connection.
fn carry_out<C: BytesCodec>(cx: &mut Context<'_, C, Talk>, command: &Command<'_>) -> Outcome {
    match *command {
        Command::Send(bytes) => cx.send(bytes)?,
        Command::Close => {
            cx.close();
            cx.release_hold();
        }
        Command::Want(ticket) => {
            if let Some(call) = &mut cx.state.0 {
                call.wants(ticket);
                cx.release_hold();
            }
        }
        Command::Unwant(ticket) => {
            if let Some(call) = &mut cx.state.0 {
                call.unwants(ticket);
                cx.hold();
            }
        }
        Command::Drained(ticket) => {
            cx.flush();
            let unsent_bytes = cx.unsent_bytes();
            if let Some(call) = &mut cx.state.0 {
                call.tells_drained(ticket, unsent_bytes);
            }
        }
        Command::Release => {
            let peer = cx.peer();
            if let Some(call) = &mut cx.state.0 {
                call.measured.end(false, format_args!("from {peer}"));
            }
            match &mut cx.state.0 {
                Some(call) if call.is_watched() => call.runs = false,
                _ => cx.state.0 = None,
            }
            cx.release_hold();
        }
        Command::Watch => {
            if let Some(call) = &mut cx.state.0 {
                call.watch();
            }
        }
        Command::Respond { .. }
        | Command::Start { .. }
        | Command::Chunk(_)
        | Command::Finish
        | Command::Text(_)
        | Command::Binary(_)
        | Command::Ping(_)
        | Command::CloseSocket { .. } => tracing::error!("a command of HTTP for a connection of lf.tcp"),
    }
    Ok(())
}

impl<C: BytesCodec> Handler<C> for TcpServer {
    type State = Talk;

    fn open(&self, _peer: &Peer) -> Talk {
        Talk(None)
    }

    fn frame(&self, cx: &mut Context<'_, C, Talk>, frame: &[u8]) -> Outcome {
        if let Some(call) = cx.state.0.as_mut().filter(|call| call.is_wanted()) {
            // One frame for one wait: the next one stays where it is.
            call.hand(Completion::Bytes(frame.to_vec()));
            cx.hold();
            return Ok(());
        }
        let script = self.current.load();
        let Some(pace) = script.pace(self.server) else { return Err("the script has no such server".into()) };
        pace.run(cx, |cx| self.call(cx, &script, frame))
    }

    fn message(&self, cx: &mut Context<'_, C, Talk>, message: &Message) -> Outcome {
        Command::read_all(message).try_for_each(|command| carry_out(cx, &command))
    }

    fn drained(&self, cx: &mut Context<'_, C, Talk>) -> Outcome {
        if let Some(call) = &mut cx.state.0 {
            call.is_drained();
        }
        Ok(())
    }

    fn input_ended(&self, cx: &mut Context<'_, C, Talk>) -> Outcome {
        // Who waits for a frame hears that there is none, and may still answer.
        if let Some(call) = cx.state.0.as_mut().filter(|call| call.is_wanted()) {
            call.hand(Completion::Failed("closed".into()));
            cx.hold();
        }
        Ok(())
    }

    fn closed(&self, state: &mut Talk, closed: &Closed) {
        if let Some(mut call) = state.0.take() {
            call.end(closed.token, "closed");
        }
    }
}
