//! Garbage collection: what no ref, container or fresh step record needs.
