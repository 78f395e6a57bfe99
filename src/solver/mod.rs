//! Order, keys, look-up, early cutoff, parallel run, events.

pub mod event;
