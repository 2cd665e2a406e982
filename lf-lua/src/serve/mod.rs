//! The handlers: from what a connection brings to the calls of a script, and back.

mod call;
mod compat;
mod http;
mod meter;
mod nshead;
mod pace;
mod route;
mod sockets;
mod tcp;
mod timers;

pub(crate) use compat::install_names;
pub(crate) use http::HttpServer;
pub(crate) use meter::{Measured, Meter};
pub(crate) use nshead::NsheadServer;
pub(crate) use pace::Pace;
pub(crate) use route::{Route, Routes};
pub(crate) use sockets::{SocketHandler, Sockets};
pub(crate) use tcp::TcpServer;
pub(crate) use timers::{SERVE, TimerHandler, Timers};

/// The provider of an nshead answer to a request whose script failed.
pub(crate) const NSHEAD_FAILED: [u8; 16] = *b"lf-lua-error\0\0\0\0";
