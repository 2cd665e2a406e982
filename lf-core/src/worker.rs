//! A worker: leads its group, or rests until it is promoted.

use crate::blocking;
use crate::config::Promotion;
use crate::drive;
use crate::group::{Group, batch_events};
use crate::service::Ready;
use crate::shared::Shared;
use crate::stats::Count;
use crate::sys::claim::Notes;
use crate::sys::epoll::{Event, Events};
use crate::token::Token;
use crate::work::Work;
use std::sync::Arc;

/// Room for one read. A worker's own: connections keep only what is unfinished.
const READ_BYTES: usize = 64 * 1024;

/// With `Promotion::Kernel`, how late a deadline can be when workers block.
const KERNEL_SLEEP_MS_MAX: i32 = 1000;

/// Starts one more worker in a group; `false` if it has all that it may have.
pub(crate) fn start(server: &Arc<Shared>, group: usize) -> std::io::Result<bool> {
    let Some(seat) = server.groups[group].take_seat() else { return Ok(false) };
    let shared = Arc::clone(server);
    let name = format!("{}-{group}.{seat}", server.config.name);
    server
        .spawn(name, move || Worker::new(shared, group, seat).run())
        .inspect_err(|_| server.groups[group].give_back_seat(seat))?;
    Ok(true)
}

struct Worker {
    server: Arc<Shared>,
    group: usize,
    seat: usize,
    work: Work,
    buffer: Box<[u8]>,
    events: Events,
}

impl Worker {
    fn new(server: Arc<Shared>, group: usize, seat: usize) -> Self {
        let events = Events::with_capacity(batch_events(&server.config));
        let sheet = server.stats.sheet();
        let work = Work::new(Arc::clone(&server), sheet, Some(group));
        Self { server, group, seat, work, buffer: vec![0; READ_BYTES].into(), events }
    }

    fn run(mut self) {
        self.pin();
        let server = Arc::clone(&self.server);
        let group = &server.groups[self.group];
        match server.config.promotion {
            Promotion::Adaptive => {
                let manners = group.manners_of(self.seat);
                manners.sit_down();
                while let Some(lead) = group.baton.take(self.seat) {
                    group.is_led_from(self.seat);
                    // Somebody may have meant the one who leads now.
                    manners.settle();
                    blocking::leads(&server, self.group, &lead);
                    self.work.lead = Some(lead);
                    self.lead(group);
                    manners.settle();
                }
            }
            Promotion::Kernel => self.wait_with_the_others(group),
        }
    }

    fn pin(&self) {
        if !self.server.config.pin {
            return;
        }
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let Some(core) = cores.get(self.group % cores.len().max(1)) else { return };
        if !core_affinity::set_for_current(*core) {
            tracing::warn!(group = self.group, core = core.id, "cannot pin the worker to its core");
        }
    }

    /// Waits and serves for as long as this worker leads.
    fn lead(&mut self, group: &Group) {
        // The monitor may have gone to sleep while nobody led.
        self.server.bell.ring_if_asleep();
        self.work.read_clock();
        self.take_over(group);
        while self.still_leads(group) {
            if !self.work.lead.as_ref().is_some_and(|lead| group.baton.wait_begins(lead)) {
                break;
            }
            // Only now, when nobody can depose us, is it ours to say how long the group sleeps.
            let timeout_ms = self.sleep_ms(group);
            let count = self.wait(group, timeout_ms);
            // Published before we can be deposed: whoever then takes over finds it.
            let batch = &group.batches[self.seat];
            batch.publish(self.events.take(count));
            if !self.work.lead.as_ref().is_some_and(|lead| group.baton.wait_ends(lead)) {
                break;
            }
            self.server.bell.ring_if_asleep();
            self.work.read_clock();
            self.work.sheet.add(Count::Events, count as u64);
            // Also when deposed meanwhile: what nobody else has taken yet is still served here.
            while let Some(event) = batch.claim() {
                self.serve(group, event);
            }
            self.serve_waiting(group);
        }
        self.work.lead = None;
    }

    /// What a stuck worker's batch still holds comes first: it has waited longest.
    fn take_over(&mut self, group: &Group) {
        for batch in &group.batches {
            while let Some(event) = batch.claim() {
                self.work.sheet.add(Count::StolenEvents, 1);
                self.serve(group, event);
                if self.work.lead.is_none() {
                    return;
                }
            }
        }
        self.serve_waiting(group);
    }

    fn still_leads(&self, group: &Group) -> bool {
        self.work.lead.as_ref().is_some_and(|lead| group.baton.holds(lead))
    }

    fn wait_with_the_others(&mut self, group: &Group) {
        while !self.server.is_stopping() {
            // Who knows of the next deadline may be blocked when it is due: nobody sleeps for ever.
            let timeout_ms = match self.sleep_ms(group) {
                -1 => KERNEL_SLEEP_MS_MAX,
                timeout_ms => timeout_ms.min(KERNEL_SLEEP_MS_MAX),
            };
            let count = self.wait(group, timeout_ms);
            self.work.read_clock();
            self.work.sheet.add(Count::Events, count as u64);
            let event = self.events.take(count).next();
            if let Some(event) = event {
                self.serve(group, event);
            }
            self.serve_waiting(group);
        }
    }

    fn sleep_ms(&self, group: &Group) -> i32 {
        // Said first, then looked at the queue: who adds to it meanwhile rings.
        let timeout_ms = group.timers.sleep_ms(self.work.now_ms);
        if group.queued_turns() > 0 { 0 } else { timeout_ms }
    }

    fn wait(&mut self, group: &Group, timeout_ms: i32) -> usize {
        let count = group.epoll.wait(&mut self.events, timeout_ms).unwrap_or_else(|error| {
            // A lasting error (EBADF, EFAULT) would be a bug; anything else passes.
            tracing::error!(group = group.index, %error, "epoll_wait failed");
            std::thread::sleep(std::time::Duration::from_millis(10));
            0
        });
        group.timers.awake();
        count
    }

    fn serve(&mut self, group: &Group, event: Event) {
        if event.data == Token::WAKE {
            if group.all_wait {
                group.clear_wake();
                // That may have been the call to stop, which all have to hear.
                if self.server.is_stopping() {
                    group.wake();
                }
            }
            return;
        }
        self.serve_token(Token::from_bits(event.data), Ready { mask: event.mask, exact: true, notes: Notes::NONE });
        self.progressed(group);
    }

    fn serve_token(&mut self, token: Token, ready: Ready) {
        drive::claim_and_drive(&self.server, token, ready, &mut self.work, Some(&mut self.buffer));
    }

    /// What no event brings: turns that were used up, and deadlines.
    fn serve_waiting(&mut self, group: &Group) {
        group.queue_due(self.work.now_ms, &self.server.table);
        // As many as wait now: who is queued again comes after the next look at epoll.
        for _ in 0..group.queued_turns() {
            let Some((token, notes)) = group.queued_turn() else { break };
            self.serve_token(token, drive::ready_of(notes));
            self.progressed(group);
        }
    }

    fn progressed(&mut self, group: &Group) {
        if self.still_leads(group) {
            group.progressed();
        }
    }
}
