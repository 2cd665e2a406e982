//! A handler that blocks: it counts the words of a file, and nobody else waits for its disk.

use lf_core::codec::Line;
use lf_core::{Context, Handler, Outcome, Peer, Server};

/// Answers the path of a file with its number of words.
struct CountWords;

impl Handler<Line> for CountWords {
    type State = ();

    fn open(&self, _peer: &Peer) {}

    fn frame(&self, cx: &mut Context<'_, Line, ()>, path: &[u8]) -> Outcome {
        let path = String::from_utf8_lossy(path).into_owned();
        // Another worker takes over the group's events before the closure runs. Without this call the server would find
        // out by itself, a millisecond or two later.
        let text = cx.blocking(|| std::fs::read_to_string(&path));
        let answer = match text {
            Ok(text) => text.split_whitespace().count().to_string(),
            Err(error) => error.to_string(),
        };
        Ok(cx.send(answer.as_bytes())?)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder()
        .workers(4)
        .workers_max(64)
        .listen("127.0.0.1:9876".parse()?, Line::default(), CountWords)
        .build()?;
    std::process::exit(server.run()?.exit_code().into());
}
