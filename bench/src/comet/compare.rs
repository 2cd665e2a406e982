//! `compare --comet`: push servers in one run, rounds interleaved, every server fresh for every measurement.

use super::{Outcome, Plan};
use crate::cli::CompareArgs;
use crate::compare::Settings;
use crate::progress::Progress;
use crate::publish::{self, Distribution, Ids, Rate, Via};
use crate::report;
use crate::servers::{PUSH, Running, Spec};
use crate::stats::{Spread, paired_ratio};
use crate::table;
use crate::wire::Transport;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Messages ahead of their answers.
const DEPTH: usize = 256;

/// A way to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Contest {
    OneAtATime,
    AsFastAsItCan,
    IdsOfTheirOwn,
}

const CONTESTS: [Contest; 3] = [Contest::OneAtATime, Contest::AsFastAsItCan, Contest::IdsOfTheirOwn];

impl Contest {
    fn letter(self) -> char {
        match self {
            Contest::OneAtATime => 'a',
            Contest::AsFastAsItCan => 'b',
            Contest::IdsOfTheirOwn => 'c',
        }
    }

    fn describe(self, args: &CompareArgs) -> String {
        let (push, subscribers) = (&args.push, table::whole(args.push.subscribers as usize));
        match self {
            Contest::OneAtATime => {
                format!("(a) one id, {subscribers} subscribers; the next message when all have the one before")
            }
            Contest::AsFastAsItCan => format!(
                "(b) one id, {subscribers} subscribers; as fast as it can, at most {} messages that not all have",
                push.push_window
            ),
            Contest::IdsOfTheirOwn => {
                format!(
                    "(c) {subscribers} ids of one subscriber each; {} messages a second",
                    table::number(push.push_rate)
                )
            }
        }
    }

    fn plan(self, args: &CompareArgs, server: &Running) -> Result<Plan> {
        let push = &args.push;
        let (ids, rate, window) = match self {
            Contest::OneAtATime => (Ids::new(1, 1)?, Rate::Max, 1),
            Contest::AsFastAsItCan => (Ids::new(1, 1)?, Rate::Max, push.push_window),
            Contest::IdsOfTheirOwn => (Ids::new(1, push.subscribers)?, Rate::PerSecond(push.push_rate), 0),
        };
        Ok(Plan {
            target: server.target.clone(),
            transport: Transport::Sse,
            subscribers: push.subscribers,
            ids,
            publish: publish::Plan {
                control: server.control.clone(),
                token: None,
                via: Via::Send,
                rate,
                distribution: Distribution::RoundRobin,
                seed: 1,
                size: push.push_size,
                connections: 1,
                depth: DEPTH,
                window,
                messages: None,
                timeout: args.shape.course.timeout,
            },
            stalled_percent: 0.0,
            churn: None,
            source_addresses: args.shape.course.sources,
            warmup: args.shape.course.warmup,
            duration: args.shape.course.duration,
            server_pid: Some(server.pid()),
        })
    }
}

/// A server in a contest, and its outcome in each round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    server: String,
    pub(crate) rounds: Vec<Outcome>,
}

impl Series {
    fn spread(&self, pick: impl Fn(&Outcome) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(pick))
    }

    fn ratio_to(&self, other: &Series) -> Option<Spread> {
        let values = |series: &Series| series.rounds.iter().map(per_cpu_second).collect::<Vec<f64>>();
        paired_ratio(&values(self), &values(other))
    }

    fn is_bound_by_client(&self) -> bool {
        2 * self.rounds.iter().filter(|round| round.is_bound_by_client).count() > self.rounds.len()
    }

    fn verdict(&self) -> String {
        match self.rounds.iter().find(|round| !round.is_clean()) {
            None => "all in order".to_owned(),
            Some(round) if round.verdicts.is_clean() => round.warnings().first().cloned().unwrap_or_default(),
            Some(round) => round.verdicts.describe(),
        }
    }
}

fn per_cpu_second(outcome: &Outcome) -> f64 {
    outcome.server.map_or(0.0, |server| server.deliveries_per_cpu_second)
}

/// A contest as JSON gives it.
#[derive(Serialize)]
pub(crate) struct Found {
    contest: Contest,
    what: String,
    pub(crate) series: Vec<Series>,
    ratios: Vec<Ratio>,
}

/// Deliveries per CPU second of one server to those of another, round by round.
#[derive(Serialize)]
struct Ratio {
    of: String,
    to: String,
    #[serde(flatten)]
    value: Spread,
}

#[derive(Serialize)]
struct Report<'a> {
    skipped: &'a [String],
    contests: &'a [Found],
}

/// `lf-bench compare --comet`.
///
/// # Errors
/// If lf-comet is not found, or a server does not start or lets nobody in.
pub(crate) fn run(args: &CompareArgs, lf_comet: Option<&Path>) -> Result<Vec<Found>> {
    let mut settings = Settings::of(args, None)?;
    settings.yard.lf_comet = lf_comet.map(Path::to_path_buf);
    let (specs, skipped) = specs_of(args, &settings)?;
    let progress = Progress::new((CONTESTS.len() * args.rounds * specs.len()) as u64, args.output.quiet);
    let mut all: Vec<Found> = CONTESTS
        .iter()
        .map(|contest| Found {
            contest: *contest,
            what: contest.describe(args),
            series: specs.iter().map(|spec| Series { server: spec.name.clone(), rounds: Vec::new() }).collect(),
            ratios: Vec::new(),
        })
        .collect();
    for round in 1..=args.rounds {
        for found in &mut all {
            for (spec, series) in specs.iter().zip(&mut found.series) {
                progress.note(format!("({}) {}, round {round} of {}", found.contest.letter(), spec.name, args.rounds));
                let server = settings.between_pins(|| settings.yard.start(spec))?;
                let outcome = super::run(&found.contest.plan(args, &server)?, &Progress::hidden());
                series.rounds.push(outcome.with_context(|| format!("server {}", spec.name))?);
                progress.advance(1);
            }
        }
    }
    drop(progress);
    all.iter_mut().for_each(|found| found.ratios = ratios(&found.series));
    if let Some(path) = &args.svg {
        fs::write(path, drawing(&all)?).with_context(|| format!("--svg {}: cannot be written", path.display()))?;
    }
    if args.output.json {
        println!("{}", serde_json::to_string_pretty(&Report { skipped: &skipped, contests: &all })?);
    } else {
        all.iter().for_each(|found| println!("{}\n", found.describe()));
        skipped.iter().for_each(|why| println!("{why}"));
    }
    Ok(all)
}

/// The servers that take part, and a word about each that cannot. Who is asked for by name must.
fn specs_of(args: &CompareArgs, settings: &Settings) -> Result<(Vec<Spec>, Vec<String>)> {
    let (mut specs, mut skipped) = (Vec::new(), Vec::new());
    let by_name = !args.servers.is_empty();
    let names: Vec<&str> = if by_name { args.servers.iter().map(String::as_str).collect() } else { PUSH.to_vec() };
    for name in names {
        let spec = Spec::push(name)?;
        match settings.yard.is_installed(&spec) {
            Ok(()) => specs.push(spec),
            Err(error) if by_name || spec.is_lf() => return Err(error),
            Err(error) => skipped.push(format!("{name} is left out: {error:#}")),
        }
    }
    if specs.is_empty() {
        bail!("no push server is left to measure");
    }
    Ok((specs, skipped))
}

/// Of each server to each that comes before it as a yardstick.
fn ratios(series: &[Series]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for (of, to) in [("lf-comet", "push-loop"), ("lf-comet", "nchan"), ("nchan", "push-loop")] {
        let find = |name: &str| series.iter().find(|series| series.server == name);
        if let (Some(ours), Some(theirs)) = (find(of), find(to))
            && let Some(value) = ours.ratio_to(theirs)
        {
            ratios.push(Ratio { of: of.to_owned(), to: to.to_owned(), value });
        }
    }
    ratios
}

impl Found {
    /// The contest as a person reads it.
    fn describe(&self) -> String {
        let header = [
            "server",
            "deliveries/s",
            "per CPU second",
            "min-max",
            "CPU us user+sys",
            "switches",
            "p50",
            "p99",
            "RSS each",
            "server CPU",
            "generator CPU",
            "verdict",
        ];
        let mut drawn = table::new(&header);
        for series in &self.series {
            let server = |pick: fn(&super::Server) -> f64| {
                series.spread(move |round| round.server.as_ref().map_or(0.0, pick)).median
            };
            let per_cpu = series.spread(per_cpu_second);
            let busy = series.spread(|round| round.receiver_busy.max(round.publisher_busy)).median;
            drawn.add_row(vec![
                format!("{}{}", series.server, if series.is_bound_by_client() { " *" } else { "" }),
                table::number(series.spread(|round| round.deliveries_per_second).median),
                table::number(per_cpu.median),
                table::range(per_cpu),
                format!(
                    "{:.2}+{:.2}",
                    server(|used| used.user_us_per_delivery),
                    server(|used| used.system_us_per_delivery)
                ),
                format!("{:.3}", server(|used| used.switches_per_delivery)),
                table::micros(series.spread(|round| round.latency.p50_us).median),
                table::micros(series.spread(|round| round.latency.p99_us).median),
                table::bytes(series.spread(|round| round.memory.rss_bytes_per_connection).median),
                format!("{:.0} %", server(|used| used.cores) * 100.0),
                format!("{:.0} %", busy * 100.0),
                series.verdict(),
            ]);
        }
        let mut text = format!("{}\n{drawn}", self.what);
        for Ratio { of, to, value } in &self.ratios {
            text.push_str(&format!(
                "\ndeliveries per CPU second, {of} / {to}: {:.2} ({:.2}-{:.2})",
                value.median, value.min, value.max
            ));
        }
        if self.series.iter().any(Series::is_bound_by_client) {
            text.push_str(
                "\n* the generator was busier than this server: compare the CPU second, not the deliveries per second",
            );
        }
        let rounds = || self.series.iter().flat_map(|series| &series.rounds);
        let disturbed = rounds().filter(|round| round.is_disturbed()).count();
        if disturbed > 0 {
            text.push_str(&format!(
                "\n{disturbed} of {} runs shared the machine with other work: latencies and deliveries per second suffer from it",
                rounds().count()
            ));
        }
        text
    }
}

fn drawing(all: &[Found]) -> Result<String> {
    let bars = all.iter().flat_map(|found| {
        found
            .series
            .iter()
            .map(|series| (format!("{} ({})", series.server, found.contest.letter()), series.spread(per_cpu_second)))
    });
    report::bars_alone(bars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_push_server_has_a_name_and_others_name_the_choice() {
        for name in PUSH {
            assert_eq!(Spec::push(name).unwrap().name, name);
        }
        assert!(Spec::push("tokio").unwrap_err().to_string().contains("lf-comet"));
    }

    #[test]
    fn each_contest_has_a_letter_of_its_own() {
        assert_eq!(CONTESTS.map(Contest::letter), ['a', 'b', 'c']);
    }
}
