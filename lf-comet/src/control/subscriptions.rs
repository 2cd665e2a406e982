//! Who follows whom, changed and listed.

use super::lines::{Lines, TooLong};
use super::{Control, Cx, JSON};
use crate::names::parse_id;
use crate::refusal::{Refusal, refusal};
use lf_core::codec::http::Request;
use serde::Deserialize;
use std::borrow::Cow;

/// Two ids and what is around them.
const LINE_BYTES_MAX: usize = 1024;
/// Subscriptions that are written at a time.
const PAIRS_MAX: usize = 1 << 16;
/// Ids on a page of a list, unless `limit` says otherwise, and at most.
const LISTED_DEFAULT: usize = 1000;
const LISTED_MAX: usize = 100_000;

/// A body with a subscription a line.
#[derive(Debug)]
pub(super) struct Edit {
    lines: Lines,
    adds: bool,
    pairs: Vec<(String, String)>,
    changed: u64,
    unchanged: u64,
}

impl Edit {
    pub(super) fn new(adds: bool) -> Self {
        Self { lines: Lines::new(LINE_BYTES_MAX), adds, pairs: Vec::new(), changed: 0, unchanged: 0 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    subscriber: Cow<'a, str>,
    #[serde(borrow)]
    subscribee: Cow<'a, str>,
}

impl From<TooLong> for Refusal {
    fn from(TooLong { number }: TooLong) -> Self {
        refusal(400, format!("line {number} has more than {LINE_BYTES_MAX} bytes\n"))
    }
}

/// `subscriber subscribee`, or the same in JSON.
fn read_pair(number: u64, line: &[u8]) -> Result<(String, String), Refusal> {
    let wrong = |what: &dyn std::fmt::Display| refusal(400, format!("line {number}: {what}\n"));
    let (subscriber, subscribee) = if line.first() == Some(&b'{') {
        let Line { subscriber, subscribee } = serde_json::from_slice(line).map_err(|error| wrong(&error))?;
        (subscriber, subscribee)
    } else {
        let text = std::str::from_utf8(line).map_err(|error| wrong(&error))?;
        let mut ids = text.split_ascii_whitespace();
        match (ids.next(), ids.next(), ids.next()) {
            (Some(subscriber), Some(subscribee), None) => (subscriber.into(), subscribee.into()),
            _ => return Err(wrong(&"give two ids: subscriber subscribee")),
        }
    };
    for id in [&subscriber, &subscribee] {
        parse_id(id.as_bytes()).map_err(|error| wrong(&error))?;
    }
    Ok((subscriber.into_owned(), subscribee.into_owned()))
}

impl Control {
    /// Takes lines in; writes them once there are many, and at the end.
    pub(super) fn feed_edit(&self, cx: &mut Cx<'_>, edit: &mut Edit, bytes: &[u8], last: bool) -> Result<(), Refusal> {
        let pairs = &mut edit.pairs;
        let read = edit.lines.feed(bytes, last, |number, line| {
            pairs.push(read_pair(number, line)?);
            Ok::<_, Refusal>(())
        });
        // What came before a line that is wrong is not half done: it is written, and said.
        if edit.pairs.len() >= PAIRS_MAX || last || read.is_err() {
            self.write(cx, edit)?;
        }
        let (done, not) = if edit.adds { ("added", "known") } else { ("removed", "unknown") };
        let (changed, unchanged) = (edit.changed, edit.unchanged);
        if let Err(refused) = read {
            return Err(refused.with(&format!("the lines before it were {done}: {changed}, {not}: {unchanged}\n")));
        }
        if last {
            cx.respond(200, &[JSON], format!("{{\"{done}\":{changed},\"{not}\":{unchanged}}}\n").as_bytes());
        }
        Ok(())
    }

    fn write(&self, cx: &mut Cx<'_>, edit: &mut Edit) -> Result<(), Refusal> {
        let pairs = std::mem::take(&mut edit.pairs);
        if pairs.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = pairs.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
        let subscriptions = self.hub.subscriptions();
        let adds = edit.adds;
        let outcome = cx.blocking(|| if adds { subscriptions.add(&pairs) } else { subscriptions.remove(&pairs) });
        let changes = outcome.map_err(|error| {
            tracing::error!(%error, "subscriptions cannot be written");
            refusal(500, format!("the subscriptions cannot be written: {error}\n"))
        })?;
        edit.changed += changes.changed;
        edit.unchanged += changes.known;
        Ok(())
    }

    /// `/subscribers/{id}` and `/subscriptions/{id}`.
    pub(super) fn list_subscriptions(
        &self,
        cx: &mut Cx<'_>,
        request: &Request<'_>,
        id: &str,
        subscribers: bool,
    ) -> Result<(), Refusal> {
        // The names that are found are those of the numbers that were found.
        let _pin = self.hub.names().pin();
        let number = self.hub.names().number(id);
        let subscriptions = self.hub.subscriptions();
        let count = number.map_or(0, |number| {
            if subscribers { subscriptions.subscriber_count(number) } else { subscriptions.source_count(number) }
        });
        if request.query_value("count").is_some_and(|value| value != "0") {
            cx.respond(200, &[JSON], format!("{}\n", serde_json::json!({ "id": id, "count": count })).as_bytes());
            return Ok(());
        }
        let limit = read_number(request, "limit")?.unwrap_or(LISTED_DEFAULT).clamp(1, LISTED_MAX);
        let after = read_number(request, "after")?;
        let mut found = Vec::new();
        if let Some(number) = number {
            if subscribers {
                subscriptions.subscribers(number, after, limit, &mut found);
            } else {
                subscriptions.sources(number, after, limit, &mut found);
            }
        }
        let next = found.last().filter(|_| found.len() == limit).map(ToString::to_string);
        let ids: Vec<_> = found.iter().filter_map(|number| self.hub.names().name(*number)).collect();
        let page = serde_json::json!({ "id": id, "count": count, "ids": ids, "next": next });
        cx.respond(200, &[JSON], format!("{page}\n").as_bytes());
        Ok(())
    }
}

/// A number in the query.
pub(super) fn read_number<T: std::str::FromStr>(request: &Request<'_>, name: &str) -> Result<Option<T>, Refusal> {
    request
        .query_value(name)
        .filter(|value| !value.is_empty())
        .map(|value| value.parse().map_err(|_| refusal(400, format!("{name}={value}: give a whole number\n"))))
        .transpose()
}
