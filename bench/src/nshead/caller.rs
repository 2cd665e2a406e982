//! The dialect of nshead: requests that carry a `log_id`, and answers that must carry it back.

use super::BODY_BYTES_MAX;
use super::recording::{Capture, Recording};
use crate::load::{Answer, Class, Dialect, Fault, Payload};
use crate::wire::nshead::{HEADER_BYTES, Header, wrong_magic};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Where requests come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// One frame, whose body carries its `log_id`.
    Generated(Payload),
    /// A file's frames, each once over all connections, or again and again.
    Recorded { recording: Arc<Recording>, next: Arc<AtomicUsize>, repeats: bool },
}

/// What the answers of a thread were like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) asked: usize,
    pub(crate) wrong_log_id: u64,
    pub(crate) wrong_body: u64,
    /// What the first wrong answer was.
    pub(crate) first_wrong: Option<String>,
}

/// A thread's side of the conversation.
pub(crate) struct Caller {
    source: Source,
    /// Bodies come back as they were sent.
    expects_echo: bool,
    capture: Option<Arc<Capture>>,
    /// The `log_id` of the next generated request: no two of a run are the same.
    log_id: u32,
    log_id_step: u32,
    pub(crate) findings: Findings,
}

/// A request that waits for its answer.
struct Expected {
    log_id: u32,
    /// Of a recorded one.
    frame: usize,
}

/// A connection: what is unanswered, and the beginning of the next answer.
#[derive(Default)]
pub(crate) struct Call {
    asked: VecDeque<Expected>,
    unfinished: Vec<u8>,
}

impl Caller {
    /// For thread `index` of `threads`.
    pub(crate) fn new(
        source: Source,
        expects_echo: bool,
        capture: Option<Arc<Capture>>,
        index: u32,
        threads: u32,
    ) -> Self {
        let findings = Findings::default();
        Caller { source, expects_echo, capture, log_id: index, log_id_step: threads, findings }
    }

    /// Takes whole answers off the front; how many bytes they are.
    fn take(&mut self, talk: &mut Call, bytes: &[u8], each: &mut impl FnMut(Answer)) -> Result<usize, Fault> {
        let mut at = 0;
        while let Some((header, rest)) = bytes[at..].split_first_chunk::<HEADER_BYTES>() {
            let header = match Header::parse(header) {
                Ok(header) if header.body_len as usize <= BODY_BYTES_MAX => header,
                Ok(header) => return Err(self.malformed(format!("a body of {} bytes is declared", header.body_len))),
                Err(found) => return Err(self.malformed(wrong_magic(found))),
            };
            let Some(body) = rest.get(..header.body_len as usize) else { break };
            let Some(expected) = talk.asked.pop_front() else {
                self.note(|| format!("an answer with log_id {} came that nobody had asked for", header.log_id));
                return Err(Fault::Mismatch);
            };
            at += HEADER_BYTES + body.len();
            let fault = self.verify(&expected, &header, body).then_some(Fault::Mismatch);
            each(Answer { fault, ..Answer::RIGHT });
        }
        Ok(at)
    }

    /// Whether the answer is wrong.
    fn verify(&mut self, expected: &Expected, header: &Header, body: &[u8]) -> bool {
        if header.log_id != expected.log_id {
            self.findings.wrong_log_id += 1;
            self.note(|| format!("log_id {} came where {} was asked for", header.log_id, expected.log_id));
            return true;
        }
        if !self.expects_echo {
            return false;
        }
        let sent = match &mut self.source {
            Source::Generated(payload) => &payload.stamped(u64::from(expected.log_id))[HEADER_BYTES..],
            Source::Recorded { recording, .. } => recording.body(expected.frame),
        };
        if sent == body {
            return false;
        }
        let (sent_bytes, same) = (sent.len(), sent.iter().zip(body).take_while(|(a, b)| a == b).count());
        self.findings.wrong_body += 1;
        self.note(|| {
            format!(
                "log_id {}: of a body of {sent_bytes} bytes, {} came back, and only the first {same} are the same",
                header.log_id,
                body.len()
            )
        });
        true
    }

    fn malformed(&mut self, why: String) -> Fault {
        self.note(|| why);
        Fault::Malformed
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.findings.first_wrong.get_or_insert_with(what);
    }
}

impl Dialect for Caller {
    type Talk = Call;

    fn begin(&mut self, _class: Class, _serial: u64) -> Call {
        Call::default()
    }

    fn ask(&mut self, talk: &mut Call, out: &mut Vec<u8>) -> bool {
        let from = out.len();
        let expected = match &mut self.source {
            Source::Generated(payload) => {
                let log_id = self.log_id;
                self.log_id = log_id.wrapping_add(self.log_id_step);
                out.extend_from_slice(payload.stamped(u64::from(log_id)));
                out[from + 4..from + 8].copy_from_slice(&log_id.to_le_bytes());
                Expected { log_id, frame: 0 }
            }
            Source::Recorded { recording, next, repeats } => {
                let number = next.fetch_add(1, Relaxed);
                if number >= recording.len() && !*repeats {
                    return false;
                }
                let frame = number % recording.len();
                let (bytes, log_id) = recording.frame(frame);
                out.extend_from_slice(bytes);
                Expected { log_id, frame }
            }
        };
        talk.asked.push_back(expected);
        self.findings.asked += 1;
        if let Some(capture) = &self.capture {
            capture.write(&out[from..]);
        }
        true
    }

    fn hear(&mut self, talk: &mut Call, bytes: &[u8], each: &mut impl FnMut(Answer)) -> Result<(), Fault> {
        if talk.unfinished.is_empty() {
            let used = self.take(talk, bytes, each)?;
            talk.unfinished.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut talk.unfinished);
        all.extend_from_slice(bytes);
        let used = self.take(talk, &all, each)?;
        all.drain(..used);
        talk.unfinished = all;
        Ok(())
    }

    fn hear_end(&mut self, talk: &mut Call, _each: &mut impl FnMut(Answer)) -> Result<(), Fault> {
        if talk.asked.is_empty() && talk.unfinished.is_empty() { Ok(()) } else { Err(Fault::Closed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(body: usize) -> Caller {
        let payload = Payload::nshead(Header { id: 3, ..Header::default() }, body).unwrap();
        Caller::new(Source::Generated(payload), true, None, 1, 2)
    }

    /// What is heard when `change` has been at the bytes that were asked, in pieces of `size` bytes.
    fn echoed(caller: &mut Caller, size: usize, change: impl Fn(&mut Vec<u8>)) -> Vec<Result<Option<Fault>, Fault>> {
        let (mut talk, mut bytes, mut heard) = (Call::default(), Vec::new(), Vec::new());
        for _ in 0..3 {
            assert!(caller.ask(&mut talk, &mut bytes));
        }
        change(&mut bytes);
        for part in bytes.chunks(size) {
            if let Err(fault) = caller.hear(&mut talk, part, &mut |answer| heard.push(Ok(answer.fault))) {
                heard.push(Err(fault));
                break;
            }
        }
        heard
    }

    #[test]
    fn echoes_are_right_however_they_are_cut() {
        for size in 1..=3 * (HEADER_BYTES + 20) {
            let mut caller = caller(20);
            assert_eq!(echoed(&mut caller, size, |_| {}), vec![Ok(None); 3], "in pieces of {size}");
            assert_eq!((caller.findings.asked, caller.findings.first_wrong), (3, None));
        }
    }

    #[test]
    fn bodies_may_be_empty() {
        assert_eq!(echoed(&mut caller(0), 7, |_| {}), vec![Ok(None); 3]);
    }

    #[test]
    fn a_wrong_log_id_and_a_wrong_body_are_counted_apart_and_the_first_is_described() {
        let mut caller = caller(20);
        let heard = echoed(&mut caller, 1000, |bytes| {
            bytes[4] ^= 0x10;
            bytes[2 * (HEADER_BYTES + 20) + HEADER_BYTES + 5] ^= 1;
        });
        assert_eq!(heard, [Ok(Some(Fault::Mismatch)), Ok(None), Ok(Some(Fault::Mismatch))]);
        assert_eq!((caller.findings.wrong_log_id, caller.findings.wrong_body), (1, 1));
        assert_eq!(caller.findings.first_wrong.as_deref(), Some("log_id 17 came where 1 was asked for"));
    }

    #[test]
    fn another_magic_number_or_an_answer_too_many_ends_the_connection() {
        let heard = echoed(&mut caller(20), 1000, |bytes| bytes[24] = 0);
        assert_eq!(heard, [Err(Fault::Malformed)]);
        let heard = echoed(&mut caller(20), 1000, |bytes| bytes.extend_from_within(..HEADER_BYTES + 20));
        assert_eq!(heard, [Ok(None), Ok(None), Ok(None), Err(Fault::Mismatch)]);
    }
}
