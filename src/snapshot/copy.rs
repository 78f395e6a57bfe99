//! The plain snapshotter: a full copy, compared with its base afterwards.
