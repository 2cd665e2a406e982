//! What scripts find under `lf`, apart from what the engine itself gives them.
