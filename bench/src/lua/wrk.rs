//! wrk, the HTTP load generator of others: what it is asked and what it says.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a run has found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) requests: u64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Answers with another status than 2xx or 3xx, and broken connections; each as wrk says it.
    pub(super) complaints: Vec<String>,
}

/// Where it is, if it is installed.
pub(super) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|place| place.join("wrk")).find(|path| path.is_file())
}

/// Runs it on one thread, for whole seconds, as it wants them.
///
/// # Errors
/// If it cannot be run, or says something else than a report.
pub(super) fn run(program: &PathBuf, url: &str, connections: u32, duration: Duration) -> Result<Report> {
    let seconds = duration.as_secs_f64().ceil().max(1.0);
    let mut command = Command::new(program);
    command.args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{seconds:.0}s"), url]);
    let output = command.stdin(Stdio::null()).output().context("wrk cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("wrk on {url}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    read(&text).with_context(|| format!("wrk on {url} says something else than a report: {text}"))
}

fn read(text: &str) -> Option<Report> {
    let lines = || text.lines().map(str::trim);
    let percentile = |name: &str| lines().find_map(|line| micros(line.strip_prefix(name)?.trim()));
    let (requests, rest) = lines().find_map(|line| line.split_once(" requests in "))?;
    let seconds = micros(rest.split_once(',')?.0)? / 1e6;
    let complaints = lines()
        .filter(|line| line.starts_with("Socket errors:") || line.starts_with("Non-2xx or 3xx responses:"))
        .map(str::to_owned);
    Some(Report {
        requests: requests.trim().parse().ok()?,
        seconds,
        p50_us: percentile("50%")?,
        p99_us: percentile("99%")?,
        complaints: complaints.collect(),
    })
}

/// `1.04ms` and its kin.
fn micros(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 5] = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 60e6), ("h", 3600e6)];
    UNITS.iter().find_map(|(unit, us)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * us))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 2s test @ http://127.0.0.1:8080/hello
  1 threads and 100 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.04ms  187.11us   6.11ms   91.04%
    Req/Sec    96.17k     4.02k  103.00k    70.00%
  Latency Distribution
     50%    0.99ms
     75%    1.10ms
     90%    1.22ms
     99%    1.71ms
  192345 requests in 2.01s, 30.27MB read
";

    #[test]
    fn a_report_is_read() {
        let report = read(&format!("{TEXT}Requests/sec:  95694.03\nTransfer/sec:     15.06MB\n")).unwrap();
        let expected =
            Report { requests: 192_345, seconds: 2.01, p50_us: 990.0, p99_us: 1710.0, complaints: Vec::new() };
        assert_eq!(report, expected);
    }

    #[test]
    fn what_went_wrong_is_repeated() {
        let more = "  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 7\n";
        let report = read(&format!("{TEXT}{more}")).unwrap();
        assert_eq!(
            report.complaints,
            ["Socket errors: connect 0, read 3, write 0, timeout 1", "Non-2xx or 3xx responses: 7"]
        );
        assert_eq!(read("unable to connect"), None);
    }

    #[test]
    fn every_unit_is_known() {
        let known = ["250.00us", "1.50ms", "2.00s", "1.00m"].map(|text| micros(text).unwrap());
        assert_eq!(known, [250.0, 1500.0, 2e6, 60e6]);
        assert_eq!(micros("12"), None);
    }
}
