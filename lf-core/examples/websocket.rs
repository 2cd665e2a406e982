//! A WebSocket server that echoes: `websocat ws://localhost:9876/`. Another address may be its argument.

use lf_core::codec::Http;
use lf_core::codec::http::{Incoming, Limits};
use lf_core::codec::websocket::{self, Kind};
use lf_core::{Address, Builder, Context, Handler, Outcome, OutputLimits, Peer, Server};

/// A message at most, in bytes.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

struct Echo;

impl Handler<Http> for Echo {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, Http, ()>, frame: Incoming<'_>) -> Outcome {
        match frame {
            Incoming::Request(request) => {
                // If it asks for something else, it has been told so.
                let _ = cx.upgrade(&request, &[]);
            }
            Incoming::Body { .. } => {}
            Incoming::Socket(event) => match cx.take_event(event) {
                Some((Kind::Text, payload)) => cx.send_text(std::str::from_utf8(&payload)?),
                Some((Kind::Binary, payload)) => cx.send_binary(&payload),
                None => {}
            },
        }
        Ok(())
    }
}

pub(crate) fn server(address: Address) -> Builder {
    let mut limits = websocket::Limits::new(MESSAGE_BYTES_MAX);
    // Whoever tests a protocol sends pings by the dozen.
    limits.control = websocket::ControlRate { burst: 10_000, per_s: 10_000 };
    let output = OutputLimits { max: 4 * MESSAGE_BYTES_MAX, ..OutputLimits::default() };
    let codec = Http::new(Limits::default()).websocket(limits);
    Server::builder().output_limits(output).listen(address, codec, Echo)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".into());
    std::process::exit(server(address.parse()?).build()?.run()?.exit_code().into());
}
