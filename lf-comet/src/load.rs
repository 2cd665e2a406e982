//! `lf-comet load`: subscriptions from an edge list into the store.

use crate::subscriptions::{Bulk, Loaded};
use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes of a line: two ids, and room for the spaces and the comment of somebody who means well.
const LINE_BYTES_MAX: u64 = 1024;
const READ_BYTES: usize = 1 << 20;
/// Lines between two looks of the progress bar.
const STEP_LINES: u64 = 1 << 12;
const TICK: Duration = Duration::from_millis(250);

/// What to load, and where to.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The edge list: "subscriber subscribee" in each line, # begins a comment; "-" is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The directory of the subscriptions; no server may have it open
    #[arg(long, value_name = "DIR", default_value = "lf-comet-data")]
    pub store: PathBuf,
    /// Both ids of a line follow each other
    #[arg(long)]
    pub both: bool,
}

/// Calls `each` with the two ids of every line, and with how many bytes have been read.
///
/// # Errors
/// If reading or `each` fails, or a line is not two ids; the error begins with `name` and the number of the line.
pub fn read_edges(
    mut input: impl BufRead,
    name: &str,
    mut each: impl FnMut(&str, &str) -> Result<()>,
    mut progress: impl FnMut(u64),
) -> Result<u64> {
    let (mut line, mut lines, mut bytes, mut edges) = (Vec::new(), 0u64, 0u64, 0u64);
    loop {
        line.clear();
        let read = io::Read::take(&mut input, LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        let read = read.with_context(|| format!("{name}:{}: cannot read", lines + 1))? as u64;
        if read == 0 {
            progress(bytes);
            return Ok(edges);
        }
        lines += 1;
        bytes += read;
        if lines.is_multiple_of(STEP_LINES) {
            progress(bytes);
        }
        if read > LINE_BYTES_MAX {
            bail!("{name}:{lines}: the line has more than {LINE_BYTES_MAX} bytes: is this an edge list?");
        }
        let text = str::from_utf8(&line).with_context(|| format!("{name}:{lines}"))?;
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None, ..) => {}
            (Some(subscriber), Some(source), None) => {
                each(subscriber, source).with_context(|| format!("{name}:{lines}"))?;
                edges += 1;
            }
            _ => bail!("{name}:{lines}: give two ids in a line, \"subscriber subscribee\", not {:?}", text.trim()),
        }
    }
}

/// A bar on standard error, if that is a terminal.
fn bar(what: &'static str, is_bytes: bool) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let count = if is_bytes { "{bytes}/{total_bytes}" } else { "{percent}%" };
    if let Ok(style) = ProgressStyle::with_template(&format!("{{msg:8}} {{bar:40}} {count} {{elapsed:>4}}")) {
        bar.set_style(style);
    }
    bar.set_message(what);
    if !bar.is_hidden() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

fn show(bar: &ProgressBar) -> impl FnMut(u64, u64) {
    |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

/// Loads a file into the store. What the store has stays; if the load is interrupted, that is all it has.
///
/// # Errors
/// If the file cannot be read, has a line that is not an edge, or the store cannot be written.
pub fn load(args: &LoadArgs) -> Result<Loaded> {
    let is_input = args.file.as_os_str() == "-";
    let name = if is_input { "standard input".into() } else { args.file.display().to_string() };
    let (input, total): (Box<dyn io::Read>, _) = if is_input {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&args.file).with_context(|| name.clone())?;
        let bytes = file.metadata().with_context(|| name.clone())?.len();
        (Box::new(file), Some(bytes))
    };
    let opening = bar("opening", false);
    let mut bulk = Bulk::begin(&args.store, &mut show(&opening))?;
    opening.finish_and_clear();
    let reading = bar("reading", true);
    let add = |subscriber: &str, source: &str| {
        if args.both { bulk.add_both(subscriber, source) } else { bulk.add(subscriber, source) }?;
        Ok(())
    };
    read_edges(BufReader::with_capacity(READ_BYTES, input), &name, add, |bytes| {
        reading.set_length(total.unwrap_or(bytes));
        reading.set_position(bytes);
    })?;
    reading.finish_and_clear();
    let writing = bar("writing", false);
    let loaded = bulk.finish(&mut show(&writing))?;
    writing.finish_and_clear();
    Ok(loaded)
}

/// Loads a file into the store, and says on standard output what has become of it.
///
/// # Errors
/// See [`load`].
pub fn run(args: &LoadArgs) -> Result<()> {
    let begin = Instant::now();
    let Loaded { added, known, edges, names, bytes } = load(args)?;
    println!(
        "{added} subscriptions added, {known} known before, in {:.1} s: {edges} subscriptions of {names} ids in {}, {:.1} MB",
        begin.elapsed().as_secs_f64(),
        args.store.display(),
        bytes as f64 / 1e6,
    );
    Ok(())
}
