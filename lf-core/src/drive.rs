//! Around a turn: arm before release, and go round again while others left notes.

use crate::config::{Rebalance, Trigger};
use crate::conn::{Conn, Slot};
use crate::group::Group;
use crate::handler::Closed;
use crate::service::{Ready, Stage, Verdict};
use crate::shared::Shared;
use crate::stats::{CloseReason, Count};
use crate::sys::claim::{Claimed, Notes, Owned};
use crate::sys::epoll::Mask;
use crate::token::Token;
use crate::work::Work;
use std::io;
use std::sync::atomic::Ordering;

/// Turns in a row of one connection, while others leave notes; then its neighbours have theirs.
const ROUNDS_MAX: u32 = 16;
/// The same for a thread that only came to send: it has its own work to do.
const SENDER_ROUNDS_MAX: u32 = 2;

/// What a note asks for is not said more exactly than this.
const ANY_IO: Mask = Mask::READ.and(Mask::WRITE);

/// The turn that notes ask for.
pub(crate) fn ready_of(notes: Notes) -> Ready {
    Ready { mask: if notes.has(Notes::IO) { ANY_IO } else { Mask::NONE }, exact: false, notes }
}

/// Claims a connection for `ready` and serves it, or leaves the note to who owns it.
pub(crate) fn claim_and_drive(server: &Shared, token: Token, ready: Ready, work: &mut Work, buffer: Option<&mut [u8]>) {
    match server.table.claim(token, ready.as_notes()) {
        (Some(slot), Claimed::Owned(owned)) => drive(server, slot, owned, token, ready, work, buffer),
        (_, Claimed::Noted) => work.sheet.add(Count::Notes, 1),
        (_, Claimed::Owned(_) | Claimed::Stale) => {
            if ready.mask != Mask::NONE {
                work.sheet.add(Count::StaleEvents, 1);
            }
        }
    }
}

/// Serves turns of an owned connection until it can be let go.
pub(crate) fn drive(
    server: &Shared,
    slot: &Slot,
    mut owned: Owned<'_, Conn>,
    token: Token,
    mut ready: Ready,
    work: &mut Work,
    mut buffer: Option<&mut [u8]>,
) {
    let rounds_max = if buffer.is_some() { ROUNDS_MAX } else { SENDER_ROUNDS_MAX };
    for round in 1.. {
        // The entry of an earlier life may fire on another group's wheel, or find who came to send.
        if ready.notes.has(Notes::TIMER) && owned.outgoing && work.home != Some(usize::from(owned.group)) {
            return put_back(server, owned, token, ready.as_notes());
        }
        let conn = &mut *owned;
        if ready.mask != Mask::NONE {
            conn.armed = Mask::NONE;
        }
        if conn.slow {
            work.hand_over(Count::LearnedHandOvers);
        }
        work.sheet.add(Count::Turns, 1);
        let service = &server.services[usize::from(conn.service)];
        let stage = Stage { token, conn, outbox: &slot.outbox, work };
        let verdict = service.serve(stage, ready, buffer.as_deref_mut());
        let again = match verdict {
            Verdict::Close(why) => return close(server, slot, owned, token, why, work),
            Verdict::Again => true,
            Verdict::Keep => false,
        };
        if let Err(error) = rearm(server, slot, &mut owned, token, again, work) {
            tracing::warn!(%token, %error, "cannot re-arm the connection; it is closed");
            owned.fail(&error);
            return close(server, slot, owned, token, CloseReason::System, work);
        }
        let group = usize::from(owned.group);
        match owned.release() {
            // From here on somebody else may own it.
            Ok(()) => {
                if again {
                    requeue(&server.groups[group], token, Notes::RESUME, work);
                }
                return;
            }
            Err((still_ours, notes)) if round >= rounds_max => {
                let notes = let_go(still_ours, if again { notes | Notes::RESUME } else { notes });
                return requeue(&server.groups[group], token, notes, work);
            }
            Err((still_ours, notes)) => {
                owned = still_ours;
                ready = ready_of(if again { notes | Notes::RESUME } else { notes });
            }
        }
    }
}

fn requeue(group: &Group, token: Token, notes: Notes, work: &Work) {
    work.sheet.add(Count::Requeues, 1);
    group.queue_turn(token, notes);
    // The leader looks at the queue before it waits; everybody else has to ring, a leader that was deposed included.
    let at_home = work.home == Some(group.index);
    let leads = work.lead.as_ref().is_some_and(|lead| group.baton.holds(lead));
    if !(at_home && leads) {
        group.wake_if_asleep();
    }
}

/// Lets go of a connection without serving it; answers `notes` and all that came meanwhile.
pub(crate) fn let_go(mut owned: Owned<'_, Conn>, mut notes: Notes) -> Notes {
    loop {
        // Whoever sends before the notes are served must find that something waits already.
        owned.mail |= notes.has(Notes::OUTBOX);
        match owned.release() {
            Ok(()) => return notes,
            Err((again, more)) => (owned, notes) = (again, notes | more),
        }
    }
}

/// Lets go of a connection; `notes`, and what came meanwhile, are for its group to serve.
pub(crate) fn put_back(server: &Shared, owned: Owned<'_, Conn>, token: Token, notes: Notes) {
    let group = &server.groups[usize::from(owned.group)];
    let notes = let_go(owned, notes);
    if !notes.is_empty() {
        group.queue_turn(token, notes);
        group.wake_if_asleep();
    }
}

/// Asks epoll for what the connection wants now, and the wheel for its next deadline.
fn rearm(server: &Shared, slot: &Slot, conn: &mut Conn, token: Token, again: bool, work: &Work) -> io::Result<()> {
    if server.config.rebalance != Rebalance::Off && work.home.is_some() && conn.registered {
        migrate(server, conn, token, work)?;
    }
    let group = &server.groups[usize::from(conn.group)];
    group.schedule(slot, token, conn.first_deadline_ms());
    // Who is queued again is armed after that turn.
    if again || (conn.registered && server.config.trigger == Trigger::Edge) {
        return Ok(());
    }
    let wanted = registration(server.config.trigger, conn.interest());
    if conn.armed == wanted && conn.registered {
        return Ok(());
    }
    conn.armed = wanted;
    let Some(fd) = conn.fd() else { return Ok(()) };
    if conn.registered {
        work.sheet.add(Count::Rearms, 1);
        return group.epoll.modify(fd, wanted, token.to_bits());
    }
    group.epoll.add(fd, wanted, token.to_bits())?;
    conn.registered = true;
    Ok(())
}

/// Puts a connection into another group if its own has been asked to shed some.
fn migrate(server: &Shared, conn: &mut Conn, token: Token, work: &Work) -> io::Result<()> {
    let from = &server.groups[usize::from(conn.group)];
    if conn.outgoing {
        return Ok(());
    }
    let Some(target) = from.take_shed() else { return Ok(()) };
    let (Some(to), Ok(target)) = (server.groups.get(target), u16::try_from(target)) else { return Ok(()) };
    let Some(fd) = conn.fd() else { return Ok(()) };
    let mask = registration(server.config.trigger, conn.interest());
    from.epoll.delete(fd)?;
    to.epoll.add(fd, mask, token.to_bits())?;
    conn.armed = mask;
    conn.group = target;
    from.connections.fetch_sub(1, Ordering::Relaxed);
    to.connections.fetch_add(1, Ordering::Relaxed);
    work.sheet.add(Count::Migrations, 1);
    Ok(())
}

/// What a new member of an epoll set asks for.
pub(crate) const fn registration(trigger: Trigger, interest: Mask) -> Mask {
    match trigger {
        Trigger::OneShot => interest.and(Mask::ONESHOT),
        Trigger::Edge => Mask::READ.and(Mask::WRITE).and(Mask::PEER_CLOSED).and(Mask::EDGE),
    }
}

/// Ends a connection's life. Only its owner can.
pub(crate) fn close(
    server: &Shared,
    slot: &Slot,
    mut owned: Owned<'_, Conn>,
    token: Token,
    why: CloseReason,
    work: &mut Work,
) {
    let mut conn = std::mem::replace(&mut *owned, Conn::VACANT);
    work.out.clear();
    let closed = Closed { token, peer: conn.peer, why, error: conn.error() };
    server.services[usize::from(conn.service)].closed(&mut conn, &closed);
    let dropped = conn.queued_bytes() + slot.outbox.turn_over(token.generation().wrapping_add(1)) as usize;
    server.forget_queued(dropped);
    let outgoing = conn.outgoing;
    if outgoing {
        work.sheet.outgoing_closed(why);
    } else {
        work.sheet.closed(why);
        server.groups[usize::from(conn.group)].connections.fetch_sub(1, Ordering::Relaxed);
        server.admission.leave(conn.peer);
    }
    // Closing the only descriptor takes it out of the epoll set; an event that is under way is stale by its generation.
    drop(conn);
    server.table.vacate(token, owned);
    if outgoing { server.outgoing_left() } else { server.left() }
}
