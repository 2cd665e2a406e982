//! The first turn of a connection, and those before it while the other side has not answered.

use super::Turn;
use crate::codec::Codec;
use crate::conn::Phase;
use crate::handler::Handler;
use crate::service::Ready;
use crate::stats::{CloseReason, Count};
use crate::sys::claim::Notes;
use crate::sys::epoll::Mask;
use crate::sys::socket;
use crate::timer::NEVER_MS;

impl<C: Codec, H: Handler<C>> Turn<'_, C, H> {
    /// Tells the handler that its connection is there; `false` if it is not yet.
    pub(super) fn begin(&mut self, ready: Ready) -> Result<bool, CloseReason> {
        if self.conn.phase == Phase::Connecting && !self.connected(ready)? {
            return Ok(false);
        }
        self.conn.phase = Phase::Open;
        if self.conn.outgoing {
            self.work.sheet.add(Count::OutgoingOpened, 1);
        }
        self.call(H::opened)?;
        Ok(true)
    }

    fn connected(&mut self, ready: Ready) -> Result<bool, CloseReason> {
        let late = ready.notes.has(Notes::TIMER) && {
            self.work.read_clock();
            self.conn.deadlines.read_ms <= self.work.now_ms
        };
        if ready.mask == Mask::NONE && !late {
            return Ok(false);
        }
        let there = self.conn.fd().map_or(Ok(true), socket::connect_outcome).map_err(|error| {
            self.conn.fail(&error);
            CloseReason::ConnectFailed
        })?;
        if there {
            self.conn.deadlines.read_ms = NEVER_MS;
        } else if late {
            return Err(CloseReason::ConnectTimeout);
        }
        Ok(there)
    }
}
