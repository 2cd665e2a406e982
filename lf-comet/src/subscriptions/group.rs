//! Who commits: one of those who wait, for all of them.
//!
//! There is no thread for it. A caller whose turn it is takes every job that waits and writes them together; what comes
//! meanwhile is the next group. So a caller alone pays for nothing but the disk, and many share what it costs.

use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::fmt;

/// Jobs taken at a time: what bounds the memory of a group.
const JOBS_MAX: usize = 64;

/// Does jobs, several at a time.
pub(super) trait Work: Send {
    type Job: Send;
    type Answer: Send;

    /// Does all `jobs`; answers as many.
    fn work(&mut self, jobs: Vec<Self::Job>) -> Vec<Self::Answer>;

    /// Does what nobody waits for.
    fn tidy(&mut self);

    /// The answer to jobs whose group was not finished, because a thread panicked.
    fn abandoned() -> Self::Answer;
}

/// A worker, and those who wait for it.
pub(super) struct Group<W: Work> {
    worker: Mutex<W>,
    queue: Mutex<Queue<W>>,
    changed: Condvar,
}

struct Queue<W: Work> {
    next_ticket: u64,
    waiting: Vec<(u64, W::Job)>,
    answers: HashMap<u64, W::Answer>,
    /// Somebody has the worker.
    is_taken: bool,
}

/// Gives the worker back, come what may.
struct Turn<'a, W: Work> {
    group: &'a Group<W>,
    tickets: Vec<u64>,
}

impl<W: Work> Turn<'_, W> {
    fn answer(&mut self, answers: Vec<W::Answer>) {
        self.group.queue.lock().answers.extend(self.tickets.drain(..).zip(answers));
        self.group.changed.notify_all();
    }
}

impl<W: Work> Drop for Turn<'_, W> {
    fn drop(&mut self) {
        let mut queue = self.group.queue.lock();
        queue.answers.extend(self.tickets.drain(..).map(|ticket| (ticket, W::abandoned())));
        queue.is_taken = false;
        self.group.changed.notify_all();
    }
}

impl<W: Work> Group<W> {
    pub(super) fn new(worker: W) -> Self {
        let queue = Queue { next_ticket: 0, waiting: Vec::new(), answers: HashMap::new(), is_taken: false };
        Self { worker: Mutex::new(worker), queue: Mutex::new(queue), changed: Condvar::new() }
    }

    /// Has a job done. Blocks.
    pub(super) fn run(&self, job: W::Job) -> W::Answer {
        let mut queue = self.queue.lock();
        let own = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push((own, job));
        loop {
            if let Some(answer) = queue.answers.remove(&own) {
                return answer;
            }
            if queue.is_taken {
                self.changed.wait(&mut queue);
                continue;
            }
            queue.is_taken = true;
            let count = queue.waiting.len().min(JOBS_MAX);
            let (tickets, jobs) = queue.waiting.drain(..count).unzip();
            drop(queue);
            let mut turn = Turn { group: self, tickets };
            let mut worker = self.worker.lock();
            turn.answer(worker.work(jobs));
            worker.tidy();
            drop(worker);
            drop(turn);
            queue = self.queue.lock();
        }
    }

    pub(super) fn into_worker(self) -> W {
        self.worker.into_inner()
    }
}

impl<W: Work> fmt::Debug for Group<W> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Group({} waiting)", self.queue.lock().waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    /// Doubles numbers, once it is told to go on. Panics at 13.
    struct Doubler {
        go_on: mpsc::Receiver<()>,
        sizes: Vec<usize>,
    }

    impl Work for Doubler {
        type Job = u64;
        type Answer = Option<u64>;

        fn work(&mut self, jobs: Vec<u64>) -> Vec<Option<u64>> {
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

    fn group() -> (Group<Doubler>, mpsc::Sender<()>) {
        let (sender, go_on) = mpsc::channel();
        (Group::new(Doubler { go_on, sizes: Vec::new() }), sender)
    }

    fn wait_for(group: &Group<Doubler>, waiting: usize) {
        while group.queue.lock().waiting.len() != waiting || !group.queue.lock().is_taken {
            thread::yield_now();
        }
    }

    #[test]
    fn who_comes_during_a_group_shares_the_next() {
        let (group, go_on) = group();
        thread::scope(|scope| {
            let first = scope.spawn(|| group.run(1));
            wait_for(&group, 0);
            let others: Vec<_> = (2..12)
                .map(|job| {
                    (
                        job,
                        scope.spawn({
                            let group = &group;
                            move || group.run(job)
                        }),
                    )
                })
                .collect();
            wait_for(&group, 10);
            drop(go_on);
            assert_eq!(first.join().unwrap(), Some(2));
            for (job, thread) in others {
                assert_eq!(thread.join().unwrap(), Some(2 * job));
            }
        });
        assert_eq!(group.into_worker().sizes, [1, 10]);
    }

    #[test]
    fn a_panic_leaves_nobody_waiting() {
        let (group, go_on) = group();
        thread::scope(|scope| {
            let first = scope.spawn(|| group.run(1));
            wait_for(&group, 0);
            let others = [13, 14, 15].map(|job| {
                scope.spawn({
                    let group = &group;
                    move || group.run(job)
                })
            });
            wait_for(&group, 3);
            drop(go_on);
            assert_eq!(first.join().unwrap(), Some(2));
            let answers = others.map(thread::ScopedJoinHandle::join);
            assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1, "one of them panicked");
            assert!(answers.into_iter().flatten().all(|answer| answer.is_none()));
        });
        assert_eq!(group.run(4), Some(8));
    }
}
