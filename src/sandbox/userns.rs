//! Rootless: the whole program moves into a user namespace with the subordinate id range.
