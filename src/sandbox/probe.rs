//! What this host allows, and how to get more.
