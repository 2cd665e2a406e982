//! One turn of one connection: read, decode, handle, write. Start reading here.
//!
//! Who calls it owns the connection (see `sys::claim`); `drive` arms and releases it afterwards.

mod begin;
mod deadlines;

use crate::codec::{Codec, Decoded, FrameError};
use crate::conn::{Awaiting, Conn, Input, Phase};
use crate::handler::{Context, Handler, Outcome};
use crate::outbox::Outbox;
use crate::service::{Endpoint, Ready, Stage, Verdict};
use crate::stats::{CloseReason, Count};
use crate::sys::claim::Notes;
use crate::sys::epoll::Mask;
use crate::sys::socket;
use crate::token::Token;
use crate::work::{FLUSH_BYTES, Work, after_ms};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Reads per turn; a flooding peer yields after this many, so that its neighbours progress.
const READS_PER_TURN_MAX: usize = 16;
/// Frames per turn, for the same reason.
const FRAMES_PER_TURN_MAX: usize = 1024;
/// Messages from other threads per turn; who floods a connection with them must not keep it from reading.
const MESSAGES_PER_TURN_MAX: usize = 256;
/// Room for one read behind what is there of an unfinished frame, in bytes. A declared length is not allocated at once.
const READ_BYTES: usize = 64 * 1024;
/// How long a peer may take to read our last words.
const LINGER: Duration = Duration::from_secs(2);

/// How far a look at unread bytes came.
struct Progress {
    /// Bytes that whole frames took.
    used: usize,
    /// Of the rest, bytes that need no second look, and bytes without which a look makes no sense.
    examined: usize,
    needed: usize,
}

/// A connection and what serves it, for as long as one turn takes.
pub(crate) struct Turn<'a, C: Codec, H: Handler<C>> {
    end: &'a Endpoint<C, H>,
    codec_state: &'a mut C::State,
    state: &'a mut H::State,
    token: Token,
    conn: &'a mut Conn,
    outbox: &'a Outbox,
    work: &'a mut Work,
    /// Frames that this turn may still take.
    frames: usize,
    /// Bytes came in.
    heard: bool,
}

/// Whether what was sent before is still delivered: the peer is there, but what it sent cannot be used.
const fn says_goodbye(why: CloseReason) -> bool {
    matches!(
        why,
        CloseReason::HandlerError | CloseReason::FrameTooLarge | CloseReason::Malformed | CloseReason::Truncated
    )
}

impl<'a, C: Codec, H: Handler<C>> Turn<'a, C, H> {
    pub(crate) fn new(
        end: &'a Endpoint<C, H>,
        codec_state: &'a mut C::State,
        state: &'a mut H::State,
        stage: Stage<'a>,
    ) -> Self {
        let Stage { token, conn, outbox, work } = stage;
        Self { end, codec_state, state, token, conn, outbox, work, frames: FRAMES_PER_TURN_MAX, heard: false }
    }

    pub(crate) fn run(mut self, ready: Ready, buffer: Option<&mut [u8]>) -> Verdict {
        let began_nanos = self.work.now_nanos;
        let reads = buffer.is_some();
        let outcome = self.steps(ready, buffer);
        // Also after an error: the last words may say what was wrong.
        self.work.flush(self.conn);
        self.work.read_clock();
        let took_nanos = self.work.now_nanos.saturating_sub(began_nanos);
        self.conn.slow = took_nanos > self.work.server.tick_nanos;
        self.work.sheet.turn_took(took_nanos);
        match (self.work.failed, outcome) {
            (Some(why), _) => return Verdict::Close(why),
            (None, Err(why)) if !says_goodbye(why) => return Verdict::Close(why),
            (None, Err(why)) if matches!(self.conn.phase, Phase::Fresh | Phase::Open) => {
                self.conn.phase = Phase::Closing(why);
            }
            (None, Err(_) | Ok(())) => {}
        }
        self.verdict(reads)
    }

    fn steps(&mut self, ready: Ready, buffer: Option<&mut [u8]>) -> Result<(), CloseReason> {
        if ready.notes.has(Notes::CLOSE) {
            let cut = self.work.server.draining.load(Ordering::Relaxed) && !self.conn.outgoing;
            let why = self.farewell(if cut { CloseReason::Cut } else { CloseReason::Requested }, None);
            return Err(why);
        }
        self.conn.peer_finished |= ready.mask.has(Mask::PEER_CLOSED.and(Mask::HANGUP));
        if matches!(self.conn.phase, Phase::Connecting | Phase::Fresh) && !self.begin(ready)? {
            return Ok(());
        }
        let drains = ready.notes.has(Notes::DRAIN) && !self.conn.outgoing;
        self.conn.draining |= drains;
        if self.conn.queue.is_some() && ready.mask.has(Mask::WRITE.and(Mask::HANGUP)) {
            self.work.flush_queue(self.conn);
            self.still_whole()?;
            if self.conn.queue.is_none() && self.conn.phase == Phase::Open {
                self.call(H::drained)?;
            }
        }
        if self.conn.mail || ready.notes.has(Notes::OUTBOX) {
            self.take_messages()?;
        }
        if let Some(message) = self.work.direct.take().filter(|_| self.conn.phase == Phase::Open) {
            self.call(|handler, cx| handler.message(cx, &message))?;
        }
        // What was sent before the drain comes first; if it does not fit into a turn, another sweep will come by.
        if drains && !self.conn.mail && self.conn.phase == Phase::Open {
            let is_news = !std::mem::replace(&mut self.conn.drain_told, true);
            // An answer that was begun since the last sweep has to hear of it too.
            if is_news || self.conn.held {
                self.call(H::draining)?;
            }
        }
        if ready.notes.has(Notes::TIMER) {
            self.meet_deadlines()?;
        }
        match buffer {
            Some(buffer) => self.receive(ready, buffer),
            None => {
                self.conn.unread |= ready.mask.has(Mask::READ);
                Ok(())
            }
        }
    }

    fn still_whole(&self) -> Result<(), CloseReason> {
        self.work.failed.map_or(Ok(()), Err)
    }

    fn call(&mut self, f: impl FnOnce(&H, &mut Context<'_, C, H::State>) -> Outcome) -> Result<(), CloseReason> {
        let (codec, token) = (&self.end.codec, self.token);
        let (codec_state, state) = (&mut *self.codec_state, &mut *self.state);
        self.work.settled = self.work.out.len();
        let mut cx = Context { codec, codec_state, state, token, conn: self.conn, work: self.work };
        let outcome = f(&self.end.handler, &mut cx);
        self.conn.held = self.conn.on_hold || codec.holds(self.codec_state);
        self.conn.end_told &= self.conn.held;
        outcome.map_err(|error| {
            tracing::warn!(%token, peer = %self.conn.peer, %error, "the handler failed; its connection is closed");
            self.farewell(CloseReason::HandlerError, None)
        })
    }

    /// Lets the codec say its last words.
    fn farewell(&mut self, why: CloseReason, error: Option<&FrameError>) -> CloseReason {
        self.end.codec.farewell(self.codec_state, why, error, &mut self.work.out);
        why
    }

    fn take_messages(&mut self) -> Result<(), CloseReason> {
        // Unless the outbox is seen empty, something may be left in it.
        self.conn.mail = true;
        for _ in 0..MESSAGES_PER_TURN_MAX {
            if self.conn.paused || self.conn.phase != Phase::Open {
                break;
            }
            let Some(message) = self.outbox.pop() else {
                self.conn.mail = false;
                break;
            };
            self.work.server.forget_queued(message.len());
            self.call(|handler, cx| handler.message(cx, &message))?;
            if self.work.out.len() >= FLUSH_BYTES {
                self.work.flush(self.conn);
            }
            self.still_whole()?;
        }
        Ok(())
    }

    fn receive(&mut self, ready: Ready, buffer: &mut [u8]) -> Result<(), CloseReason> {
        let mask = ready.mask;
        if matches!(self.conn.phase, Phase::Lingering(_)) {
            return self.throw_away(buffer);
        }
        if self.conn.frames_left && self.conn.takes_frames() && self.conn.phase == Phase::Open {
            self.decode_kept()?;
        }
        let told = mask.has(Mask::READ.and(Mask::PEER_CLOSED).and(Mask::HANGUP));
        if told || self.conn.unread {
            self.read(ready, buffer)?;
        }
        if mask.has(Mask::HANGUP) && !self.conn.wants_read() && self.conn.queue.is_some() && !self.work.wrote {
            return Err(self.why_hung_up());
        }
        if self.conn.held && self.conn.phase == Phase::Open {
            return self.look_after_held(mask);
        }
        if self.conn.eof && !self.conn.frames_left && self.conn.phase == Phase::Open {
            self.finish()?;
            if self.conn.phase == Phase::Open && !self.conn.held && !self.conn.input_end_told {
                self.conn.input_end_told = true;
                self.call(H::input_ended)?;
            }
        }
        Ok(())
    }

    /// The kernel may have given the peer up.
    fn why_hung_up(&mut self) -> CloseReason {
        let error = self.conn.fd().and_then(|fd| socket2::SockRef::from(&fd).take_error().ok().flatten());
        error.map_or(CloseReason::PeerReset, |error| self.conn.fail(&error))
    }

    /// A connection whose frames are held back is not read, so its end shows in nothing but the event.
    fn look_after_held(&mut self, mask: Mask) -> Result<(), CloseReason> {
        if mask.has(Mask::HANGUP) {
            return Err(self.why_hung_up());
        }
        let finished = self.conn.peer_finished || self.conn.eof;
        if !finished || std::mem::replace(&mut self.conn.end_told, true) {
            return Ok(());
        }
        self.call(H::peer_finished)
    }

    fn read(&mut self, ready: Ready, buffer: &mut [u8]) -> Result<(), CloseReason> {
        // An edge tells of the peer's end once, and a note may stand for that very edge.
        let to_the_end = ready.mask.has(Mask::PEER_CLOSED.and(Mask::HANGUP))
            || (!ready.exact && self.conn.registered && self.work.server.is_edge());
        self.conn.unread = true;
        for _ in 0..READS_PER_TURN_MAX {
            if !self.conn.wants_read() || self.conn.frames_left {
                return Ok(());
            }
            let (count, room) = match self.read_once(buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.conn.unread = false;
                    return Ok(());
                }
                Err(error) => return Err(self.conn.fail(&error)),
            };
            if count == 0 {
                self.conn.eof = true;
                self.conn.unread = false;
                return Ok(());
            }
            self.heard = true;
            self.work.sheet.add(Count::BytesReceived, count as u64);
            self.decode_read(buffer, count)?;
            // A short read has emptied the socket; only the peer's end may still be to be read.
            if count < room && !to_the_end {
                self.conn.unread = false;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads into the worker's buffer, or behind the unfinished frame. Answers (bytes read, bytes asked for).
    fn read_once(&mut self, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
        let conn = &mut *self.conn;
        let Some(mut input) = conn.input.take() else {
            let Some(fd) = conn.fd() else { return Ok((0, 0)) };
            return Ok((socket::recv(fd, buffer)?, buffer.len()));
        };
        let there = input.bytes.len();
        let missing = input.needed.saturating_sub(there);
        let room = missing.clamp(1, READ_BYTES).max(READ_BYTES.min(there));
        input.bytes.reserve(room);
        let read = conn.fd().map_or(Ok(0), |fd| socket::recv_append(fd, &mut input.bytes, room));
        conn.input = Some(input);
        Ok((read?, room))
    }

    /// Takes the frames out of what was just read.
    fn decode_read(&mut self, buffer: &[u8], count: usize) -> Result<(), CloseReason> {
        if self.conn.input.is_some() {
            return self.decode_kept();
        }
        let bytes = &buffer[..count];
        let Progress { used, examined, needed } = self.decode(bytes, 0)?;
        if self.conn.phase == Phase::Open && used < bytes.len() {
            self.conn.input = Some(Box::new(Input { bytes: bytes[used..].to_vec(), examined, needed }));
        }
        Ok(())
    }

    /// Takes the frames out of what is kept of earlier reads.
    fn decode_kept(&mut self) -> Result<(), CloseReason> {
        let Some(mut input) = self.conn.input.take() else { return Ok(()) };
        let Progress { used, examined, needed } = self.decode(&input.bytes, input.examined)?;
        if used < input.bytes.len() && self.conn.phase == Phase::Open {
            let Input { bytes, .. } = &mut *input;
            bytes.drain(..used);
            // After a burst, memory goes back.
            if bytes.capacity() > 4 * bytes.len().max(1024) {
                bytes.shrink_to(bytes.len());
            }
            (input.examined, input.needed) = (examined, needed);
            self.conn.input = Some(input);
        }
        Ok(())
    }

    /// Hands the whole frames in `bytes` to the handler, as many as may be now. The first `examined` were seen before.
    fn decode(&mut self, bytes: &[u8], mut examined: usize) -> Result<Progress, CloseReason> {
        let (mut used, mut needed) = (0, 0);
        self.conn.frames_left = false;
        while used < bytes.len() && self.conn.phase == Phase::Open {
            if !self.conn.takes_frames() || self.frames == 0 {
                self.conn.frames_left = true;
                break;
            }
            match self.end.codec.decode(self.codec_state, &bytes[used..], examined) {
                Ok(Decoded::Frame { frame, consumed }) => {
                    debug_assert!(consumed > 0, "a codec must consume what it takes for a frame");
                    used += consumed.max(1);
                    examined = 0;
                    self.frames -= 1;
                    self.conn.awaiting = Awaiting::NextFrame;
                    self.work.sheet.add(Count::FramesReceived, 1);
                    self.call(|handler, cx| handler.frame(cx, frame))?;
                }
                Ok(Decoded::Partial { examined: seen, needed: wanted }) => {
                    (examined, needed) = (seen, wanted);
                    break;
                }
                Err(error) => return Err(self.refuse(&error)),
            }
            if self.work.out.len() >= FLUSH_BYTES {
                self.work.flush(self.conn);
                self.still_whole()?;
            }
        }
        if self.conn.frames_left && self.end.codec.ends(self.codec_state) {
            self.conn.frames_left = false;
            used = bytes.len();
        }
        Ok(Progress { used: used.min(bytes.len()), examined, needed })
    }

    /// The peer has finished: what is left may be the last frame.
    fn finish(&mut self) -> Result<(), CloseReason> {
        let Some(input) = self.conn.input.take() else { return Ok(()) };
        match self.end.codec.finish(self.codec_state, &input.bytes) {
            Ok(None) => Ok(()),
            Ok(Some(frame)) => {
                self.work.sheet.add(Count::FramesReceived, 1);
                self.call(|handler, cx| handler.frame(cx, frame))
            }
            Err(error) => Err(self.refuse(&error)),
        }
    }

    fn refuse(&mut self, error: &FrameError) -> CloseReason {
        tracing::debug!(token = %self.token, peer = %self.conn.peer, %error, "the connection is closed");
        let why = match error {
            FrameError::TooLarge { .. } => CloseReason::FrameTooLarge,
            FrameError::Malformed(_) | FrameError::Refused { .. } => CloseReason::Malformed,
            FrameError::Truncated { .. } => CloseReason::Truncated,
            FrameError::Unwritable(_) => CloseReason::HandlerError,
        };
        self.farewell(why, Some(error))
    }

    fn throw_away(&mut self, buffer: &mut [u8]) -> Result<(), CloseReason> {
        let Some(fd) = self.conn.fd() else { return Ok(()) };
        for _ in 0..READS_PER_TURN_MAX {
            match socket::recv(fd, buffer) {
                Ok(0) => {
                    self.conn.eof = true;
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.conn.unread = false;
                    return Ok(());
                }
                Err(error) => return Err(self.conn.fail(&error)),
            }
        }
        self.conn.unread = true;
        Ok(())
    }

    /// Nothing failed: what is to become of the connection.
    fn verdict(&mut self, reads: bool) -> Verdict {
        match self.conn.phase {
            Phase::Closing(why) if self.conn.queue.is_none() => return self.linger(why),
            Phase::Lingering(why) if self.conn.eof => return Verdict::Close(why),
            Phase::Connecting | Phase::Fresh | Phase::Open | Phase::Closing(_) | Phase::Lingering(_) => {}
        }
        let all_out = self.conn.queue.is_none() && !self.conn.frames_left;
        if self.conn.phase == Phase::Open && all_out {
            if self.conn.eof && !self.conn.held {
                return Verdict::Close(CloseReason::PeerClosed);
            }
            if self.conn.draining && self.is_drained() {
                self.farewell(CloseReason::Drained, None);
                self.work.flush(self.conn);
                return Verdict::Close(CloseReason::Drained);
            }
        }
        self.set_deadlines();
        let open = self.conn.phase == Phase::Open;
        let more_kept = open && self.conn.takes_frames() && self.conn.frames_left;
        let more_mail = open && !self.conn.paused && self.conn.mail;
        let more_unread = self.conn.unread && self.work.server.is_edge() && self.conn.wants_read();
        if more_kept || more_unread || more_mail || (!reads && self.owes_a_read()) {
            Verdict::Again
        } else {
            Verdict::Keep
        }
    }

    /// A thread that does not read leaves it to the group, where no event would bring it up.
    fn owes_a_read(&self) -> bool {
        self.conn.unread && self.work.server.is_edge() && self.conn.wants_read()
    }

    fn is_drained(&self) -> bool {
        self.conn.drain_told
            && self.conn.is_between_frames()
            && !self.conn.held
            && self.conn.fd().is_none_or(|fd| socket::unread_bytes(fd) == 0)
    }

    /// Closing with unread input would reset the connection, and the peer might lose what we said last.
    fn linger(&mut self, why: CloseReason) -> Verdict {
        let Some(fd) = self.conn.fd() else { return Verdict::Close(why) };
        if self.conn.eof || socket::unread_bytes(fd) == 0 || socket::finish_writing(fd).is_err() {
            return Verdict::Close(why);
        }
        self.conn.phase = Phase::Lingering(why);
        self.conn.awaiting = Awaiting::Linger;
        self.conn.input = None;
        self.conn.deadlines.read_ms = after_ms(self.work.now_ms, Some(LINGER));
        if self.work.server.is_edge() { Verdict::Again } else { Verdict::Keep }
    }
}
