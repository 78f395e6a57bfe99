//! BuildKit's build checks (linter rules) that need no building.
