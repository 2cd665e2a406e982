//! The signals that end a server: `SIGTERM` and `SIGINT`.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Stream;
use std::io;
use std::sync::mpsc::{Receiver, channel};

/// Listens to the signals that end a server: `SIGTERM` and `SIGINT`.
#[derive(Debug)]
pub struct Signals {
    received: Receiver<i32>,
}

impl Signals {
    /// From here on the signals no longer kill the process.
    ///
    /// # Errors
    /// If there is no memory, descriptor or thread for it.
    pub fn listen() -> io::Result<Self> {
        let mut stream = Stream::new([SIGTERM, SIGINT])?;
        let (sender, received) = channel();
        std::thread::Builder::new().name("lf-signals".into()).spawn(move || {
            for signal in stream.forever() {
                if sender.send(signal).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { received })
    }

    /// Waits for the next signal.
    pub(crate) fn wait(&self) -> i32 {
        self.received.recv().unwrap_or(SIGTERM)
    }

    /// A signal that has come meanwhile.
    pub(crate) fn pending(&self) -> Option<i32> {
        self.received.try_recv().ok()
    }
}
