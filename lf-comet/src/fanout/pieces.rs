//! Messages joined to bytes for one `send`.

use crate::logins::Login;
use crate::publication::{Encoding, Publication};
use lf_core::Message;
use std::sync::Arc;

/// A recipient's place in a round, and the job that it is a recipient of.
pub(super) type Place = (Login, usize);

/// What a recipient got in a round, for the next one if it gets the same.
pub(super) struct Joined<'a> {
    pub(super) encoding: Encoding,
    pub(super) run: &'a [Place],
    pub(super) pieces: Vec<Piece>,
}

impl Joined<'_> {
    pub(super) fn suits(&self, login: Login, run: &[Place]) -> bool {
        self.encoding == login.encoding
            && self.run.len() == run.len()
            && self.run.iter().zip(run).all(|((_, one), (_, other))| one == other)
    }
}

/// Bytes for one `send`.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Message,
    pub(super) messages: u64,
}

/// The bytes of publications, in pieces of up to `piece_bytes` or of one message.
pub(super) fn join<'a>(
    publications: impl Iterator<Item = &'a Arc<Publication>>,
    encoding: Encoding,
    piece_bytes: usize,
) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let mut single: Option<&Message> = None;
    let mut messages = 0;
    let mut end = |open: &mut Vec<u8>, single: &mut Option<&'a Message>, messages: &mut u64| {
        let bytes = match single.take() {
            Some(bytes) => Message::clone(bytes),
            None if *messages == 0 => return,
            None => Message::from(std::mem::take(open)),
        };
        pieces.push(Piece { bytes, messages: std::mem::take(messages) });
    };
    for publication in publications {
        let bytes = publication.encoded(encoding);
        let joined = single.map_or(open.len(), |first| first.len());
        if messages > 0 && joined + bytes.len() > piece_bytes {
            end(&mut open, &mut single, &mut messages);
        }
        match (messages, single.take()) {
            (0, _) => single = Some(bytes),
            (_, first) => {
                open.extend_from_slice(first.map_or(&[], |first| first));
                open.extend_from_slice(bytes);
            }
        }
        messages += 1;
    }
    end(&mut open, &mut single, &mut messages);
    pieces
}
