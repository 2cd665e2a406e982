//! A chat room: what one says, all hear.
//!
//! Try it with `nc 127.0.0.1 9876` in two terminals.

use lf_core::codec::Line;
use lf_core::{Closed, Context, Handler, Outcome, Peer, Remote, Server, Token};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

#[derive(Default)]
struct Room {
    members: Mutex<Vec<Token>>,
    remote: OnceLock<Remote>,
}

impl Room {
    /// Says a line to everybody. Who reads slowly gets it later, and holds up nobody.
    fn say(&self, line: &str) {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(remote) = self.remote.get() {
            remote.broadcast(members, &Arc::from(format!("{line}\n").into_bytes()));
        }
    }
}

struct Chat(Arc<Room>);

impl Handler<Line> for Chat {
    /// The member's name, once it is known.
    type State = Option<String>;

    fn open(&self, _peer: &Peer) -> Option<String> {
        None
    }

    fn greets(&self) -> bool {
        true
    }

    fn opened(&self, cx: &mut Context<'_, Line, Option<String>>) -> Outcome {
        Ok(cx.send(b"what is your name?")?)
    }

    fn frame(&self, cx: &mut Context<'_, Line, Option<String>>, line: &[u8]) -> Outcome {
        let line = String::from_utf8_lossy(line);
        match cx.state {
            Some(name) => self.0.say(&format!("{name}: {line}")),
            None => {
                *cx.state = Some(line.to_string());
                self.0.members.lock().unwrap_or_else(PoisonError::into_inner).push(cx.token());
                self.0.say(&format!("* {line} is here"));
            }
        }
        Ok(())
    }

    fn closed(&self, name: &mut Option<String>, closed: &Closed) {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner).retain(|token| *token != closed.token);
        if let Some(name) = name {
            self.0.say(&format!("* {name} has left"));
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let room = Arc::new(Room::default());
    let server =
        Server::builder().listen("127.0.0.1:9876".parse()?, Line::default(), Chat(Arc::clone(&room))).build()?;
    let _ = room.remote.set(server.remote());
    std::process::exit(server.run()?.exit_code().into());
}
