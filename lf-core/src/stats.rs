//! What a server counts: sheets of plain counters, one per worker and padded apart, summed when somebody reads.

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

macro_rules! labels {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[doc = $doc])+ $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in metrics and logs.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// What it says.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

labels! {
    /// Why a connection ended.
    #[non_exhaustive]
    pub enum CloseReason {
        /// The peer finished and everything was answered.
        PeerClosed = "peer_closed",
        /// The peer reset the connection.
        PeerReset = "peer_reset",
        /// The handler closed it.
        Handler = "handler",
        /// Another thread or an operator asked for it.
        Requested = "requested",
        /// No first byte within its deadline.
        FirstByteTimeout = "first_byte_timeout",
        /// A frame took longer than its deadline.
        FrameTimeout = "frame_timeout",
        /// Idle for longer than allowed.
        IdleTimeout = "idle_timeout",
        /// The peer took no output for longer than allowed.
        WriteStall = "write_stall",
        /// A frame over the limit.
        FrameTooLarge = "frame_too_large",
        /// Bytes that are no frame.
        Malformed = "malformed",
        /// The peer finished in the middle of a frame.
        Truncated = "truncated",
        /// The handler answered an error.
        HandlerError = "handler_error",
        /// The handler panicked.
        HandlerPanic = "handler_panic",
        /// More output than the connection's queue may hold.
        OutputOverflow = "output_overflow",
        /// Idle when the server drained.
        Drained = "drained",
        /// Not done at the drain deadline.
        Cut = "cut",
        /// What the server wanted to connect to refused, or could not be reached.
        ConnectFailed = "connect_failed",
        /// What the server wanted to connect to did not answer in time.
        ConnectTimeout = "connect_timeout",
        /// Another system error.
        System = "system",
    }
}

labels! {
    /// Why the acceptor turned a connection away.
    #[non_exhaustive]
    pub enum Refusal {
        /// The server has `max_connections`.
        MaxConnections = "max_connections",
        /// The peer's address has `max_per_address`.
        MaxPerAddress = "max_per_address",
    }
}

labels! {
    /// Plain event counts.
    #[non_exhaustive]
    pub enum Count {
        /// Connections accepted.
        Accepted = "accepted",
        /// Times that the acceptor paused for want of descriptors or memory.
        AcceptPauses = "accept_pauses",
        /// Times that the acceptor waited for the accept rate.
        AcceptThrottles = "accept_throttles",
        /// Events taken from epoll.
        Events = "events",
        /// Events of connections that were gone.
        StaleEvents = "stale_events",
        /// Events, messages and deadlines left as a note for a busy owner.
        Notes = "notes",
        /// Turns served.
        Turns = "turns",
        /// Re-arms (`epoll_ctl` calls after the first).
        Rearms = "rearms",
        /// Connections put at the end of the queue because their turn was used up.
        Requeues = "requeues",
        /// Frames received.
        FramesReceived = "frames_received",
        /// Frames sent.
        FramesSent = "frames_sent",
        /// Bytes received.
        BytesReceived = "bytes_received",
        /// Bytes sent.
        BytesSent = "bytes_sent",
        /// Leaders deposed by the monitor.
        Depositions = "depositions",
        /// Leaders that stepped down before blocking.
        HandOvers = "hand_overs",
        /// Turns that handed over because the connection was slow before.
        LearnedHandOvers = "learned_hand_overs",
        /// Promotions with no follower left and no worker to add.
        Starvations = "starvations",
        /// Workers started beyond the first ones.
        WorkersSpawned = "workers_spawned",
        /// Events served out of another worker's batch.
        StolenEvents = "stolen_events",
        /// Connections moved to another group.
        Migrations = "migrations",
        /// Messages written directly by the sending thread.
        DirectSends = "direct_sends",
        /// Messages left in an outbox.
        QueuedSends = "queued_sends",
        /// Messages refused: their connection was gone, or a queue was full.
        RefusedSends = "refused_sends",
        /// Times that reading paused at the high watermark.
        ReadPauses = "read_pauses",
        /// Connections that the server opened and tasks that it began.
        OutgoingOpened = "outgoing_opened",
        /// Connections that the server could not open.
        OutgoingFailed = "outgoing_failed",
    }
}

/// Upper bounds of the handler-time histogram's buckets are 1 us, 2 us, 4 us ... 2^(N-2) us, and infinity.
pub(crate) const TIME_BUCKETS: usize = 24;

/// The counters of one writer.
#[derive(Debug)]
pub(crate) struct Sheet {
    counts: [AtomicU64; Count::ALL.len()],
    closes: [AtomicU64; CloseReason::ALL.len()],
    outgoing_closes: [AtomicU64; CloseReason::ALL.len()],
    refusals: [AtomicU64; Refusal::ALL.len()],
    turn_times: [AtomicU64; TIME_BUCKETS],
    turn_nanos: AtomicU64,
    /// Several threads write it.
    shared: bool,
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl Sheet {
    fn new(shared: bool) -> Self {
        let (counts, closes, outgoing_closes) = (zeros(), zeros(), zeros());
        let (refusals, turn_times, turn_nanos) = (zeros(), zeros(), AtomicU64::new(0));
        Self { counts, closes, outgoing_closes, refusals, turn_times, turn_nanos, shared }
    }

    /// A sole writer needs no locked instruction.
    fn bump(&self, cell: &AtomicU64, by: u64) {
        if self.shared {
            cell.fetch_add(by, Ordering::Relaxed);
        } else {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        }
    }

    pub(crate) fn add(&self, count: Count, by: u64) {
        self.bump(&self.counts[count as usize], by);
    }

    pub(crate) fn closed(&self, why: CloseReason) {
        self.bump(&self.closes[why as usize], 1);
    }

    /// One that the server opened has ended.
    pub(crate) fn outgoing_closed(&self, why: CloseReason) {
        self.bump(&self.outgoing_closes[why as usize], 1);
        if matches!(why, CloseReason::ConnectFailed | CloseReason::ConnectTimeout) {
            self.add(Count::OutgoingFailed, 1);
        }
    }

    pub(crate) fn refused(&self, why: Refusal) {
        self.bump(&self.refusals[why as usize], 1);
    }

    pub(crate) fn turn_took(&self, nanos: u64) {
        let us = nanos / 1000;
        let bucket = ((u64::BITS - us.leading_zeros()) as usize).min(TIME_BUCKETS - 1);
        self.bump(&self.turn_times[bucket], 1);
        self.bump(&self.turn_nanos, nanos);
    }
}

/// All sheets of a server, and its gauges.
#[derive(Debug)]
pub(crate) struct Stats {
    sheets: Mutex<Vec<Arc<CachePadded<Sheet>>>>,
    /// For threads that are no workers.
    pub(crate) outside: Arc<CachePadded<Sheet>>,
    /// Connections that are open.
    pub(crate) connections: AtomicUsize,
    /// Connections that the server opened, and tasks.
    pub(crate) outgoing: AtomicUsize,
    /// Bytes queued for all peers.
    pub(crate) queued_bytes: AtomicI64,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let outside = Arc::new(CachePadded::new(Sheet::new(true)));
        Self {
            sheets: Mutex::new(vec![Arc::clone(&outside)]),
            outside,
            connections: AtomicUsize::new(0),
            outgoing: AtomicUsize::new(0),
            queued_bytes: AtomicI64::new(0),
        }
    }

    /// A sheet for one more writer.
    pub(crate) fn sheet(&self) -> Arc<CachePadded<Sheet>> {
        let sheet = Arc::new(CachePadded::new(Sheet::new(false)));
        self.sheets.lock().push(Arc::clone(&sheet));
        sheet
    }

    fn sum<const N: usize>(&self, cells: impl Fn(&Sheet) -> &[AtomicU64; N]) -> [u64; N] {
        let sheets = self.sheets.lock();
        std::array::from_fn(|i| sheets.iter().map(|sheet| cells(sheet)[i].load(Ordering::Relaxed)).sum())
    }

    pub(crate) fn snapshot(&self, group_connections: Vec<usize>) -> Snapshot {
        Snapshot {
            counts: self.sum(|sheet| &sheet.counts),
            closes: self.sum(|sheet| &sheet.closes),
            outgoing_closes: self.sum(|sheet| &sheet.outgoing_closes),
            refusals: self.sum(|sheet| &sheet.refusals),
            turn_times: self.sum(|sheet| &sheet.turn_times),
            turn_time: Duration::from_nanos(
                self.sheets.lock().iter().map(|sheet| sheet.turn_nanos.load(Ordering::Relaxed)).sum(),
            ),
            connections: self.connections.load(Ordering::Relaxed),
            outgoing: self.outgoing.load(Ordering::Relaxed),
            queued_bytes: u64::try_from(self.queued_bytes.load(Ordering::Relaxed)).unwrap_or(0),
            group_connections,
        }
    }
}

/// The counters of a server, summed over its threads. Counts only grow; gauges are of the moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    counts: [u64; Count::ALL.len()],
    closes: [u64; CloseReason::ALL.len()],
    outgoing_closes: [u64; CloseReason::ALL.len()],
    refusals: [u64; Refusal::ALL.len()],
    turn_times: [u64; TIME_BUCKETS],
    turn_time: Duration,
    connections: usize,
    outgoing: usize,
    queued_bytes: u64,
    group_connections: Vec<usize>,
}

impl Snapshot {
    /// One of the plain counts.
    #[must_use]
    pub fn count(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// Connections that ended for this reason; those that the server had opened are not among them.
    #[must_use]
    pub fn closed(&self, why: CloseReason) -> u64 {
        self.closes[why as usize]
    }

    /// Connections that ended, for any reason.
    #[must_use]
    pub fn closed_total(&self) -> u64 {
        self.closes.iter().sum()
    }

    /// Connections that the server had opened, and tasks, that ended for this reason.
    #[must_use]
    pub fn outgoing_closed(&self, why: CloseReason) -> u64 {
        self.outgoing_closes[why as usize]
    }

    /// Connections turned away for this reason.
    #[must_use]
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refusals[why as usize]
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Connections that the server has opened, or is opening, and tasks; [`connections`](Self::connections) does not count
    /// them.
    #[must_use]
    pub fn outgoing(&self) -> usize {
        self.outgoing
    }

    /// Bytes queued for peers now.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// Connections open now, for each group.
    #[must_use]
    pub fn group_connections(&self) -> &[usize] {
        &self.group_connections
    }

    /// Turns by the time they took: (upper bound in microseconds, `None` for the last, turns), not cumulative.
    pub fn turn_times(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let last = TIME_BUCKETS - 1;
        self.turn_times.iter().enumerate().map(move |(i, count)| ((i < last).then(|| 1u64 << i), *count))
    }

    /// Time spent in turns, over all workers.
    #[must_use]
    pub fn turn_time(&self) -> Duration {
        self.turn_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_summed() {
        let stats = Stats::new();
        let (one, two) = (stats.sheet(), stats.sheet());
        one.add(Count::Turns, 2);
        two.add(Count::Turns, 3);
        stats.outside.add(Count::Turns, 1);
        two.closed(CloseReason::PeerReset);
        let snapshot = stats.snapshot(vec![1, 2]);
        assert_eq!(snapshot.count(Count::Turns), 6);
        assert_eq!(snapshot.closed(CloseReason::PeerReset), 1);
        assert_eq!(snapshot.closed_total(), 1);
    }

    #[test]
    fn a_turn_falls_into_the_bucket_below_its_bound() {
        let stats = Stats::new();
        for nanos in [0, 999, 1000, 1999, 2000, u64::MAX / 2] {
            stats.outside.turn_took(nanos);
        }
        let times: Vec<_> = stats.snapshot(Vec::new()).turn_times().filter(|(_, count)| *count > 0).collect();
        assert_eq!(times, [(Some(1), 2), (Some(2), 2), (Some(4), 1), (None, 1)]);
    }

    #[test]
    fn helps_are_sentences() {
        assert_eq!(Refusal::MaxConnections.help(), "The server has `max_connections`.");
    }
}
