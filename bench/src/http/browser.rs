//! The dialect of HTTP/1.1: several requests ahead, answers in their order, connections that may end with one.

use super::requests::Requests;
use crate::load::{Answer, Class, Dialect, Fault};
use crate::random::Random;
use crate::wire::{Content, Piece, Reader};
use std::collections::VecDeque;
use std::sync::Arc;

/// A thread's side of the conversation.
pub(crate) struct Browser {
    requests: Arc<Requests>,
    random: Random,
    /// What the first wrong answer was.
    pub(crate) first_wrong: Option<String>,
}

/// A connection: the answer that is being read, and the pages that are still unanswered.
pub(crate) struct Visit {
    reader: Reader,
    asked: VecDeque<usize>,
}

impl Browser {
    pub(crate) fn new(requests: Arc<Requests>, seed: u64) -> Self {
        Browser { requests, random: Random::new(seed), first_wrong: None }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.first_wrong.get_or_insert_with(what);
    }

    /// An answer, if it is a final one, is that to the oldest request.
    fn judge(&mut self, asked: &mut VecDeque<usize>, status: u16, body: &[u8], is_last: bool) -> Judged {
        if (100..200).contains(&status) {
            return Judged::Interim;
        }
        let Some(page) = asked.pop_front() else {
            self.note(|| format!("an answer with status {status} came that nobody had asked for"));
            return Judged::Unasked;
        };
        let fault = self.requests.expected.fault(status, body);
        if fault.is_some() {
            let Requests { method, pages, .. } = &*self.requests;
            let what = || format!("{method} {}: status {status}, a body of {} bytes", pages[page].path, body.len());
            self.first_wrong.get_or_insert_with(what);
        }
        Judged::Answer(Answer { kind: page, fault, is_last })
    }
}

enum Judged {
    /// Something before the answer: `100 Continue` and its kin.
    Interim,
    Unasked,
    Answer(Answer),
}

impl Dialect for Browser {
    type Talk = Visit;

    fn kinds(&self) -> usize {
        self.requests.pages.len()
    }

    fn unasked(&mut self) -> usize {
        self.requests.choose(&mut self.random)
    }

    fn begin(&mut self, _class: Class, _serial: u64) -> Visit {
        let reader = if self.requests.is_head() { Reader::of_heads() } else { Reader::new(Content::Bodies) };
        Visit { reader, asked: VecDeque::new() }
    }

    fn ask(&mut self, talk: &mut Visit, out: &mut Vec<u8>) -> bool {
        let page = self.requests.choose(&mut self.random);
        out.extend_from_slice(self.requests.bytes(page));
        talk.asked.push_back(page);
        true
    }

    fn hear(&mut self, talk: &mut Visit, bytes: &[u8], each: &mut impl FnMut(Answer)) -> Result<(), Fault> {
        let Visit { reader, asked } = talk;
        let mut unasked = false;
        let read = reader.push(bytes, |piece| {
            let Piece::Answer { status, body, closes, .. } = piece else { return };
            match self.judge(asked, status, body, closes) {
                Judged::Interim => {}
                Judged::Unasked => unasked = true,
                Judged::Answer(answer) => each(answer),
            }
        });
        if let Err(broken) = read {
            self.note(|| broken.to_string());
            return Err(Fault::Malformed);
        }
        if unasked { Err(Fault::Mismatch) } else { Ok(()) }
    }

    fn hear_end(&mut self, talk: &mut Visit, each: &mut impl FnMut(Answer)) -> Result<(), Fault> {
        let Visit { reader, asked } = talk;
        reader.end(|piece| {
            if let Piece::Answer { status, body, .. } = piece
                && let Judged::Answer(answer) = self.judge(asked, status, body, true)
            {
                each(answer);
            }
        });
        if asked.is_empty() { Ok(()) } else { Err(Fault::Closed) }
    }
}
