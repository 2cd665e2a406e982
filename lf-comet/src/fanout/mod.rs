//! Carries publications to their recipients, in order for each of them.
//!
//! Recipients are dealt over strands by their connection. A strand is run by one thread at a time, so a recipient gets its
//! messages in the order in which they were pushed. What is pushed while a strand runs or waits is carried in its next
//! round, and each recipient gets all of it with one `send`. Few recipients are served by who publishes; many are left
//! to the fan-out threads, strand by strand, so that neither a publisher nor a small message waits for a big audience.

mod audience;
mod pieces;

use crate::logins::Login;
use crate::publication::{Encoding, Publication};
use crate::stats::Stats;
pub(crate) use audience::Audience;
use audience::{INLINE_RECIPIENTS_MAX, Recipients, STRANDS};
use crossbeam_utils::CachePadded;
use lf_core::{Message, Remote, SendError, Sender};
use parking_lot::{Condvar, Mutex};
use pieces::{Joined, Piece, Place, join};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes that are joined for one recipient and round before another piece is begun, at most.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// A round of up to this many deliveries goes before bigger ones ...
const SMALL_ROUND: usize = 64;
/// ... but a bigger one has its turn after so many small ones.
const SMALL_IN_A_ROW_MAX: u32 = 32;

/// Publications with the same recipients.
#[derive(Debug)]
struct Job {
    publications: Vec<Arc<Publication>>,
    recipients: Recipients,
}

#[derive(Debug, Default)]
struct Strand {
    jobs: Vec<Job>,
    /// It runs, or it waits to be run.
    scheduled: bool,
    /// Recipients times publications.
    deliveries: usize,
}

#[derive(Debug, Default)]
struct Runnable {
    small: VecDeque<(Instant, usize)>,
    big: VecDeque<(Instant, usize)>,
    small_in_a_row: u32,
}

impl Runnable {
    /// The next strand, or when there will be one.
    fn take(&mut self, now: Instant) -> Result<usize, Option<Instant>> {
        let due = |queue: &VecDeque<(Instant, usize)>| queue.front().is_some_and(|(at, _)| *at <= now);
        let prefer_big = self.small_in_a_row >= SMALL_IN_A_ROW_MAX && due(&self.big);
        let queue = if due(&self.small) && !prefer_big {
            self.small_in_a_row += 1;
            &mut self.small
        } else {
            self.small_in_a_row = 0;
            &mut self.big
        };
        match queue.front() {
            Some((at, strand)) if *at <= now => {
                let strand = *strand;
                queue.pop_front();
                Ok(strand)
            }
            _ => Err(self.small.front().into_iter().chain(self.big.front()).map(|(at, _)| *at).min()),
        }
    }
}

/// How the fan-out is bounded and paced.
#[derive(Clone, Copy, Debug)]
pub struct FanoutLimits {
    /// Threads that carry big audiences.
    pub threads: usize,
    /// Deliveries (recipients times messages) that wait at most; who publishes more waits.
    pub backlog: usize,
    /// Bytes of messages that wait at most, each counted once however many it goes to; who publishes more waits.
    pub backlog_bytes: usize,
    /// How long a publication waits for others to be sent along with it.
    pub coalesce: Duration,
    /// Bytes that may wait for one subscriber. Messages are joined to pieces, of which it should hold several: they are
    /// kept or dropped as a whole.
    pub queue_bytes: usize,
}

impl FanoutLimits {
    fn piece_bytes(&self) -> usize {
        PIECE_BYTES_MAX.min(self.queue_bytes / 4)
    }
}

impl Default for FanoutLimits {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, backlog: 1 << 20, backlog_bytes: 64 << 20, coalesce: Duration::ZERO, queue_bytes: 256 << 10 }
    }
}

#[derive(Debug)]
pub(crate) struct Fanout {
    strands: Box<[CachePadded<Mutex<Strand>>]>,
    runnable: Mutex<Runnable>,
    work: Condvar,
    /// Deliveries that wait.
    backlog: AtomicUsize,
    /// Bytes of the messages that they are of.
    backlog_bytes: AtomicUsize,
    /// Publishers that wait for the backlog to shrink.
    room_lock: Mutex<()>,
    room: Condvar,
    limits: FanoutLimits,
    /// Known once the server is built.
    remote: OnceLock<Remote>,
    stats: Arc<Stats>,
    stopping: AtomicBool,
    /// Whether a connection that cannot take a message is closed, or just misses it.
    disconnects: bool,
}

impl Fanout {
    pub(crate) fn new(limits: FanoutLimits, stats: Arc<Stats>, disconnects: bool) -> Self {
        Self {
            strands: (0..STRANDS).map(|_| CachePadded::default()).collect(),
            runnable: Mutex::default(),
            work: Condvar::new(),
            backlog: AtomicUsize::new(0),
            backlog_bytes: AtomicUsize::new(0),
            room_lock: Mutex::new(()),
            room: Condvar::new(),
            limits,
            remote: OnceLock::new(),
            stats,
            stopping: AtomicBool::new(false),
            disconnects,
        }
    }

    /// Names the server whose connections are the recipients.
    pub(crate) fn attach(&self, remote: Remote) {
        let _ = self.remote.set(remote);
    }

    fn sender(&self) -> Option<Sender> {
        self.remote.get()?.sender()
    }

    /// Starts the threads that carry big audiences.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<Vec<JoinHandle<()>>> {
        let start = |index| {
            let fanout = Arc::clone(self);
            std::thread::Builder::new().name(format!("fanout-{index}")).spawn(move || fanout.carry())
        };
        (0..self.limits.threads.max(1)).map(start).collect()
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let _runnable = self.runnable.lock();
        self.work.notify_all();
    }

    /// Deliveries that wait.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Whether a publisher has to wait before it pushes more.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog() >= self.limits.backlog || self.backlog_bytes.load(Ordering::Relaxed) >= self.limits.backlog_bytes
    }

    /// Waits until there is room for more, at most until `deadline`. Blocks.
    pub(crate) fn wait_for_room(&self, deadline: Instant) -> bool {
        let mut lock = self.room_lock.lock();
        while self.is_full() {
            if self.room.wait_until(&mut lock, deadline).timed_out() {
                return !self.is_full();
            }
        }
        true
    }

    /// Waits until nothing is under way any more, at most until `deadline`. Blocks.
    pub(crate) fn wait_until_idle(&self, deadline: Instant) {
        while self.backlog() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Puts a publication on its way. Who calls this one publication after the other has them delivered in that order.
    /// [`run`](Self::run) has to be called with the strands that are answered.
    pub(crate) fn push(&self, publication: &Arc<Publication>, audience: Audience) -> Pushed {
        let inline = audience.len() <= INLINE_RECIPIENTS_MAX && self.limits.coalesce.is_zero();
        self.backlog.fetch_add(audience.len(), Ordering::Relaxed);
        if !audience.pieces.is_empty() {
            publication.is_carried_by(audience.pieces.len());
            self.backlog_bytes.fetch_add(publication.bytes(), Ordering::Relaxed);
        }
        let mut strands = Vec::new();
        for (index, recipients) in audience.pieces {
            let mut strand = self.strands[index].lock();
            strand.deliveries += recipients.len();
            match strand.jobs.last_mut() {
                Some(last) if *last.recipients == *recipients => last.publications.push(Arc::clone(publication)),
                _ => strand.jobs.push(Job { publications: vec![Arc::clone(publication)], recipients }),
            }
            if !std::mem::replace(&mut strand.scheduled, true) {
                strands.push((index, strand.deliveries));
            }
        }
        Pushed { strands, inline }
    }

    /// Runs what a push has made runnable: here, or on the fan-out threads.
    pub(crate) fn run(&self, pushed: Pushed, sender: &mut Option<Sender>) {
        if pushed.strands.is_empty() {
            return;
        }
        if pushed.inline {
            if sender.is_none() {
                *sender = self.sender();
            }
            for (strand, _) in pushed.strands {
                if let Some(left) = self.round(strand, sender.as_mut()) {
                    self.schedule([(strand, left)]);
                }
            }
        } else {
            self.schedule(pushed.strands);
        }
    }

    fn schedule(&self, strands: impl IntoIterator<Item = (usize, usize)>) {
        let at = if self.limits.coalesce.is_zero() { Instant::now() } else { Instant::now() + self.limits.coalesce };
        let mut runnable = self.runnable.lock();
        let mut count = 0;
        for (strand, deliveries) in strands {
            let queue = if deliveries <= SMALL_ROUND { &mut runnable.small } else { &mut runnable.big };
            queue.push_back((at, strand));
            count += 1;
        }
        drop(runnable);
        if count > 1 {
            self.work.notify_all();
        } else {
            self.work.notify_one();
        }
    }

    /// The life of a fan-out thread.
    fn carry(&self) {
        let mut sender = None;
        while !self.stopping.load(Ordering::Acquire) {
            let mut runnable = self.runnable.lock();
            match runnable.take(Instant::now()) {
                Ok(strand) => {
                    drop(runnable);
                    if sender.is_none() {
                        sender = self.sender();
                    }
                    if let Some(left) = self.round(strand, sender.as_mut()) {
                        self.schedule([(strand, left)]);
                    }
                }
                Err(next) => {
                    // A sender keeps the server's memory alive: not while there is nothing to send.
                    sender = None;
                    if self.stopping.load(Ordering::Acquire) {
                        return;
                    }
                    match next {
                        Some(at) => drop(self.work.wait_until(&mut runnable, at)),
                        None => self.work.wait(&mut runnable),
                    }
                }
            }
        }
    }

    /// One round of a strand: everything that waits in it. Answers the deliveries that came meanwhile, if any did.
    fn round(&self, index: usize, sender: Option<&mut Sender>) -> Option<usize> {
        let mut strand = self.strands[index].lock();
        let jobs = std::mem::take(&mut strand.jobs);
        let deliveries = std::mem::take(&mut strand.deliveries);
        drop(strand);
        if let Some(sender) = sender {
            match jobs.as_slice() {
                [job] => self.carry_one(job, sender),
                jobs => self.carry_several(jobs, sender),
            }
        }
        let carried = jobs.iter().flat_map(|job| &job.publications).filter(|publication| publication.was_carried());
        let bytes: usize = carried.map(|publication| publication.bytes()).sum();
        drop(jobs);
        let falls_below = |count: &AtomicUsize, less: usize, limit: usize| {
            let before = count.fetch_sub(less, Ordering::Relaxed);
            before >= limit && before - less < limit
        };
        let fewer = falls_below(&self.backlog, deliveries, self.limits.backlog);
        if falls_below(&self.backlog_bytes, bytes, self.limits.backlog_bytes) || fewer {
            let _lock = self.room_lock.lock();
            self.room.notify_all();
        }
        let mut strand = self.strands[index].lock();
        strand.scheduled = !strand.jobs.is_empty();
        strand.scheduled.then_some(strand.deliveries)
    }

    /// The joined bytes are made once for each encoding and shared.
    fn carry_one(&self, job: &Job, sender: &mut Sender) {
        let mut joined: [Option<Vec<Piece>>; Encoding::ALL.len()] = Default::default();
        for login in job.recipients.iter() {
            let pieces = joined[login.encoding as usize]
                .get_or_insert_with(|| join(job.publications.iter(), login.encoding, self.limits.piece_bytes()));
            self.hand_over(*login, pieces, sender);
        }
    }

    /// Each recipient gets what is for it out of all jobs; neighbours with the same messages share the bytes.
    fn carry_several(&self, jobs: &[Job], sender: &mut Sender) {
        let mut places: Vec<Place> = jobs
            .iter()
            .enumerate()
            .flat_map(|(index, job)| job.recipients.iter().map(move |login| (*login, index)))
            .collect();
        places.sort_unstable();
        let mut last: Option<Joined<'_>> = None;
        for run in places.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((login, _)) = run.first() else { continue };
            let joined = match last.take().filter(|last| last.suits(*login, run)) {
                Some(last) => last,
                None => {
                    let publications = run.iter().flat_map(|(_, job)| &jobs[*job].publications);
                    Joined {
                        encoding: login.encoding,
                        run,
                        pieces: join(publications, login.encoding, self.limits.piece_bytes()),
                    }
                }
            };
            self.hand_over(*login, &joined.pieces, sender);
            last = Some(joined);
        }
    }

    fn hand_over(&self, login: Login, pieces: &[Piece], sender: &mut Sender) {
        for piece in pieces {
            // As they are carried, there is nothing to send of empty messages.
            if piece.bytes.is_empty() {
                self.stats.handed_over.add(piece.messages);
                continue;
            }
            match sender.send(login.token, Message::clone(&piece.bytes)) {
                Ok(_) => self.stats.handed_over.add(piece.messages),
                Err(SendError::Gone) => {
                    self.stats.gone.add(piece.messages);
                    return;
                }
                Err(error) => {
                    tracing::debug!(connection = %login.token, %error, "a message is dropped");
                    self.stats.dropped_full.add(piece.messages);
                    if self.disconnects {
                        self.remote.get().map(|remote| remote.close(login.token));
                        return;
                    }
                }
            }
        }
    }
}

/// What a push has made runnable.
#[derive(Debug)]
#[must_use = "strands that nobody runs deliver nothing"]
pub(crate) struct Pushed {
    strands: Vec<(usize, usize)>,
    inline: bool,
}
