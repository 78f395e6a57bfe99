//! WORKDIR: a directory made if missing.
