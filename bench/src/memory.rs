//! `memory`: what a process holds, over time.

use crate::account::{Resident, kilobytes_of};
use crate::cli::MemoryArgs;
use crate::load::count;
use crate::progress::Progress;
use crate::report::{self, Chart, Line};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const INTERVAL_MIN: Duration = Duration::from_millis(10);
const HEADER: &str = "seconds,rss_bytes,pss_bytes,slab_bytes,slab_unreclaimable_bytes,sockets,tcp_in_use";

/// What was seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) rss_bytes: u64,
    /// Shared pages divided among who shares them; `None` where it cannot be read.
    pub(crate) pss_bytes: Option<u64>,
    /// Of the whole machine.
    pub(crate) slab_bytes: u64,
    pub(crate) slab_unreclaimable_bytes: u64,
    /// Sockets of the process; `None` where its descriptors cannot be read.
    pub(crate) sockets: Option<u64>,
    /// TCP sockets of the whole machine, or of this network namespace.
    pub(crate) tcp_in_use: u64,
}

impl Sample {
    /// # Errors
    /// If the process has ended.
    fn take(pid: u32, seconds: f64) -> Result<Self> {
        let root = Path::new("/proc").join(pid.to_string());
        if !root.exists() {
            bail!("--pid {pid}: no such process; give the pid of a running server");
        }
        let Resident { rss_bytes, pss_bytes } = Resident::of(&root);
        let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let bytes = |name| kilobytes_of(&machine, name).unwrap_or(0) * 1024;
        Ok(Sample {
            seconds,
            rss_bytes,
            pss_bytes,
            slab_bytes: bytes("Slab:"),
            slab_unreclaimable_bytes: bytes("SUnreclaim:"),
            sockets: sockets_of(&root),
            tcp_in_use: tcp_in_use(&fs::read_to_string("/proc/net/sockstat").unwrap_or_default()),
        })
    }

    /// A line of the table; what is not known is empty.
    fn row(&self) -> String {
        let known = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        format!(
            "{:.3},{},{},{},{},{},{}",
            self.seconds,
            self.rss_bytes,
            known(self.pss_bytes),
            self.slab_bytes,
            self.slab_unreclaimable_bytes,
            known(self.sockets),
            self.tcp_in_use
        )
    }
}

fn sockets_of(root: &Path) -> Option<u64> {
    let listed = fs::read_dir(root.join("fd")).ok()?;
    let is_socket = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
    };
    Some(listed.flatten().filter(is_socket).count() as u64)
}

/// The line `TCP: inuse 7 orphan 0 tw 3 alloc 9 mem 2`.
fn tcp_in_use(sockstat: &str) -> u64 {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP: inuse "));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// `lf-bench memory`.
///
/// # Errors
/// If there is no such process, or a file cannot be written.
pub(crate) fn run(args: &MemoryArgs) -> Result<()> {
    if args.interval < INTERVAL_MIN {
        bail!("--interval {:?}: a look takes some milliseconds; give {INTERVAL_MIN:?} or more", args.interval);
    }
    let out: Box<dyn Write> = match &args.output {
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("--output {}: cannot be written", path.display()))?)
        }
        None => Box::new(std::io::stdout()),
    };
    let progress = Progress::new(Progress::steps_of(args.duration), args.quiet);
    progress.note(format!("watching process {}", args.pid));
    let samples = watch(args, out, &progress)?;
    drop(progress);
    if let Some(path) = &args.svg {
        let drawing = draw(&samples)?;
        fs::write(path, drawing).with_context(|| format!("--svg {}: cannot be written", path.display()))?;
    }
    Ok(())
}

/// Looks until the time is over or the process has ended; each row is written at once.
fn watch(args: &MemoryArgs, to: impl Write, progress: &Progress) -> Result<Vec<Sample>> {
    let mut out = BufWriter::new(to);
    writeln!(out, "{HEADER}")?;
    let begun = Instant::now();
    let mut samples = Vec::new();
    let mut due = Duration::ZERO;
    loop {
        match Sample::take(args.pid, begun.elapsed().as_secs_f64()) {
            Ok(sample) => {
                writeln!(out, "{}", sample.row())?;
                out.flush()?;
                samples.push(sample);
            }
            Err(error) if samples.is_empty() => return Err(error),
            // It has ended: the table is complete.
            Err(_) => return Ok(samples),
        }
        due += args.interval;
        if due > args.duration {
            return Ok(samples);
        }
        progress.sleep(due.saturating_sub(begun.elapsed()));
    }
}

fn draw(samples: &[Sample]) -> Result<String> {
    const MIB: f64 = 1024.0 * 1024.0;
    let line = |name: &str, unit: f64, pick: fn(&Sample) -> Option<u64>| Line {
        name: name.to_owned(),
        points: samples.iter().filter_map(|sample| Some((sample.seconds, count(pick(sample)?) / unit))).collect(),
    };
    let process = vec![line("RSS", MIB, |sample| Some(sample.rss_bytes)), line("PSS", MIB, |sample| sample.pss_bytes)];
    let kernel = vec![
        line("kernel slab", MIB, |sample| Some(sample.slab_bytes)),
        line("SUnreclaim", MIB, |sample| Some(sample.slab_unreclaimable_bytes)),
    ];
    let connections =
        vec![line("sockets", 1.0, |sample| sample.sockets), line("TCP in use", 1.0, |sample| Some(sample.tcp_in_use))];
    report::over_time(&[
        Chart { unit: " MiB", lines: process },
        Chart { unit: " MiB", lines: kernel },
        Chart { unit: "", lines: connections },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Sample = Sample {
        seconds: 1.5,
        rss_bytes: 4096,
        pss_bytes: None,
        slab_bytes: 2048,
        slab_unreclaimable_bytes: 1024,
        sockets: Some(3),
        tcp_in_use: 7,
    };

    #[test]
    fn a_row_has_a_field_for_each_of_the_header_and_leaves_the_unknown_empty() {
        assert_eq!(SAMPLE.row(), "1.500,4096,,2048,1024,3,7");
        assert_eq!(SAMPLE.row().split(',').count(), HEADER.split(',').count());
    }

    #[test]
    fn the_own_process_has_memory_and_its_sockets_are_counted() {
        let before = Sample::take(std::process::id(), 0.0).unwrap();
        let listeners: Vec<std::net::TcpListener> =
            (0..50).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let after = Sample::take(std::process::id(), 1.0).unwrap();
        // Other tests of this process have sockets of their own.
        assert!(after.sockets.unwrap() + 25 >= before.sockets.unwrap() + 50, "{before:?} {after:?}");
        assert!(after.rss_bytes > 0 && after.slab_bytes >= after.slab_unreclaimable_bytes);
        drop(listeners);
    }

    #[test]
    fn the_line_of_tcp_is_read_and_its_lack_is_nothing() {
        assert_eq!(tcp_in_use("sockets: used 9\nTCP: inuse 7 orphan 0 tw 3\nUDP: inuse 1\n"), 7);
        assert_eq!(tcp_in_use(""), 0);
    }

    #[test]
    fn what_was_seen_is_drawn_with_a_line_for_each_figure_that_is_known() {
        let samples = [SAMPLE, Sample { seconds: 2.5, rss_bytes: 1 << 20, ..SAMPLE }];
        let svg = draw(&samples).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("kernel slab") && svg.contains("sockets"), "{svg}");
        assert!(!svg.contains(">PSS<"), "nothing is known of it");
    }
}
