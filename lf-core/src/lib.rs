//! A leader-follower network server framework for Linux.
//!
//! A dedicated acceptor thread deals connected sockets into groups. Each group is one epoll set and the workers that
//! share it. One worker leads: it waits for events and runs the handlers itself. When a handler blocks, another
//! worker is promoted, so that the others' connections do not wait.
//!
//! ```no_run
#![doc = include_str!("../examples/hello.rs")]
//! ```
//!
//! The way of a byte, in the order in which the files are best read: `acceptor`, `dealer`, `group`, `worker`, `drive`,
//! `service`, `turn`, `codec`, `handler`, `conn`.

mod acceptor;
mod admin;
mod admission;
mod batch;
mod baton;
mod bell;
mod blocking;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codec;
mod config;
mod conn;
mod dealer;
mod dialer;
mod drive;
mod error;
mod group;
mod handler;
mod handlers;
mod histogram;
mod listener;
mod manners;
mod monitor;
mod outbox;
mod peer;
mod remote;
mod server;
mod service;
mod shared;
mod signals;
mod stats;
pub mod strand;
mod sync;
mod sys;
mod timer;
mod token;
mod turn;
pub mod upstream;
mod work;
mod worker;

pub use blocking::hand_over;
pub use config::{Deal, OutputLimits, Promotion, Rebalance, Timeouts, Trigger};
pub use dialer::{DialError, DialFailure, DialOptions, Dialer};
pub use error::{Error, SendError};
pub use handler::{Closed, Context, Handler, Outcome, Timeout};
pub use handlers::{HandlerStats, Handlers};
pub use listener::{Address, ListenOptions};
pub use outbox::Message;
pub use peer::Peer;
pub use remote::{Delivery, Remote, Sender, Sight};
pub use server::{Builder, Ended, Running, Server};
pub use signals::Signals;
pub use stats::{CloseReason, Count, Refusal, Snapshot};
#[cfg(feature = "faults")]
pub use sys::fault;
pub use sys::limits::{resident_bytes, return_big_buffers};
pub use token::Token;
