//! Many callers, one commit.
//!
//! A thread takes every job that waits and does them together; what comes meanwhile is the next group. So a caller
//! alone pays for nothing but the disk, and many share what it costs.
//!
//! Who is answered comes back soon, but not all at once. If the next group began with the first of them, the others would
//! wait for two. So it waits a little for as many as there were the last time.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Jobs taken at a time: what bounds the memory of a group.
const JOBS_MAX: usize = 64;
/// A group is gathered for this part of the time that the last one took, at most.
const GATHERING: u32 = 8;

/// Does jobs, several at a time.
pub(super) trait Work: Send + 'static {
    type Job: Send;
    type Answer: Send;

    /// Does all `jobs`; answers as many.
    fn work(&mut self, jobs: Vec<Self::Job>) -> Vec<Self::Answer>;

    /// Does what nobody waits for.
    fn tidy(&mut self);

    /// The answer to jobs whose group was not finished, because something panicked.
    fn abandoned() -> Self::Answer;
}

/// A worker on a thread of its own, and those who wait for it.
pub(super) struct Group<W: Work> {
    shared: Arc<Shared<W>>,
    thread: JoinHandle<W>,
}

struct Shared<W: Work> {
    queue: Mutex<Queue<W>>,
    /// There is one more job, or there will be none.
    came: Condvar,
    /// There are answers.
    answered: Condvar,
}

struct Queue<W: Work> {
    next_ticket: u64,
    waiting: Vec<(u64, W::Job)>,
    answers: HashMap<u64, W::Answer>,
    is_over: bool,
}

impl<W: Work> Group<W> {
    /// Starts the thread.
    pub(super) fn start(worker: W) -> io::Result<Self> {
        let queue = Queue { next_ticket: 0, waiting: Vec::new(), answers: HashMap::new(), is_over: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), came: Condvar::new(), answered: Condvar::new() });
        let thread = Builder::new().name("subscriptions".into());
        let thread = thread.spawn({
            let shared = Arc::clone(&shared);
            move || shared.serve(worker)
        })?;
        Ok(Self { shared, thread })
    }

    /// Has a job done. Blocks.
    pub(super) fn run(&self, job: W::Job) -> W::Answer {
        let mut queue = self.shared.queue.lock();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push((ticket, job));
        self.shared.came.notify_one();
        loop {
            if let Some(answer) = queue.answers.remove(&ticket) {
                return answer;
            }
            self.shared.answered.wait(&mut queue);
        }
    }

    /// Ends the thread; `None` if it panicked.
    pub(super) fn end(self) -> Option<W> {
        self.shared.queue.lock().is_over = true;
        self.shared.came.notify_one();
        self.thread.join().ok()
    }
}

impl<W: Work> Shared<W> {
    /// The life of the thread.
    fn serve(&self, mut worker: W) -> W {
        let mut last = (0, Duration::ZERO);
        while let Some((tickets, jobs)) = self.gather(last) {
            let begin = Instant::now();
            let count = jobs.len();
            let answers = catch_unwind(AssertUnwindSafe(|| worker.work(jobs)));
            let answers = answers.unwrap_or_else(|_| tickets.iter().map(|_| W::abandoned()).collect());
            self.queue.lock().answers.extend(tickets.into_iter().zip(answers));
            self.answered.notify_all();
            // Nobody waits for it, but many will for the next group.
            if catch_unwind(AssertUnwindSafe(|| worker.tidy())).is_err() {
                tracing::error!("the subscriptions could not be tidied up");
            }
            last = (count, begin.elapsed());
        }
        worker
    }

    /// Waits for jobs, and a little for as many as there were in the `last` group, which took so long. Answers them with their
    /// tickets; `None` once it is over.
    #[allow(clippy::type_complexity, reason = "two lists")]
    fn gather(&self, last: (usize, Duration)) -> Option<(Vec<u64>, Vec<W::Job>)> {
        let mut queue: MutexGuard<'_, Queue<W>> = self.queue.lock();
        while queue.waiting.is_empty() {
            if queue.is_over {
                return None;
            }
            self.came.wait(&mut queue);
        }
        let (jobs, took) = last;
        let deadline = Instant::now() + took / GATHERING;
        while queue.waiting.len() < jobs && !self.came.wait_until(&mut queue, deadline).timed_out() {}
        let count = queue.waiting.len().min(JOBS_MAX);
        Some(queue.waiting.drain(..count).unzip())
    }
}

impl<W: Work> fmt::Debug for Group<W> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Group({} waiting)", self.shared.queue.lock().waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    /// Doubles numbers: tells when it begins, and goes on when it is told to. Panics at 13.
    struct Doubler {
        begins: mpsc::Sender<()>,
        go_on: mpsc::Receiver<()>,
        sizes: Vec<usize>,
    }

    impl Work for Doubler {
        type Job = u64;
        type Answer = Option<u64>;

        fn work(&mut self, jobs: Vec<u64>) -> Vec<Option<u64>> {
            self.begins.send(()).unwrap();
            let _ = self.go_on.recv();
            self.sizes.push(jobs.len());
            assert!(!jobs.contains(&13), "an unlucky number");
            jobs.into_iter().map(|job| Some(job * 2)).collect()
        }

        fn tidy(&mut self) {}

        fn abandoned() -> Option<u64> {
            None
        }
    }

    /// Runs the first job alone, and while it is at work has the others come; answers what became of them all.
    fn run(first: u64, others: &[u64]) -> (Vec<Option<u64>>, Vec<usize>) {
        let ((begins, begun), (go, go_on)) = (mpsc::channel(), mpsc::channel());
        let group = Group::start(Doubler { begins, go_on, sizes: Vec::new() }).unwrap();
        let mut answers = Vec::new();
        thread::scope(|scope| {
            let group = &group;
            let first = scope.spawn(move || group.run(first));
            begun.recv().unwrap();
            let others: Vec<_> = others.iter().map(|job| scope.spawn(move || group.run(*job))).collect();
            while group.shared.queue.lock().waiting.len() < others.len() {
                thread::yield_now();
            }
            drop(go);
            answers.push(first.join().unwrap());
            answers.extend(others.into_iter().map(|thread| thread.join().unwrap()));
        });
        (answers, group.end().unwrap().sizes)
    }

    #[test]
    fn who_comes_during_a_group_shares_the_next() {
        let (answers, sizes) = run(1, &[2, 3, 4, 5, 6]);
        assert_eq!(answers, [2, 4, 6, 8, 10, 12].map(Some));
        assert_eq!(sizes, [1, 5]);
    }

    /// Does what it is asked, and panics behind everybody's back.
    struct Untidy;

    impl Work for Untidy {
        type Job = u64;
        type Answer = Option<u64>;

        fn work(&mut self, jobs: Vec<u64>) -> Vec<Option<u64>> {
            jobs.into_iter().map(Some).collect()
        }

        fn tidy(&mut self) {
            panic!("a mess");
        }

        fn abandoned() -> Option<u64> {
            None
        }
    }

    #[test]
    fn a_panic_while_nobody_waits_does_not_end_the_thread() {
        let group = Group::start(Untidy).unwrap();
        assert_eq!([1, 2, 3].map(|job| group.run(job)), [1, 2, 3].map(Some));
        assert!(group.end().is_some());
    }

    #[test]
    fn a_panic_leaves_nobody_waiting() {
        let (answers, sizes) = run(1, &[12, 13, 14]);
        assert_eq!(answers, [Some(2), None, None, None]);
        assert_eq!(sizes, [1, 3]);
        assert_eq!(run(13, &[14]).0, [None, Some(28)], "the next group is done");
    }
}
