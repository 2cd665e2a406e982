//! The tour as one page that needs no network: text, tables and drawings inlined.

mod plot;
mod time;

pub(crate) use time::{Chart, Line, over_time};

use crate::compare::{Series, disturbance, per_cpu_second};
use crate::load::Outcome;
use crate::stats::Spread;
use crate::table;
use crate::tour::{Findings, Stop};
use anyhow::{Context, Result};
use plot::{Bar, Curve};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const STYLE: &str = include_str!("style.css");

/// Writes `index.html` into `directory`, which is made if need be; gives its path.
pub(crate) fn write(findings: &Findings, directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)
        .with_context(|| format!("report directory {}: cannot be made; give another --report", directory.display()))?;
    let path = directory.join("index.html");
    fs::write(&path, page(findings)?).with_context(|| format!("report {}", path.display()))?;
    Ok(path)
}

fn page(findings: &Findings) -> Result<String> {
    let mut body = String::new();
    for stop in &findings.stops {
        body.push_str(&section(stop, &findings.baseline)?);
    }
    body.push_str(&memory(findings)?);
    let machine = &findings.machine;
    let facts = [
        ("machine", format!("{} x {}, {}", machine.cpus, machine.cpu, table::bytes(machine.memory_bytes as f64))),
        ("kernel", machine.kernel.clone()),
        ("date", machine.date.clone()),
        ("command", machine.command.clone()),
        ("versions", machine.versions.join(", ")),
    ];
    let facts: String = facts.iter().map(|(name, fact)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(fact))).collect();
    let skipped: String = findings.skipped.iter().map(|why| format!("<p class=note>{}</p>", escaped(why))).collect();
    Ok(format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n\
         <title>lf-bench</title>\n<style>\n{STYLE}</style>\n<main>\n<header>\n<h1>lf-bench</h1>\n\
         <p>{}</p>\n<dl>{facts}</dl>\n</header>\n{body}{skipped}\
         <footer>Bars are medians over the rounds, whiskers the least and the greatest round. Generator and server share this machine's CPUs. \
         Requests per CPU second is what a server could answer with one whole core to itself.</footer>\n</main>\n</html>\n",
        headline(findings)
    ))
}

/// The requests per CPU second as a drawing of its own.
pub(crate) fn drawing(series: &[Series]) -> Result<String> {
    bars_alone(bars(series, per_cpu_second).into_iter().map(|bar| (bar.name, bar.value)))
}

/// Bars as a drawing of its own, in a grey that can be read on white and on black.
pub(crate) fn bars_alone(bars: impl Iterator<Item = (String, Spread)>) -> Result<String> {
    let bars: Vec<Bar> = bars.map(|(name, value)| Bar { name, value }).collect();
    let bars = plot::bars(&bars, table::number)?;
    Ok(bars.replacen("<svg ", "<svg style=\"color:#888\" ", 1))
}

/// The tour in one sentence, from its figures.
fn headline(findings: &Findings) -> String {
    let rate = |series: &Series| series.spread(|round| round.requests_per_second).median;
    let mut parts = Vec::new();
    for stop in &findings.stops {
        if let Some(series) = stop.series.iter().find(|series| series.label == findings.baseline) {
            let p99 = series.spread(|round| round.latency.p99_us).median;
            parts.push(format!(
                "<b>{}</b> requests/s on {} (p99 {})",
                table::number(rate(series)),
                escaped(&stop.title.to_lowercase()),
                table::micros(p99)
            ));
        }
    }
    format!("{}: {}.", escaped(&findings.baseline), parts.join(", "))
}

fn section(stop: &Stop, baseline: &str) -> Result<String> {
    let rate = bars(&stop.series, |round| round.requests_per_second);
    let per_cpu = bars(&stop.series, per_cpu_second);
    let mut html = format!("<section>\n<h2>{}</h2>\n<p>{}</p>\n", escaped(&stop.title), escaped(&stop.explanation));
    html.push_str("<div class=plots>\n");
    html.push_str(&figure("requests per second", &plot::bars(&rate, table::number)?));
    html.push_str(&figure("requests per CPU second of the server", &plot::bars(&per_cpu, table::number)?));
    let curves: Vec<Curve> = stop.series.iter().filter_map(curve).collect();
    html.push_str(&figure("latency by percentile", &plot::curves(&curves)?));
    let p99 = bars(&stop.series, |round| round.latency.p99_us);
    html.push_str(&figure("p99 latency", &plot::bars(&p99, table::micros)?));
    html.push_str("</div>\n");
    html.push_str(&figures_table(&stop.series, baseline));
    if let Some(warning) = disturbance(&stop.series) {
        let _ = writeln!(html, "<p class=note>{}</p>", escaped(&warning));
    }
    html.push_str("</section>\n");
    Ok(html)
}

fn bars(series: &[Series], pick: impl Fn(&Outcome) -> f64) -> Vec<Bar> {
    series.iter().map(|series| Bar { name: series.label.clone(), value: series.spread(&pick) }).collect()
}

/// The curve of the round whose p99 is the median one.
fn curve(series: &Series) -> Option<Curve> {
    let mut rounds: Vec<&Outcome> = series.rounds.iter().collect();
    rounds.sort_by(|a, b| a.latency.p99_us.total_cmp(&b.latency.p99_us));
    let round = rounds.get(rounds.len() / 2)?;
    let points = round.latency.curve.clone();
    (!points.is_empty()).then(|| Curve { name: series.label.clone(), points })
}

fn figures_table(series: &[Series], baseline: &str) -> String {
    let base = series.iter().find(|series| series.label == baseline);
    let mut html = format!(
        "<div class=wide><table>\n<tr><th>server<th>requests/s<th>per CPU second<th>/ {}<th>CPU us user + system<th>switches per request<th>p50<th>p99<th>p99.9<th>errors<th>RSS</tr>\n",
        escaped(baseline)
    );
    for series in series {
        let median = |pick: &dyn Fn(&Outcome) -> f64| series.spread(pick).median;
        let used = |pick: fn(&crate::account::Use) -> f64| median(&|round| round.server.as_ref().map_or(0.0, pick));
        let ratio = base.and_then(|base| series.ratio_to(base, per_cpu_second));
        let cells = [
            table::number(median(&|round| round.requests_per_second)),
            table::number(median(&per_cpu_second)),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio.median)),
            format!("{:.2} + {:.2}", used(|used| used.user_us_per_request), used(|used| used.system_us_per_request)),
            format!("{:.2}", used(|used| used.switches_per_request)),
            table::micros(median(&|round| round.latency.p50_us)),
            table::micros(median(&|round| round.latency.p99_us)),
            table::micros(median(&|round| round.latency.p999_us)),
            series.errors().describe(),
            table::bytes(used(|used| used.rss_bytes as f64)),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(html, "<tr><th>{}{cells}</tr>", escaped(&series.label));
    }
    html.push_str("</table></div>\n");
    html
}

fn memory(findings: &Findings) -> Result<String> {
    let of = |pick: fn(&crate::flood::FloodOutcome) -> f64| -> Vec<Bar> {
        let bar = |(name, flood): &(String, _)| Bar { name: name.clone(), value: Spread::of([pick(flood)]) };
        findings.memory.iter().map(bar).collect()
    };
    let connections = findings.memory.first().map_or(0, |(_, flood)| flood.connections);
    let rss = of(|flood| flood.idle.rss_bytes_per_connection);
    let slab = of(|flood| flood.idle.slab_bytes_per_connection.max(0.0));
    Ok(format!(
        "<section>\n<h2>Idle memory</h2>\n<p>{} connections that say nothing. The kernel's share counts both ends, since client and server \
         are on this machine.</p>\n<div class=plots>\n{}{}</div>\n</section>\n",
        table::whole(connections),
        figure("server RSS per connection", &plot::bars(&rss, table::bytes)?),
        figure("kernel slab per connection", &plot::bars(&slab, table::bytes)?),
    ))
}

fn figure(caption: &str, svg: &str) -> String {
    format!("<figure><figcaption>{caption}</figcaption>{svg}</figure>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_carry_markup_into_the_page() {
        assert_eq!(escaped("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
