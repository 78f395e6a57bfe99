//! Step keys: sha256 over a canonical, length-prefixed, versioned preimage that is kept in parts.

use crate::base::{Digest, Hasher};

/// Version of what enters keys; a change of meaning is a change of this number. See docs/digests.md.
pub const VERSION: &str = "rbuild.step.1";

/// A key being made: named parts in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preimage {
    parts: Vec<(String, String)>,
}

impl Preimage {
    /// Starts a key of this kind of step.
    pub fn new(kind: &str) -> Preimage {
        Preimage { parts: vec![("version".into(), VERSION.into()), ("kind".into(), kind.into())] }
    }

    /// Adds a named part.
    pub fn part(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Preimage {
        self.parts.push((name.into(), value.into()));
        self
    }

    /// Adds the parts of another key, each with `name` before its own, so that a difference in it can be told.
    pub fn nest(&mut self, name: &str, inner: &Preimage) -> &mut Preimage {
        self.parts.extend(inner.parts.iter().map(|(part, value)| (format!("{name}: {part}"), value.clone())));
        self
    }

    /// The parts, in hashing order.
    pub fn parts(&self) -> &[(String, String)] {
        &self.parts
    }

    /// The key.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.number(self.parts.len() as u64);
        for (name, value) in &self.parts {
            hasher.field(name.as_bytes()).field(value.as_bytes());
        }
        hasher.finish()
    }
}
