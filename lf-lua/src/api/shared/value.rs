//! What a dictionary holds.

use std::collections::VecDeque;
use std::sync::Arc;

/// A value as scripts give it.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Shared with whoever is about to hand it to an engine, so that no lock is held meanwhile.
    Text(Arc<[u8]>),
    /// Only of engines that have integers.
    Integer(i64),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
}

impl Scalar {
    /// The sum, if both are numbers; an integer where both are and it fits.
    #[allow(clippy::cast_precision_loss, reason = "as the engine does where an integer meets another number")]
    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let number = |value: &Self| match value {
            Self::Integer(integer) => Some(*integer as f64),
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::Boolean(_) => None,
        };
        if let (Self::Integer(one), Self::Integer(other)) = (self, other)
            && let Some(sum) = one.checked_add(*other)
        {
            return Some(Self::Integer(sum));
        }
        Some(Self::Number(number(self)? + number(other)?))
    }

    /// Bytes on the heap, with what the allocator keeps for itself and the counts of an `Arc`.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + 32,
            Self::Integer(_) | Self::Number(_) | Self::Boolean(_) => 0,
        }
    }
}

/// A value, or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    Scalar(Scalar),
    List(VecDeque<Scalar>),
}

/// What an item of a list takes beside its bytes: its place twice, since the room of a list doubles.
pub(super) fn item_bytes(item: &Scalar) -> usize {
    2 * size_of::<Scalar>() + item.heap_bytes()
}

impl Stored {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Scalar(scalar) => scalar.heap_bytes(),
            Self::List(items) => items.iter().map(item_bytes).sum(),
        }
    }
}
