//! RUN: a process in a sandbox on a fresh snapshot.
