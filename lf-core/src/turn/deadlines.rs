//! The deadlines of a turn: what has passed when it begins, and what is set when it ends.

use super::Turn;
use crate::codec::Codec;
use crate::conn::{Awaiting, Phase};
use crate::handler::{Handler, Timeout};
use crate::stats::CloseReason;
use crate::timer::NEVER_MS;
use crate::work::after_ms;

impl<C: Codec, H: Handler<C>> Turn<'_, C, H> {
    pub(super) fn meet_deadlines(&mut self) -> Result<(), CloseReason> {
        self.work.read_clock();
        let now_ms = self.work.now_ms;
        if self.conn.deadlines.user_ms <= now_ms {
            self.conn.deadlines.user_ms = NEVER_MS;
            if self.conn.phase == Phase::Open {
                self.call(|handler, cx| handler.timeout(cx, Timeout::User))?;
            }
        }
        let (which, why) = if self.conn.write_deadline_ms() <= now_ms {
            (Timeout::WriteStall, CloseReason::WriteStall)
        } else if self.conn.deadlines.read_ms <= now_ms {
            match (self.conn.awaiting, self.conn.phase) {
                (Awaiting::Linger, Phase::Lingering(why)) => {
                    self.work.failed = Some(why);
                    return Err(why);
                }
                (Awaiting::FirstByte | Awaiting::Linger, _) => (Timeout::FirstByte, CloseReason::FirstByteTimeout),
                (Awaiting::FrameEnd, _) => (Timeout::Frame, CloseReason::FrameTimeout),
                (Awaiting::NextFrame, _) => (Timeout::Idle, CloseReason::IdleTimeout),
            }
        } else {
            return Ok(());
        };
        self.call(|handler, cx| handler.timeout(cx, which))?;
        self.farewell(why, None);
        self.work.flush(self.conn);
        self.work.failed = Some(why);
        Err(why)
    }

    pub(super) fn set_deadlines(&mut self) {
        let conn = &mut *self.conn;
        // The handler of one that we opened knows what it waits for, and for how long.
        if conn.outgoing || matches!(conn.phase, Phase::Lingering(_)) {
            return;
        }
        let timeouts = &self.work.server.config.timeouts;
        let in_frame = conn.input.is_some() && !conn.frames_left;
        // The clock stood while the connection was not read.
        let goes_on = conn.awaiting == Awaiting::NextFrame && conn.deadlines.read_ms == NEVER_MS;
        if conn.paused || conn.held {
            // We do not read, so the peer cannot be late; that it takes nothing is the write stall's business.
            conn.awaiting = Awaiting::NextFrame;
            conn.deadlines.read_ms = NEVER_MS;
        } else if in_frame {
            if conn.awaiting != Awaiting::FrameEnd {
                conn.awaiting = Awaiting::FrameEnd;
                conn.deadlines.read_ms = after_ms(self.work.now_ms, timeouts.frame);
            }
        } else if self.heard || self.work.wrote || goes_on {
            conn.awaiting = Awaiting::NextFrame;
            conn.deadlines.read_ms = after_ms(self.work.now_ms, timeouts.idle);
        }
    }
}
