//! Capability sets: what a step keeps.
