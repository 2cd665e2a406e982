//! When the suspended calls of a VM are to go on at the latest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Ids of tasks are below this; a ticket is `generation * TICKET_IDS + id`.
pub(crate) const TICKET_IDS: f64 = 1_048_576.0;

const NEVER_MS: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Task {
    /// What waits, and until when.
    ticket: f64,
    due_ms: u64,
    /// When the task's entry in the heap is looked at. A deadline that moves later does not touch the heap.
    entry_ms: u64,
}

/// The deadlines of a VM, one for each task.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    tasks: Vec<Task>,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

/// The task that a ticket is for.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a remainder below 2^20")]
fn id_of(ticket: f64) -> u32 {
    ticket.rem_euclid(TICKET_IDS) as u32
}

impl Deadlines {
    /// Sets the deadline of a task, in place of the one that it had.
    pub(crate) fn set(&mut self, ticket: f64, due_ms: u64) {
        let id = id_of(ticket);
        if self.tasks.len() <= id as usize {
            let vacant = Task { ticket: 0.0, due_ms: NEVER_MS, entry_ms: NEVER_MS };
            self.tasks.resize(id as usize + 1, vacant);
        }
        let task = &mut self.tasks[id as usize];
        (task.ticket, task.due_ms) = (ticket, due_ms);
        if due_ms < task.entry_ms {
            task.entry_ms = due_ms;
            self.heap.push(Reverse((due_ms, id)));
        }
    }

    /// When the next look is worth while.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ms, _))| *at_ms)
    }

    /// Takes a ticket whose deadline has passed.
    pub(crate) fn expired(&mut self, now_ms: u64) -> Option<f64> {
        while let Some(&Reverse((at_ms, id))) = self.heap.peek() {
            if at_ms > now_ms {
                return None;
            }
            self.heap.pop();
            let task = &mut self.tasks[id as usize];
            if task.entry_ms != at_ms {
                continue;
            }
            task.entry_ms = NEVER_MS;
            if task.due_ms <= now_ms {
                task.due_ms = NEVER_MS;
                return Some(task.ticket);
            }
            if task.due_ms != NEVER_MS {
                task.entry_ms = task.due_ms;
                self.heap.push(Reverse((task.due_ms, id)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_deadline_that_moves_later_costs_one_entry() {
        let mut deadlines = Deadlines::default();
        for due_ms in 100..200 {
            deadlines.set(5.0, due_ms);
        }
        assert_eq!(deadlines.heap.len(), 1);
        assert_eq!(deadlines.expired(150), None);
        assert_eq!(deadlines.next_ms(), Some(199));
        assert_eq!(deadlines.expired(199), Some(5.0));
        assert_eq!(deadlines.next_ms(), None);
    }

    proptest! {
        #[test]
        fn the_last_deadline_of_a_task_fires_once_and_never_early(
            steps in prop::collection::vec((0u32..8, 1u64..50, 0u64..20), 1..100)
        ) {
            let mut deadlines = Deadlines::default();
            let mut due: [Option<(f64, u64)>; 8] = [None; 8];
            let mut now_ms = 0;
            for (generation, (id, ahead_ms, step_ms)) in (1u32..).zip(steps) {
                let ticket = f64::from(generation) * TICKET_IDS + f64::from(id);
                deadlines.set(ticket, now_ms + ahead_ms);
                due[id as usize] = Some((ticket, now_ms + ahead_ms));
                now_ms += step_ms;
                while let Some(ticket) = deadlines.expired(now_ms) {
                    let (set, at_ms) = due[id_of(ticket) as usize].take().unwrap();
                    prop_assert_eq!(set.to_bits(), ticket.to_bits());
                    prop_assert!(at_ms <= now_ms);
                }
                prop_assert!(due.iter().flatten().all(|(_, at_ms)| *at_ms > now_ms));
            }
        }
    }
}
