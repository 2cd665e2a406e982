//! From bytes to events.

use super::header::{Control, Header, Look, NO_MESSAGE, Opcode, look};
use super::message::{Message, unmask};
use super::{Event, Kind, Limits, Violation, close};

/// What is remembered between two calls of [`decode`]; a pointer, and no buffer, while no message is unfinished.
#[derive(Debug, Default)]
pub struct State(Phase);

/// Nothing between two messages.
type Phase = Option<Box<Unfinished>>;

#[derive(Debug)]
enum Unfinished {
    /// Inside a message: in one of its frames, or between two.
    Message(Message),
    /// A close or a violation came, and nothing after it counts.
    Over,
}

fn over() -> Phase {
    Some(Box::new(Unfinished::Over))
}

impl State {
    /// Whether no message is unfinished.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !matches!(self.0.as_deref(), Some(Unfinished::Message(_)))
    }

    /// Whether the peer has closed or broken the protocol, so that all further input is swallowed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.0.as_deref(), Some(Unfinished::Over))
    }

    /// Payload of the unfinished message that has come, in bytes.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        match self.0.as_deref() {
            Some(Unfinished::Message(message)) => message.bytes(),
            Some(Unfinished::Over) | None => 0,
        }
    }
}

/// What [`decode`] made of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first `consumed` bytes of the input, at least 1, are done with.
    Event {
        /// What they told.
        event: Event,
        /// How many they are.
        consumed: usize,
    },
    /// Nothing was consumed, and nothing can be before `needed` bytes are there: more than there were, at most 131 in all.
    Partial {
        /// Total bytes of input.
        needed: usize,
    },
}

/// Goes through `input`, the bytes that no earlier call consumed, up to the first event. Costs time in proportion to what it
/// consumes.
///
/// # Errors
/// If the peer broke the protocol or a limit. From then on `state` swallows all input.
pub fn decode(state: &mut State, limits: &Limits, input: &[u8]) -> Result<Step, Violation> {
    let step = advance(&mut state.0, limits, input);
    if step.is_err() {
        state.0 = over();
    }
    step
}

fn advance(phase: &mut Phase, limits: &Limits, input: &[u8]) -> Result<Step, Violation> {
    let mut consumed = 0;
    loop {
        let rest = &input[consumed..];
        let (taken, event) = match phase.as_deref_mut() {
            Some(Unfinished::Over) => return Ok(pause(input.len(), 1)),
            Some(Unfinished::Message(message)) if message.in_frame() => {
                let taken = message.fill(rest)?;
                if message.in_frame() {
                    return Ok(pause(input.len(), 1));
                }
                (taken, finished(phase))
            }
            unfinished @ (None | Some(Unfinished::Message(_))) => {
                let header = match look(rest, unfinished.is_some(), limits)? {
                    Look::Whole(header) => header,
                    Look::Partial(needed) => return Ok(pause(consumed, needed)),
                };
                match header.opcode {
                    Opcode::Message(kind) => begin(phase, kind, &header, limits, rest)?,
                    Opcode::Continuation => go_on(phase, &header, limits, rest)?,
                    Opcode::Control(control) => {
                        let whole = header.bytes + header.payload_bytes;
                        let Some(frame) = rest.get(..whole) else { return Ok(pause(consumed, whole)) };
                        (whole, Some(tell(phase, control, &header, &frame[header.bytes..])?))
                    }
                }
            }
        };
        consumed += taken;
        if let Some(event) = event {
            return Ok(Step::Event { event, consumed });
        }
    }
}

/// The input is used up, or what is left of it is too little.
fn pause(consumed: usize, needed: usize) -> Step {
    match consumed {
        0 => Step::Partial { needed },
        _ => Step::Event { event: Event::Progress, consumed },
    }
}

/// The first frame of a message, which is often the last: then nothing but the payload is allocated.
fn begin(
    phase: &mut Phase,
    kind: Kind,
    header: &Header,
    limits: &Limits,
    input: &[u8],
) -> Result<(usize, Option<Event>), Violation> {
    let mut message = Message::new(kind);
    let taken = message.read_frame(header, limits, input)?;
    if message.is_whole() {
        return Ok((taken, Some(message.into_event())));
    }
    *phase = Some(Box::new(Unfinished::Message(message)));
    Ok((taken, None))
}

/// A further frame of the message.
fn go_on(
    phase: &mut Phase,
    header: &Header,
    limits: &Limits,
    input: &[u8],
) -> Result<(usize, Option<Event>), Violation> {
    let taken = match phase.as_deref_mut() {
        Some(Unfinished::Message(message)) => message.read_frame(header, limits, input)?,
        Some(Unfinished::Over) | None => return Err(NO_MESSAGE),
    };
    Ok((taken, finished(phase)))
}

/// The message, if all of it has come.
fn finished(phase: &mut Phase) -> Option<Event> {
    let whole = phase.take_if(|unfinished| matches!(&**unfinished, Unfinished::Message(message) if message.is_whole()));
    match whole.map(|unfinished| *unfinished) {
        Some(Unfinished::Message(message)) => Some(message.into_event()),
        Some(Unfinished::Over) | None => None,
    }
}

/// A control frame, which may come between the frames of a message.
fn tell(phase: &mut Phase, control: Control, header: &Header, masked: &[u8]) -> Result<Event, Violation> {
    let mut payload = masked.to_vec();
    unmask(&mut payload, header.mask);
    Ok(match control {
        Control::Ping => Event::Ping(payload),
        Control::Pong => Event::Pong(payload),
        Control::Close => {
            let (code, reason) = close::parse(&payload)?;
            *phase = over();
            Event::Close { code, reason }
        }
    })
}
