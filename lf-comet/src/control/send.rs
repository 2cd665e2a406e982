//! Messages come in.

use super::lines::{Lines, TooLong};
use super::{Control, Cx, JSON, NDJSON, ROOM_PATIENCE, refuse};
use crate::hub::Destination;
use crate::names::parse_id;
use crate::refusal::refusal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lf_core::Sender;
use lf_core::codec::http::Request;
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;

/// What is around a body in a line: names, an id, a time.
const LINE_BYTES_EXTRA: usize = 1024;
/// An audience from which on looking it up is announced as blocking.
const BIG_AUDIENCE: usize = 8192;
/// Answers that go out together.
const ANSWER_BYTES: usize = 16 * 1024;

/// A body with a message a line.
#[derive(Debug)]
pub(super) struct Batch {
    lines: Lines,
    summary: bool,
    messages: u64,
    delivered: u64,
    errors: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    send: Option<Cow<'a, str>>,
    #[serde(borrow)]
    direct: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body64: Option<Cow<'a, str>>,
    /// Seconds for which it is remembered.
    ttl: Option<f64>,
}

impl Control {
    /// Publishes one message; says why if that cannot be done.
    fn publish(
        &self,
        cx: &mut Cx<'_>,
        to: Destination<'_>,
        body: Vec<u8>,
        ttl: Option<Duration>,
        sender: &mut Option<Sender>,
    ) -> Result<usize, &'static str> {
        if self.hub.is_full() && !cx.blocking(|| self.hub.wait_for_room(ROOM_PATIENCE)) {
            return Err(OVERLOADED);
        }
        let body = body.into();
        let delivered = if self.hub.audience_may_exceed(to, BIG_AUDIENCE) {
            cx.blocking(|| self.hub.publish(to, body, ttl, sender))
        } else {
            self.hub.publish(to, body, ttl, sender)
        };
        delivered.ok_or(STOPPING)
    }

    pub(super) fn send_one(&self, cx: &mut Cx<'_>, to: Destination<'_>, body: Vec<u8>) {
        cx.cancel_timer();
        match self.publish(cx, to, body, None, &mut None) {
            Ok(delivered) => cx.respond(200, &[JSON], format!("{{\"delivered\":{delivered}}}\n").as_bytes()),
            Err(why) => refuse(cx, &refusal(503, format!("{why}\n"))),
        }
    }

    pub(super) fn begin_batch(&self, cx: &mut Cx<'_>, request: &Request<'_>) -> Batch {
        let summary = request.query_value("summary").is_some_and(|value| value != "0");
        if !summary {
            cx.accept_body();
            cx.start(200, &[NDJSON]);
        }
        // Escaped or in base64, a body is longer than it is.
        let bytes_max = self.options.message_bytes.saturating_mul(6).saturating_add(LINE_BYTES_EXTRA);
        Batch { lines: Lines::new(bytes_max), summary, messages: 0, delivered: 0, errors: 0 }
    }

    /// Publishes the lines that are whole now, and answers each of them.
    pub(super) fn feed_batch(&self, cx: &mut Cx<'_>, batch: &mut Batch, bytes: &[u8], last: bool) {
        let Batch { lines, summary, messages, delivered, errors } = batch;
        let mut sender = None;
        let mut answers = String::new();
        let fed = lines.feed(bytes, last, |_, line| {
            let outcome = self.publish_line(cx, line, &mut sender);
            *messages += 1;
            match &outcome {
                Ok(count) => *delivered += *count as u64,
                Err(_) => *errors += 1,
            }
            if !*summary {
                answer_line(&mut answers, &outcome);
                if answers.len() >= ANSWER_BYTES {
                    cx.chunk(answers.as_bytes());
                    answers.clear();
                }
            }
            Ok::<_, TooLong>(())
        });
        if let Err(TooLong { number }) = fed {
            let limit = self.options.message_bytes;
            let text = format!("line {number} is too long: a message has at most {limit} bytes, see --message-bytes");
            return Self::abandon_batch(cx, *summary, answers, &text);
        }
        if !*summary {
            cx.chunk(answers.as_bytes());
            if last {
                cx.finish();
            }
        } else if last {
            let text = format!("{{\"messages\":{messages},\"delivered\":{delivered},\"errors\":{errors}}}\n");
            cx.respond(200, &[JSON], text.as_bytes());
        }
    }

    /// Where the next line begins cannot be told any more.
    fn abandon_batch(cx: &mut Cx<'_>, summary: bool, mut answers: String, text: &str) {
        if summary {
            return refuse(cx, &refusal(413, format!("{text}\n")));
        }
        answer_line(&mut answers, &Err(Cow::Borrowed(text)));
        cx.chunk(answers.as_bytes());
        cx.finish();
        cx.close();
    }

    fn publish_line(
        &self,
        cx: &mut Cx<'_>,
        line: &[u8],
        sender: &mut Option<Sender>,
    ) -> Result<usize, Cow<'static, str>> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| format!("no message: {error}"))?;
        let (id, direct) = match (&line.send, &line.direct) {
            (Some(id), None) => (id, false),
            (None, Some(id)) => (id, true),
            _ => return Err("give one of send and direct".into()),
        };
        let id = parse_id(id.as_bytes()).map_err(|error| error.to_string())?;
        let body = match (&line.body, &line.body64) {
            (Some(body), None) => body.as_bytes().to_vec(),
            (None, Some(body)) => BASE64.decode(body.as_bytes()).map_err(|error| format!("body64: {error}"))?,
            _ => return Err("give one of body and body64".into()),
        };
        let limit = self.options.message_bytes;
        if body.len() > limit {
            return Err(format!("{} bytes are over the limit of {limit}, see --message-bytes", body.len()).into());
        }
        let ttl = line.ttl.map(Duration::try_from_secs_f64).transpose().map_err(|error| format!("ttl: {error}"))?;
        Ok(self.publish(cx, Destination { id, direct }, body, ttl, sender)?)
    }
}

const OVERLOADED: &str = "too much is on its way to subscribers: try again later";
const STOPPING: &str = "the server stops: nothing is published any more";

fn answer_line(answers: &mut String, outcome: &Result<usize, Cow<'_, str>>) {
    let line = match outcome {
        Ok(delivered) => serde_json::json!({ "delivered": delivered }),
        Err(error) => serde_json::json!({ "error": error }),
    };
    answers.push_str(&line.to_string());
    answers.push('\n');
}
