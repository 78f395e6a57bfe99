//! rbuild: a daemonless, rootless container-image builder. See ARCHITECTURE.md for the map.
#![deny(unsafe_code)]

pub mod attest;
pub mod bake;
pub mod base;
pub mod cache;
pub mod cli;
pub mod container;
pub mod diag;
pub mod dockerfile;
pub mod export;
pub mod graph;
pub mod image;
pub mod layer;
pub mod lock;
pub mod net;
pub mod ops;
pub mod pipeline;
pub mod registry;
pub mod s3;
pub mod sandbox;
pub mod snapshot;
pub mod solver;
pub mod store;
pub mod tree;
pub mod ui;
pub mod vendor;
