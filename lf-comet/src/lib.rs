//! Push to millions: subscribers hold a connection open, publishers send to ids, and whatever the ids that a subscriber
//! follows publish arrives on its connection.

#![forbid(unsafe_code)]

pub mod names;
pub mod subscriptions;
