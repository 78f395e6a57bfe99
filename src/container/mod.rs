//! Containers in the foreground: `rbuild run`.
