//! Spec → ordered list of mount actions: pure, so that it can be tested without privilege.
