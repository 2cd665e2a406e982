//! Push to millions: subscribers hold a connection open, publishers send to ids, and whatever the ids that a subscriber
//! follows publish arrives on its connection.
//!
//! The way of a message, in the order in which the files are best read: `control`, `hub`, `fanout`, `public`.

#![forbid(unsafe_code)]

mod auth;
mod control;
mod fanout;
mod history;
mod hub;
pub mod load;
mod logins;
mod marks;
pub mod names;
mod origin;
mod position;
mod public;
mod publication;
mod refusal;
mod sampler;
mod stats;
mod stream;
pub mod subscriptions;

pub use auth::Auth;
pub use control::{Control, ControlOptions};
pub use fanout::FanoutLimits;
pub use history::HistoryLimits;
pub use hub::{Destination, Hub, HubOptions};
pub use logins::Logins;
pub use origin::Origins;
pub use position::Position;
pub use public::{Public, PublicOptions, Slow};
pub use publication::{Encoding, Publication};
pub use sampler::Sampler;
pub use stats::{Counter, Gauge, Stats, Transport};
