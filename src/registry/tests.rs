//! The client against a registry of the test's own that misbehaves. docs/registry.md lists the rules and their tests.

mod auth;
mod documents;
mod pull;
mod push;
mod referrers;
mod server;
