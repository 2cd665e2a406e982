//! Results as a person reads them in a terminal.

use crate::flood::FloodOutcome;
use crate::footprint::Memory;
use crate::load::{Latency, Outcome};
use crate::stats::Spread;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

/// Width of a drawn bar, in characters.
const BAR_CHARACTERS: usize = 16;
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// An empty table in the house's manner: the first column to the left, figures to the right.
pub(crate) fn new(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `152,340`; two digits behind the point below 10.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    grouped(&format!("{value:.0}"))
}

/// `15,000`, and `50` without a point.
pub(crate) fn whole(count: usize) -> String {
    grouped(&count.to_string())
}

fn grouped(digits: &str) -> String {
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let rest = digits.len() - index;
        if index > 0 && rest.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `148k-155k`.
pub(crate) fn range(spread: Spread) -> String {
    format!("{}-{}", short_number(spread.min), short_number(spread.max))
}

fn short_number(value: f64) -> String {
    match value {
        large if large >= 9_999_500.0 => format!("{:.0}M", large / 1e6),
        large if large >= 999_500.0 => format!("{:.2}M", large / 1e6),
        large if large >= 9_950.0 => format!("{:.0}k", large / 1e3),
        large if large >= 995.0 => format!("{:.1}k", large / 1e3),
        _ => number(value),
    }
}

/// Microseconds with a unit that keeps them short.
pub(crate) fn micros(value: f64) -> String {
    if value >= 1e6 {
        return format!("{:.2} s", value / 1e6);
    }
    if value >= 1e3 { format!("{:.2} ms", value / 1e3) } else { format!("{value:.0} us") }
}

/// Bytes with a binary unit.
pub(crate) fn bytes(value: f64) -> String {
    match value.abs() {
        size if size >= 1024.0 * 1024.0 * 1024.0 => format!("{:.2} GiB", value / (1024.0 * 1024.0 * 1024.0)),
        size if size >= 1024.0 * 1024.0 => format!("{:.1} MiB", value / (1024.0 * 1024.0)),
        size if size >= 10.0 * 1024.0 => format!("{:.1} KiB", value / 1024.0),
        _ => format!("{value:.0} B"),
    }
}

/// A horizontal bar: `value` of `most`.
pub(crate) fn bar(value: f64, most: f64) -> String {
    if most <= 0.0 || !value.is_finite() {
        return String::new();
    }
    let eighths = eighths_of(value / most);
    let mut drawn = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        drawn.push(EIGHTHS[eighths % 8]);
    }
    drawn
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1 before")]
fn eighths_of(share: f64) -> usize {
    const ALL: f64 = (BAR_CHARACTERS * 8) as f64;
    (share.clamp(0.0, 1.0) * ALL).round() as usize
}

/// One run.
pub(crate) fn of_outcome(outcome: &Outcome) -> String {
    let mut table = new(&[outcome.mode, "requests/s", "mean", "p50", "p90", "p99", "p99.9", "max"]);
    let row = |name: &str, rate: f64, latency: &Latency| {
        vec![
            name.to_owned(),
            number(rate),
            micros(latency.mean_us),
            micros(latency.p50_us),
            micros(latency.p90_us),
            micros(latency.p99_us),
            micros(latency.p999_us),
            micros(latency.max_us),
        ]
    };
    table.add_row(row("normal", outcome.requests_per_second, &outcome.latency));
    if let Some(slow) = &outcome.slow_latency {
        table.add_row(row("slow", outcome.slow_requests_per_second, slow));
    }
    let mut text = format!(
        "{} on {}: {} connections, {} bytes, depth {}, {:.2} s\n{table}\nerrors: {}\ngenerator: busiest thread {:.0} % of a core, {:.2} us CPU per request",
        outcome.mode,
        outcome.target,
        outcome.connections,
        outcome.size,
        outcome.depth,
        outcome.seconds,
        outcome.errors.describe(),
        outcome.client.busy_max * 100.0,
        outcome.client.cpu_us_per_request,
    );
    if let Some(server) = &outcome.server {
        text.push_str(&format!(
            "\nserver: {} requests per CPU second, {:.2} us CPU per request ({:.2} user, {:.2} system), \
             {:.2} context switches per request, {:.2} cores, RSS {}, {} threads",
            number(server.requests_per_cpu_second),
            server.cpu_us_per_request,
            server.user_us_per_request,
            server.system_us_per_request,
            server.switches_per_request,
            server.cores,
            bytes(server.rss_bytes as f64),
            server.threads,
        ));
    }
    for warning in outcome.warnings() {
        text.push_str("\nwarning: ");
        text.push_str(&warning);
    }
    text
}

/// A flood.
pub(crate) fn of_flood(flood: &FloodOutcome, has_pid: bool) -> String {
    let mut table =
        new(&["memory", "server RSS", "RSS per connection", "kernel slab per connection (both ends on loopback)"]);
    let mut add = |name: &str, memory: &Memory| {
        let (rss, each) = match has_pid {
            true => (bytes(memory.rss_bytes as f64), bytes(memory.rss_bytes_per_connection)),
            false => ("give --server-pid".to_owned(), "-".to_owned()),
        };
        table.add_row(vec![name.to_owned(), rss, each, bytes(memory.slab_bytes_per_connection)]);
    };
    add("idle", &flood.idle);
    if let Some(touched) = &flood.touched {
        add("after one message each", touched);
    }
    if let Some(broadcast) = &flood.broadcast {
        add("after one message each", &broadcast.memory);
    }
    let echoed = if flood.touched.is_some() { format!(", {} echoed one message", flood.echoed) } else { String::new() };
    let received = flood.broadcast.as_ref().map_or_else(String::new, |broadcast| {
        let error = broadcast.first_error.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
        format!(
            ", {} received their message in {:.2} s, {} were refused{error}",
            whole(broadcast.received),
            broadcast.seconds,
            broadcast.refused
        )
    });
    format!(
        "flood on {}: {} connections in {:.2} s, {} per second; {} alive after the hold{echoed}{received}\n{table}\nerrors: {}",
        flood.target,
        whole(flood.connections),
        flood.seconds,
        number(flood.connections_per_second),
        flood.alive,
        flood.errors.describe()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_short() {
        assert_eq!(
            ["5.25", "12.3", "999", "1,234", "1,234,567"].map(str::to_owned),
            [5.25, 12.34, 999.4, 1234.0, 1_234_567.0].map(number)
        );
        assert_eq!(number(-1234.0), "-1,234");
    }

    #[test]
    fn a_bar_grows_with_its_value_and_never_past_its_end() {
        assert_eq!(bar(1.0, 1.0).chars().count(), BAR_CHARACTERS);
        assert_eq!(bar(2.0, 1.0), bar(1.0, 1.0));
        assert_eq!(bar(0.5, 1.0).chars().count(), BAR_CHARACTERS / 2);
        assert_eq!(bar(1.0, 0.0), "");
    }
}
