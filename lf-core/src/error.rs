//! Errors, by who suffers: start-up ([`Error`]), one peer ([`CloseReason`](crate::CloseReason)), one send ([`SendError`]).

use std::io;

/// Why a server could not be built or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is outside of what it may be.
    #[error("{name} = {value} is out of range: {limit}; {remedy}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What is allowed.
        limit: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The process may not open as many descriptors as the connections need.
    #[error(
        "max_connections = {wanted} cannot be reached: this process may open {limit} descriptors and keeps {reserved} \
         for itself, {outgoing} of them for connections that it opens (outgoing_max); lower max_connections to {reachable} \
         or raise the hard limit (ulimit -Hn, LimitNOFILE=, /etc/security/limits.conf)"
    )]
    Descriptors {
        /// Connections asked for.
        wanted: usize,
        /// The hard limit of descriptors.
        limit: usize,
        /// Descriptors that the server needs besides connections.
        reserved: usize,
        /// Those of them that are for connections that the server opens.
        outgoing: usize,
        /// Connections that can be had.
        reachable: usize,
    },
    /// An address to listen on could not be understood.
    #[error("cannot listen on {input:?}: {reason}; write HOST:PORT, [V6]:PORT, unix:/PATH, unix:@NAME or fd:N")]
    Address {
        /// What was given.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server has no listener.
    #[error("the server listens nowhere; add a listener before building it")]
    NoListener,
    /// A system call failed while starting.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Why a message was not taken for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// That connection is gone.
    #[error("the connection is gone")]
    Gone,
    /// The connection's queue has reached [`OutputLimits::max`](crate::OutputLimits::max).
    #[error("the connection's output queue is full")]
    Full,
    /// All queues together have reached [`OutputLimits::total_max`](crate::OutputLimits::total_max).
    #[error("the server's output queues are full")]
    ServerFull,
}
