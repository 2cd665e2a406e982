//! Ids and their numbers.
