//! The comparison as a person and as a program reads it.

use super::{Round, Series, per_cpu_second};
use crate::account::Use;
use crate::figures::Figure;
use crate::table;
use anyhow::Result;
use serde::Serialize;

#[derive(Serialize)]
struct Report<'a> {
    skipped: &'a [String],
    series: &'a [Series],
    figures: &'a [Figure],
}

pub(super) fn json(skipped: &[String], series: &[Series], figures: &[Figure]) -> Result<String> {
    Ok(serde_json::to_string_pretty(&Report { skipped, series, figures })?)
}

/// A part of the comparison.
pub(super) fn describe(what: &str, all: &[&Series]) -> String {
    let header = [
        "server",
        "driver",
        "requests/s",
        "per CPU second",
        "min-max",
        "CPU us user+sys",
        "switches",
        "p50",
        "p99",
        "p99 min - max",
        "RSS",
        "errors",
    ];
    let mut drawn = table::new(&header);
    for series in all {
        let server = |pick: fn(&Use) -> f64| series.spread(move |round| pick(&round.server)).median;
        let (per_cpu, p99) = (series.spread(per_cpu_second), series.spread(|round| round.p99_us));
        drawn.add_row(vec![
            format!("{}{}", series.label, if series.is_bound_by_client() { " *" } else { "" }),
            series.driver.to_owned(),
            table::number(series.spread(|round| round.requests_per_second).median),
            table::number(per_cpu.median),
            table::range(per_cpu),
            format!("{:.2}+{:.2}", server(|used| used.user_us_per_request), server(|used| used.system_us_per_request)),
            format!("{:.2}", server(|used| used.switches_per_request)),
            table::micros(series.spread(|round| round.p50_us).median),
            table::micros(p99.median),
            format!("{} - {}", table::micros(p99.min), table::micros(p99.max)),
            table::bytes(server(|used| used.rss_bytes as f64)),
            series.errors(),
        ]);
    }
    let mut text = format!("{what}\n{drawn}");
    if all.iter().any(|series| series.is_bound_by_client()) {
        text.push_str(
            "\n* the generator was busier than this server: compare the CPU second, not the requests per second",
        );
    }
    let rounds = || all.iter().flat_map(|series| &series.rounds);
    let disturbed = rounds().filter(|round| round.is_disturbed()).count();
    if disturbed > 0 {
        text.push_str(&format!(
            "\n{disturbed} of {} runs shared the machine with other work: latencies and requests per second suffer from it",
            rounds().count()
        ));
    }
    text
}

impl Series {
    /// Whether the generator was the limit in most rounds.
    fn is_bound_by_client(&self) -> bool {
        2 * self.rounds.iter().filter(|round| round.is_bound_by_client).count() > self.rounds.len()
    }

    /// The first round's that had some.
    fn errors(&self) -> String {
        let has_errors = |round: &&Round| round.errors != "0";
        self.rounds.iter().find(has_errors).map_or_else(|| "0".to_owned(), |round| round.errors.clone())
    }
}
