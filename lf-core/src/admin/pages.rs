//! `/status` for people, `/connections` for people and scripts.

use crate::conn::Phase;
use crate::drive;
use crate::shared::Shared;
use crate::stats::{CloseReason, Count, Refusal, Snapshot};
use crate::sys::claim::{Claimed, Notes};
use crate::sys::limits;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Connections that `/connections` lists unless `?limit=N` says otherwise.
const LISTED_DEFAULT: usize = 1000;
/// ... and at most, so that the page fits into the output queue.
const LISTED_MAX: usize = 100_000;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;\
color:#222;background:#fff}h1{font-size:1.4em}h2{font-size:1.1em;margin:1.5em 0 .3em}table{border-collapse:collapse;\
width:100%}td,th{padding:.15em .6em;text-align:left;border-bottom:1px solid #8883}td.n{text-align:right;\
font-variant-numeric:tabular-nums}.bar{background:#4a8;height:.8em;border-radius:2px}.zero{opacity:.45}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181a1b}a{color:#7bd}}";

fn row(page: &mut String, label: &str, help: &str, value: u64) {
    let class = if value == 0 { " class=zero" } else { "" };
    let _ = write!(page, "<tr{class}><td title=\"{help}\">{label}</td><td class=n>{value}</td></tr>");
}

fn table(page: &mut String, title: &str, rows: impl Iterator<Item = (&'static str, &'static str, u64)>) {
    let _ = write!(page, "<h2>{title}</h2><table>");
    for (label, help, value) in rows {
        row(page, label, help, value);
    }
    page.push_str("</table>");
}

/// A page that a browser shows and renews every two seconds.
pub(super) fn status(server: &Shared) -> String {
    let stats = server.snapshot();
    let state = if server.draining.load(Ordering::Relaxed) { "draining" } else { "serving" };
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2><title>{name}</title>\
         <style>{STYLE}</style><h1>{name}: {state}</h1><p>up {up} s, {promotion:?}, {trigger:?}, {rss} MiB resident, \
         <a href=/metrics>metrics</a>, <a href=/connections>connections</a></p>",
        name = server.config.name,
        up = server.uptime().as_secs(),
        promotion = server.config.promotion,
        trigger = server.config.trigger,
        rss = limits::resident_bytes() / (1 << 20),
    );
    groups(&mut page, server, &stats);
    turn_times(&mut page, &stats);
    table(&mut page, "Counts", Count::ALL.iter().map(|count| (count.label(), count.help(), stats.count(*count))));
    table(&mut page, "Closed", CloseReason::ALL.iter().map(|why| (why.label(), why.help(), stats.closed(*why))));
    if server.outgoing_max > 0 {
        let ends = CloseReason::ALL.iter().map(|why| (why.label(), why.help(), stats.outgoing_closed(*why)));
        let title = format!("Outgoing: {} of {}; closed", stats.outgoing(), server.outgoing_max);
        table(&mut page, &title, ends);
    }
    table(&mut page, "Refused", Refusal::ALL.iter().map(|why| (why.label(), why.help(), stats.refused(*why))));
    server.exhibits.iter().for_each(|exhibit| exhibit.status(&mut page));
    page.push_str("</html>");
    page
}

fn bar(page: &mut String, share: f64) {
    let _ = write!(page, "<td style=width:50%><div class=bar style=\"width:{:.1}%\"></div></td>", share * 100.0);
}

fn groups(page: &mut String, server: &Shared, stats: &Snapshot) {
    let _ = write!(
        page,
        "<h2>Connections: {} of {}, {} bytes queued</h2><table><tr><th>group<th>connections<th>workers<th>",
        stats.connections(),
        server.max_connections,
        stats.queued_bytes(),
    );
    let most = stats.group_connections().iter().copied().max().unwrap_or(0).max(1);
    for (group, connections) in server.groups.iter().zip(stats.group_connections()) {
        let workers = group.workers.load(Ordering::Relaxed);
        let _ = write!(page, "<tr><td>{}<td class=n>{connections}<td class=n>{workers}</td>", group.index);
        bar(page, *connections as f64 / most as f64);
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

fn turn_times(page: &mut String, stats: &Snapshot) {
    page.push_str("<h2>Time of a turn</h2><table>");
    let most = stats.turn_times().map(|(_, count)| count).max().unwrap_or(0).max(1);
    for (bound_us, count) in stats.turn_times().filter(|(_, count)| *count > 0) {
        let bound = bound_us.map_or("longer".to_owned(), |us| format!("below {us} us"));
        let _ = write!(page, "<tr><td>{bound}<td class=n>{count}</td>");
        bar(page, count as f64 / most as f64);
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

/// One line a connection: token, peer, group, phase, queued bytes, age in seconds, and whether it is one that the server
/// opened. A connection in a turn shows `busy`.
pub(super) fn connections(server: &Shared, query: &str) -> String {
    let limit = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("limit=")?.parse().ok())
        .unwrap_or(LISTED_DEFAULT)
        .min(LISTED_MAX);
    let total = server.stats.connections.load(Ordering::Relaxed);
    let outgoing = match server.stats.outgoing.load(Ordering::Relaxed) {
        0 => String::new(),
        count => format!(", {count} outgoing"),
    };
    let mut text = format!("# {total} connections{outgoing}\n# token peer group phase queued_bytes age_s\n");
    for token in server.table.tokens().take(limit) {
        match server.table.claim(token, Notes::NONE).1 {
            Claimed::Stale => {}
            Claimed::Noted => {
                let _ = writeln!(text, "{token} - - busy - -");
            }
            Claimed::Owned(owned) => {
                let phase = match owned.phase {
                    Phase::Connecting => "connecting",
                    Phase::Fresh => "fresh",
                    Phase::Open => "open",
                    Phase::Closing(_) => "closing",
                    Phase::Lingering(_) => "lingering",
                };
                let age_s = owned.age_s(server.now_ms());
                let (peer, group, queued) = (owned.peer, owned.group, owned.queued_bytes());
                let kind = match (owned.outgoing, owned.fd().is_some()) {
                    (false, _) => "",
                    (true, true) => " outgoing",
                    (true, false) => " task",
                };
                drive::put_back(server, owned, token, Notes::NONE);
                let _ = writeln!(text, "{token} {peer} {group} {phase} {queued} {age_s}{kind}");
            }
        }
    }
    let shown = server.table.tokens().take(limit + 1).count();
    if shown > limit {
        let _ = writeln!(text, "# the first {limit}; ?limit=N shows more");
    }
    text
}
