//! A timer for each connection: the server ticks, and gives up on who misses three beats.

use lf_core::codec::Line;
use lf_core::{Context, Handler, Outcome, Peer, Server, Timeout, Timeouts};
use std::time::Duration;

const BEAT: Duration = Duration::from_secs(1);
const MISSES_MAX: u32 = 3;

struct Heartbeat;

impl Handler<Line> for Heartbeat {
    /// Beats since the peer last said something.
    type State = u32;

    fn open(&self, _peer: &Peer) -> u32 {
        0
    }

    fn greets(&self) -> bool {
        true
    }

    fn opened(&self, cx: &mut Context<'_, Line, u32>) -> Outcome {
        cx.set_timer(BEAT);
        Ok(cx.send(b"say something at each tick")?)
    }

    fn frame(&self, cx: &mut Context<'_, Line, u32>, line: &[u8]) -> Outcome {
        *cx.state = 0;
        Ok(cx.send(line)?)
    }

    fn timeout(&self, cx: &mut Context<'_, Line, u32>, which: Timeout) -> Outcome {
        if which == Timeout::User {
            *cx.state += 1;
            if *cx.state > MISSES_MAX {
                cx.send(b"goodbye")?;
                cx.close();
            } else {
                cx.send(b"tick")?;
                cx.set_timer(BEAT);
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let never = Timeouts { first_byte: None, idle: None, ..Timeouts::default() };
    let server =
        Server::builder().timeouts(never).listen("127.0.0.1:9876".parse()?, Line::default(), Heartbeat).build()?;
    std::process::exit(server.run()?.exit_code().into());
}
