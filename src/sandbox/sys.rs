//! The few raw system calls that no crate wraps: the only unsafe code.
