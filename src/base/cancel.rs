//! A flag that says "stop": set once, by a failed step or by a signal, and asked by every long loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared stop flag. A child is set when its parent is, not the other way round: a build that stops its own steps
/// is not interrupted itself.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    parent: Option<Arc<AtomicBool>>,
}

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// A flag of its own that is also set when this one is. Children of children are not needed and see only their
    /// parent.
    pub fn child(&self) -> Cancel {
        Cancel { own: Arc::default(), parent: Some(self.own.clone()) }
    }

    /// Sets it, for good.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.own.load(Ordering::SeqCst) || self.parent.as_ref().is_some_and(|p| p.load(Ordering::SeqCst))
    }
}
