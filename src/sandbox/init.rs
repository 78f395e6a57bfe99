//! The launcher's inside and pid 1: namespaces, mounts, ids, exec, reaping, signals.
