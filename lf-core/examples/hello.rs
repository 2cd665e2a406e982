//! A server that greets: `nc localhost 9876`.

use lf_core::codec::{BytesCodec, Line};
use lf_core::{Context, Handler, Outcome, Peer, Server};

/// Answers every line with a greeting.
struct Hello;

impl<C: BytesCodec> Handler<C> for Hello {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, C, ()>, name: &[u8]) -> Outcome {
        let greeting = [b"hello, ", name].concat();
        Ok(cx.send(&greeting)?)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().listen("127.0.0.1:9876".parse()?, Line::default(), Hello).build()?;
    std::process::exit(server.run()?.exit_code().into());
}
