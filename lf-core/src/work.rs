//! What a thread carries with it while it serves: its place in the group, its counters, and the output of the turn.

use crate::baton::{Lead, Sight};
use crate::conn::{Conn, Queue};
use crate::group::Group;
use crate::outbox::Message;
use crate::shared::Shared;
use crate::stats::{CloseReason, Count, Sheet};
use crate::sys::socket;
use crate::timer::{AHEAD_MS_MAX, NEVER_MS};
use crossbeam_utils::CachePadded;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Output of a turn that goes out before the turn ends, in bytes: the peer can begin to read, and the buffer stays small.
pub(crate) const FLUSH_BYTES: usize = 64 * 1024;

/// A buffer that a burst has grown beyond this is given back after the turn, in bytes.
const OUT_BYTES_KEPT: usize = 4 * FLUSH_BYTES;

pub(crate) struct Work {
    pub(crate) server: Arc<Shared>,
    pub(crate) sheet: Arc<CachePadded<Sheet>>,
    /// The group whose worker this is; `None` on a thread that only sends.
    pub(crate) home: Option<usize>,
    /// Held while this worker leads its group.
    pub(crate) lead: Option<Lead>,
    /// A message that this thread sends to the connection it has just claimed.
    pub(crate) direct: Option<Message>,
    /// What the handler has sent in this turn.
    pub(crate) out: Vec<u8>,
    /// How much of it is from calls that have come to their end: a panic does not take that back.
    pub(crate) settled: usize,
    /// When the last turn ended.
    pub(crate) now_ms: u64,
    pub(crate) now_nanos: u64,
    /// Why the connection of this turn cannot go on.
    pub(crate) failed: Option<CloseReason>,
    /// Bytes went out in this turn.
    pub(crate) wrote: bool,
}

pub(crate) fn after_ms(now_ms: u64, limit: Option<Duration>) -> u64 {
    limit.map_or(NEVER_MS, |limit| now_ms + u64::try_from(limit.as_millis()).unwrap_or(NEVER_MS).min(AHEAD_MS_MAX))
}

pub(crate) fn reason_of(error: &io::Error) -> CloseReason {
    if matches!(error.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN)) {
        CloseReason::PeerReset
    } else {
        CloseReason::System
    }
}

impl Work {
    pub(crate) fn new(server: Arc<Shared>, sheet: Arc<CachePadded<Sheet>>, home: Option<usize>) -> Self {
        let mut work = Self {
            server,
            sheet,
            home,
            lead: None,
            direct: None,
            out: Vec::new(),
            settled: 0,
            now_ms: 0,
            now_nanos: 0,
            failed: None,
            wrote: false,
        };
        work.read_clock();
        work
    }

    /// For a thread that is no worker.
    pub(crate) fn outside(server: &Arc<Shared>) -> Self {
        Self::new(Arc::clone(server), Arc::clone(&server.stats.outside), None)
    }

    pub(crate) fn read_clock(&mut self) {
        self.now_nanos = self.server.now_nanos();
        self.now_ms = self.now_nanos / 1_000_000;
    }

    fn home_group(&self) -> Option<&Group> {
        self.home.and_then(|index| self.server.groups.get(index))
    }

    /// Whether this is a worker that leads its group.
    pub(crate) fn leads(&self) -> bool {
        let held = self.lead.as_ref().zip(self.home_group());
        held.is_some_and(|(lead, group)| group.baton.holds(lead))
    }

    /// If this worker leads its group: steps down, so that another one takes the group's events.
    pub(crate) fn hand_over(&mut self, counted_as: Count) {
        let Some(lead) = self.lead.take() else { return };
        let Some(group) = self.home_group() else { return };
        if Shared::depose(&self.server, group.index, Sight::serving(&lead)) {
            self.sheet.add(counted_as, 1);
        }
    }

    /// The end of a turn's output: one `send` for all of it; what the peer does not take is queued.
    pub(crate) fn flush(&mut self, conn: &mut Conn) {
        if !self.out.is_empty() {
            let out = std::mem::take(&mut self.out);
            self.put(conn, &out, |queue, sent| queue.push_bytes(&out[sent..]));
            self.out = out;
            self.out.clear();
            self.settled = 0;
            if self.out.capacity() > OUT_BYTES_KEPT {
                self.out = Vec::new();
            }
        }
    }

    pub(crate) fn send_shared(&mut self, conn: &mut Conn, message: &Message) {
        self.flush(conn);
        self.put(conn, message, |queue, sent| queue.push_shared(message, sent));
    }

    /// Writes now if nothing is queued before; hands what is left to `enqueue`.
    fn put(&mut self, conn: &mut Conn, bytes: &[u8], enqueue: impl FnOnce(&mut Queue, usize)) {
        if self.failed.is_some() || bytes.is_empty() {
            return;
        }
        let mut sent = 0;
        if conn.queue.is_none() {
            let Some(fd) = conn.fd() else { return };
            match socket::send(fd, bytes) {
                Ok(count) => sent = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return self.failed = Some(conn.fail(&error)),
            }
            self.sent(sent);
            if sent == bytes.len() {
                return;
            }
            // The handler may have taken its time since the clock was read.
            self.read_clock();
            conn.queue.get_or_insert_default().stalled_ms = self.stalled_ms();
        }
        let before = conn.queued_bytes();
        enqueue(conn.queue.get_or_insert_default(), sent);
        self.account(conn, before);
        self.watch_high_watermark(conn);
    }

    /// When a peer has to have taken something.
    fn stalled_ms(&self) -> u64 {
        after_ms(self.now_ms, self.server.config.timeouts.write_stall)
    }

    /// The peer takes more: sends what is queued.
    pub(crate) fn flush_queue(&mut self, conn: &mut Conn) {
        let before = conn.queued_bytes();
        let Some(mut queue) = conn.queue.take() else { return };
        let sent = conn.fd().map_or(Ok(0), |fd| queue.flush(fd));
        if queue.len() > 0 {
            if matches!(sent, Ok(count) if count > 0) {
                queue.stalled_ms = self.stalled_ms();
            }
            conn.queue = Some(queue);
        }
        self.account(conn, before);
        match sent {
            Ok(0) => {}
            Ok(count) => self.sent(count),
            Err(error) => self.failed = Some(conn.fail(&error)),
        }
        if conn.paused && conn.queued_bytes() <= self.server.config.output.low {
            conn.paused = false;
        }
    }

    fn sent(&mut self, count: usize) {
        if count > 0 {
            self.wrote = true;
            self.sheet.add(Count::BytesSent, count as u64);
        }
    }

    fn watch_high_watermark(&mut self, conn: &mut Conn) {
        let limits = &self.server.config.output;
        let queued = conn.queued_bytes();
        if queued > limits.max || self.server.stats.queued_bytes.load(Ordering::Relaxed) > signed(limits.total_max) {
            self.failed = Some(CloseReason::OutputOverflow);
        } else if queued >= limits.high && !conn.paused {
            conn.paused = true;
            self.sheet.add(Count::ReadPauses, 1);
        }
    }

    fn account(&self, conn: &Conn, before: usize) {
        let change = signed(conn.queued_bytes()) - signed(before);
        if change != 0 {
            self.server.stats.queued_bytes.fetch_add(change, Ordering::Relaxed);
        }
    }
}

pub(crate) fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
