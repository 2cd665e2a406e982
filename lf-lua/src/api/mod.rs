//! What scripts find under `lf`, apart from what the engine itself gives them.

pub mod crypto;
pub mod json;
pub mod pattern;
pub mod re;
pub mod shared;
mod text;
pub(crate) mod upstream;
pub mod uri;
