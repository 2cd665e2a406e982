//! What a generator thread counts, and the words it exchanges with the thread that times the run.

use super::dialect::Answer;
use hdrhistogram::Histogram;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Latencies are kept from 1 us to a minute, to three digits.
const LATENCY_NS_MIN: u64 = 1_000;
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Whose requests these are: in `mixed`, those that ask for a slow handler are reported apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Asks for the echo only.
    Normal,
    /// Asks the handler to block or to burn CPU.
    Slow,
}

/// What went wrong with a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody listens.
    Refused,
    /// No connection for another reason.
    Connect,
    /// No local port was free.
    Ports,
    /// The server reset the connection.
    Reset,
    /// The server closed before the whole answer was there.
    Closed,
    /// No whole answer in time.
    Timeout,
    /// Other bytes came back than were sent or asked for.
    Mismatch,
    /// An answer with another status than was asked for.
    Status,
    /// Bytes that do not follow the protocol.
    Malformed,
    /// Reading or writing failed otherwise.
    Io,
}

impl Fault {
    /// A failed `connect`.
    pub(crate) fn of_connect(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::CONNREFUSED) => Fault::Refused,
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => Fault::Ports,
            Some(Errno::TIMEDOUT) => Fault::Timeout,
            Some(Errno::CONNRESET) => Fault::Reset,
            _ => Fault::Connect,
        }
    }

    /// A failed `send` or `recv`.
    pub(crate) fn of_stream(error: Errno) -> Self {
        match error {
            Errno::CONNRESET | Errno::PIPE => Fault::Reset,
            Errno::TIMEDOUT => Fault::Timeout,
            Errno::CONNREFUSED => Fault::Refused,
            _ => Fault::Io,
        }
    }
}

/// Errors by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    pub(crate) refused: u64,
    pub(crate) connect: u64,
    pub(crate) ports: u64,
    pub(crate) reset: u64,
    pub(crate) closed: u64,
    pub(crate) timeout: u64,
    pub(crate) mismatch: u64,
    pub(crate) status: u64,
    pub(crate) malformed: u64,
    pub(crate) io: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        *match fault {
            Fault::Refused => &mut self.refused,
            Fault::Connect => &mut self.connect,
            Fault::Ports => &mut self.ports,
            Fault::Reset => &mut self.reset,
            Fault::Closed => &mut self.closed,
            Fault::Timeout => &mut self.timeout,
            Fault::Mismatch => &mut self.mismatch,
            Fault::Status => &mut self.status,
            Fault::Malformed => &mut self.malformed,
            Fault::Io => &mut self.io,
        } += 1;
    }

    pub(crate) fn merge(&mut self, other: &Faults) {
        self.refused += other.refused;
        self.connect += other.connect;
        self.ports += other.ports;
        self.reset += other.reset;
        self.closed += other.closed;
        self.timeout += other.timeout;
        self.mismatch += other.mismatch;
        self.status += other.status;
        self.malformed += other.malformed;
        self.io += other.io;
    }

    fn kinds(&self) -> [(&'static str, u64); 10] {
        [
            ("refused", self.refused),
            ("connect", self.connect),
            ("no port", self.ports),
            ("reset", self.reset),
            ("closed early", self.closed),
            ("timeout", self.timeout),
            ("mismatch", self.mismatch),
            ("status", self.status),
            ("malformed", self.malformed),
            ("i/o", self.io),
        ]
    }

    /// Answers that came and were not what they should have been.
    pub(crate) fn wrong(&self) -> u64 {
        self.mismatch + self.status + self.malformed
    }

    /// `0`, or `3 reset, 1 timeout`.
    pub(crate) fn describe(&self) -> String {
        let named: Vec<String> =
            self.kinds().iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")).collect();
        if named.is_empty() { "0".to_owned() } else { named.join(", ") }
    }
}

/// Where a run is. The timing thread moves it on; generator threads look once per turn of their loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Connections are being made; nothing is sent in `rate` mode.
    Opening,
    /// Requests flow, nothing is recorded.
    Warming,
    /// Requests are recorded.
    Measuring,
    /// No new requests; answers that are due are waited for, briefly.
    Stopping,
}

/// The shared phase.
#[derive(Debug)]
pub(crate) struct Stage(AtomicU8);

impl Stage {
    pub(crate) fn new() -> Self {
        Stage(AtomicU8::new(Phase::Opening as u8))
    }

    pub(crate) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Relaxed);
    }

    pub(crate) fn get(&self) -> Phase {
        match self.0.load(Relaxed) {
            0 => Phase::Opening,
            1 => Phase::Warming,
            2 => Phase::Measuring,
            _ => Phase::Stopping,
        }
    }
}

/// A thread's running totals, read by the timing thread. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauge {
    pub(crate) normal: AtomicU64,
    pub(crate) slow: AtomicU64,
    /// Answers that were not what they should have been.
    pub(crate) wrong: AtomicU64,
    pub(crate) open: AtomicU64,
}

impl Gauge {
    /// All that has come, right or wrong.
    pub(crate) fn answers(&self) -> u64 {
        [&self.normal, &self.slow, &self.wrong].map(|total| total.load(Relaxed)).into_iter().sum()
    }
}

/// What a thread hands back.
pub(crate) struct Tally {
    pub(crate) normal: Histogram<u64>,
    pub(crate) slow: Histogram<u64>,
    /// By kind of request, where a dialect has several; else empty.
    pub(crate) kinds: Vec<KindTally>,
    pub(crate) faults: Faults,
    /// CPU of this thread per wall time while measuring, 1.0 = a whole core.
    pub(crate) busy: f64,
    pub(crate) cpu: Duration,
    /// `rate` only: requests whose time had come but that found no free connection until the end.
    pub(crate) unsent: u64,
}

/// What is kept of one kind of request.
pub(crate) struct KindTally {
    pub(crate) latency: Histogram<u64>,
    /// Without those that were never sent, which have a latency.
    pub(crate) answered: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Tally {
            normal: new_histogram(),
            slow: new_histogram(),
            kinds: Vec::new(),
            faults: Faults::default(),
            busy: 0.0,
            cpu: Duration::ZERO,
            unsent: 0,
        }
    }
}

pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, 3).expect("the bounds are valid constants")
}

/// Writes a thread's tally and follows the phase.
pub(crate) struct Scribe {
    pub(crate) tally: Tally,
    gauge: Arc<Gauge>,
    stage: Arc<Stage>,
    phase: Phase,
    origin: Instant,
    normal: u64,
    slow: u64,
    mark: Option<(Instant, Duration)>,
}

impl Scribe {
    pub(crate) fn new(stage: Arc<Stage>, gauge: Arc<Gauge>, origin: Instant) -> Self {
        Scribe { tally: Tally::new(), gauge, stage, phase: Phase::Opening, origin, normal: 0, slow: 0, mark: None }
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The phase, looked up anew.
    pub(crate) fn turn(&mut self) -> Phase {
        let phase = self.stage.get();
        if phase != self.phase {
            self.settle();
            if phase == Phase::Measuring {
                self.mark = Some((Instant::now(), thread_cpu()));
            }
            self.phase = phase;
        }
        phase
    }

    /// The CPU of the measured phase, if that ends now.
    fn settle(&mut self) {
        if let Some((since, cpu)) = self.mark.take() {
            self.tally.cpu = thread_cpu().saturating_sub(cpu);
            self.tally.busy = self.tally.cpu.as_secs_f64() / since.elapsed().as_secs_f64().max(1e-9);
        }
    }

    /// The tally of a thread that has done its work.
    pub(crate) fn close(mut self) -> Tally {
        self.settle();
        self.tally
    }

    /// Keeps the latencies of so many kinds of requests apart.
    pub(crate) fn distinguish(&mut self, kinds: usize) {
        if kinds > 1 {
            let kind = |_| KindTally { latency: new_histogram(), answered: 0 };
            self.tally.kinds = (0..kinds).map(kind).collect();
        }
    }

    pub(crate) fn opened(&self) {
        self.gauge.open.fetch_add(1, Relaxed);
    }

    pub(crate) fn answered(&mut self, class: Class, latency_ns: u64) {
        let (histogram, total, shared) = match class {
            Class::Normal => (&mut self.tally.normal, &mut self.normal, &self.gauge.normal),
            Class::Slow => (&mut self.tally.slow, &mut self.slow, &self.gauge.slow),
        };
        *total += 1;
        shared.store(*total, Relaxed);
        if self.phase == Phase::Measuring {
            histogram.saturating_record(latency_ns);
        }
    }

    /// An answer as its dialect found it. A wrong one is an error and has no latency.
    pub(crate) fn heard(&mut self, class: Class, latency_ns: u64, answer: &Answer) {
        if let Some(fault) = answer.fault {
            self.gauge.wrong.fetch_add(1, Relaxed);
            return self.fault(fault);
        }
        self.answered(class, latency_ns);
        if self.phase == Phase::Measuring
            && let Some(kind) = self.tally.kinds.get_mut(answer.kind)
        {
            kind.answered += 1;
            kind.latency.saturating_record(latency_ns);
        }
    }

    /// A latency of which only a lower bound is known, because the run ended first.
    pub(crate) fn unsent(&mut self, kind: usize, waited_ns: u64) {
        self.tally.unsent += 1;
        self.tally.normal.saturating_record(waited_ns);
        if let Some(kind) = self.tally.kinds.get_mut(kind) {
            kind.latency.saturating_record(waited_ns);
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.tally.faults.add(fault);
    }
}

/// CPU of the calling thread so far.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_and_named_by_kind() {
        let mut faults = Faults::default();
        assert_eq!(faults.describe(), "0");
        faults.add(Fault::Reset);
        faults.add(Fault::Reset);
        faults.add(Fault::Mismatch);
        assert_eq!(faults.describe(), "2 reset, 1 mismatch");
    }

    #[test]
    fn only_answers_of_the_measured_phase_enter_the_histogram() {
        let (stage, gauge) = (Arc::new(Stage::new()), Arc::new(Gauge::default()));
        let mut scribe = Scribe::new(stage.clone(), gauge.clone(), Instant::now());
        scribe.turn();
        scribe.answered(Class::Normal, 5_000);
        stage.set(Phase::Measuring);
        scribe.turn();
        scribe.answered(Class::Slow, 7_000);
        assert_eq!((scribe.tally.normal.len(), scribe.tally.slow.len()), (0, 1));
        assert_eq!(gauge.normal.load(Relaxed), 1);
    }

    #[test]
    fn kinds_have_latencies_of_their_own_and_a_wrong_answer_has_none() {
        let (stage, gauge) = (Arc::new(Stage::new()), Arc::new(Gauge::default()));
        let mut scribe = Scribe::new(stage.clone(), gauge.clone(), Instant::now());
        scribe.distinguish(2);
        stage.set(Phase::Measuring);
        scribe.turn();
        for us in 1..=1000 {
            scribe.heard(Class::Normal, us * 1000, &Answer { kind: 1, ..Answer::RIGHT });
        }
        scribe.heard(Class::Normal, 9_000, &Answer { fault: Some(Fault::Status), ..Answer::RIGHT });
        scribe.unsent(0, 2_000);
        let tally = scribe.close();
        assert_eq!((tally.kinds[0].answered, tally.kinds[1].answered, tally.unsent), (0, 1000, 1));
        assert_eq!((tally.kinds[0].latency.len(), tally.kinds[1].latency.len(), tally.normal.len()), (1, 1000, 1001));
        let p99_us = tally.kinds[1].latency.value_at_percentile(99.0) / 1000;
        assert!((989..=991).contains(&p99_us), "{p99_us}");
        assert_eq!((tally.faults.status, tally.faults.wrong(), gauge.wrong.load(Relaxed)), (1, 1, 1));
    }
}
