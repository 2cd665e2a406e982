//! `lf-bench nshead`: requests of an RPC framing, generated or replayed; every answer is checked.

mod caller;
mod recording;

use crate::cli::NsheadArgs;
use crate::load::{self, Mode, Outcome, Payload};
use crate::progress::Progress;
use crate::table;
use crate::wire::nshead::Header;
use anyhow::{Result, bail};
use caller::{Caller, Findings, Source};
use recording::{Capture, Recording};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// A body that is longer is nobody's; what servers of nshead take unless told otherwise.
const BODY_BYTES_MAX: usize = 64 << 20;

/// What a run has found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    protocol: &'static str,
    #[serde(flatten)]
    pub(crate) load: Outcome,
    /// Frames of the replayed file.
    frames: Option<usize>,
    /// Requests made, those outside of the measured time included.
    asked: usize,
    wrong_log_id: u64,
    wrong_body: u64,
    first_wrong: Option<String>,
}

/// `lf-bench nshead`.
///
/// # Errors
/// If a file or a header is not as it should be, or as [`load::run`] says.
pub(crate) fn run(args: &NsheadArgs, progress: &Progress) -> Result<Found> {
    let (source, size, frames) = source_of(args)?;
    let capture = args.capture.as_deref().map(Capture::create).transpose()?.map(Arc::new);
    let mode = match args.rate {
        Some(rate) => Mode::Rate(crate::cli::checked_rate(rate)?),
        None => Mode::Long,
    };
    let mut plan = args.course.plan(args.target.clone(), mode, size, args.server_pid);
    plan.until_asked = args.replay.is_some() && !args.repeat;
    let threads = plan.threads;
    let caller = |index| Caller::new(source.clone(), args.echo, capture.clone(), index, threads);
    let (load, callers) = load::run(&plan, progress, caller)?;
    if let Some(capture) = &capture {
        capture.finish()?;
    }
    Ok(Found::of(load, frames, callers.into_iter().map(|caller| caller.findings)))
}

/// Where requests come from, the bytes of a body, and how many frames a file has.
fn source_of(args: &NsheadArgs) -> Result<(Source, usize, Option<usize>)> {
    if let Some(path) = &args.replay {
        let recording = Arc::new(Recording::read(path)?);
        let frames = recording.len();
        let bytes: usize = (0..frames).map(|number| recording.body(number).len()).sum();
        let source = Source::Recorded { recording, next: Arc::new(AtomicUsize::new(0)), repeats: args.repeat };
        return Ok((source, bytes / frames, Some(frames)));
    }
    if args.body > BODY_BYTES_MAX {
        bail!("--body {}: at most {BODY_BYTES_MAX} bytes", args.body);
    }
    let mut provider = [0; 16];
    let Some(place) = provider.get_mut(..args.provider.len()) else {
        bail!("--provider {:?}: {} bytes, 16 fit the header; give a shorter one", args.provider, args.provider.len());
    };
    place.copy_from_slice(args.provider.as_bytes());
    let header = Header { id: args.id, version: args.version, provider, ..Header::default() };
    Ok((Source::Generated(Payload::nshead(header, args.body)?), args.body, None))
}

impl Found {
    fn of(load: Outcome, frames: Option<usize>, threads: impl Iterator<Item = Findings>) -> Self {
        let mut found =
            Found { protocol: "nshead", load, frames, asked: 0, wrong_log_id: 0, wrong_body: 0, first_wrong: None };
        for findings in threads {
            found.asked += findings.asked;
            found.wrong_log_id += findings.wrong_log_id;
            found.wrong_body += findings.wrong_body;
            found.first_wrong = found.first_wrong.or(findings.first_wrong);
        }
        found
    }

    /// Whether every answer was that to its request.
    pub(crate) fn is_clean(&self) -> bool {
        self.load.errors.wrong() == 0
    }

    /// Whether a file was replayed to its end and every frame of it was answered.
    fn is_complete(&self) -> bool {
        self.frames.is_none_or(|frames| self.load.requests >= frames as u64)
    }

    pub(crate) fn describe(&self) -> String {
        let mut text = table::of_outcome(&self.load);
        text.push_str(&format!(
            "\nnshead: {} requests made, {} answers with another log_id, {} with another body",
            table::whole(self.asked),
            self.wrong_log_id,
            self.wrong_body
        ));
        if let Some(frames) = self.frames {
            text.push_str(&format!(
                "\nreplay: {} frames in the file{}",
                table::whole(frames),
                if self.is_complete() { "" } else { ", not all of them were answered" }
            ));
        }
        if let Some(first) = &self.first_wrong {
            text.push_str(&format!("\nfirst wrong answer: {first}"));
        }
        text
    }
}
