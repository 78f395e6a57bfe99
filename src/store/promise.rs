//! Layers that are not here and can be had: promised, with what they hold, by whoever can fetch them. A promise counts
//! as the layer in every respect but one: its files come when they are asked for ([`Store::layer_fs`]), and then they
//! must be what was promised. Promises live as long as the opened store; nothing of them is on disk.

use super::layers::LayerInfo;
use super::{Store, StoreError};
use crate::base::Digest;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What can fetch a layer.
pub trait Supply: std::fmt::Debug + Send + Sync {
    /// Publishes the layer in the store ([`Store::publish_layer`]), after it was seen to be what was promised.
    ///
    /// # Errors
    /// It is not to be had, or is something else.
    fn fetch(&self, store: &Store) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// A layer that can be had.
#[derive(Debug)]
pub struct Promise {
    /// What `info` will say; `fs_of` is not set.
    pub info: LayerInfo,
    /// The encoded index.
    pub index: Vec<u8>,
    /// Who fetches it.
    pub supply: Arc<dyn Supply>,
}

/// The promises of an opened store.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Whether there was ever one: most builds ask no further.
    any: AtomicBool,
    open: Mutex<HashMap<Digest, Arc<Given>>>,
    broken: Mutex<Vec<Digest>>,
}

#[derive(Debug)]
struct Given {
    promise: Promise,
    /// Held while it is fetched, so that it is fetched once.
    fetching: Mutex<()>,
}

impl Store {
    /// Takes a promise. A layer that is here, or promised already, stays as it is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn promise(&self, promise: Promise) -> Result<(), StoreError> {
        let diff_id = promise.info.diff_id;
        if self.held_layer(&diff_id)?.is_some() {
            return Ok(());
        }
        let given = Arc::new(Given { promise, fetching: Mutex::default() });
        lock(&self.promises.open).entry(diff_id).or_insert(given);
        self.promises.any.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether any layer was promised since the store was opened.
    pub fn has_promises(&self) -> bool {
        self.promises.any.load(Ordering::Acquire)
    }

    /// Sees to it that the files of a layer are here. Does nothing for a layer that is, and for one that nobody promised.
    ///
    /// # Errors
    /// [`StoreError::Broken`]: the layer was promised and is not to be had. The promise is withdrawn by that.
    pub fn materialise(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let Some(given) = self.given(diff_id) else { return Ok(()) };
        let _fetching = lock(&given.fetching);
        // Somebody else may have fetched it, or failed to, while this thread waited.
        if self.given(diff_id).is_none() {
            return Ok(());
        }
        let fetched = given.promise.supply.fetch(self);
        lock(&self.promises.open).remove(diff_id);
        let result = match fetched {
            Ok(()) if self.held_layer(diff_id)?.is_some() => return Ok(()),
            Ok(()) => StoreError::Missing { what: "layer", name: diff_id.to_string() },
            Err(source) => StoreError::Broken { layer: *diff_id, source },
        };
        lock(&self.promises.broken).push(*diff_id);
        Err(result)
    }

    /// The layers whose promises were broken since the last call.
    pub fn take_broken(&self) -> Vec<Digest> {
        std::mem::take(&mut *lock(&self.promises.broken))
    }

    /// The promised layer's `info`.
    pub(super) fn promised_info(&self, diff_id: &Digest) -> Option<LayerInfo> {
        self.given(diff_id).map(|given| given.promise.info.clone())
    }

    /// The promised layer's encoded index; `None` also if the layer is here.
    pub fn promised_index(&self, diff_id: &Digest) -> Option<Vec<u8>> {
        self.given(diff_id).map(|given| given.promise.index.clone())
    }

    fn given(&self, diff_id: &Digest) -> Option<Arc<Given>> {
        if !self.has_promises() {
            return None;
        }
        lock(&self.promises.open).get(diff_id).cloned()
    }
}

/// A panic elsewhere leaves nothing half-done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::layers::tests::{info, publish};
    use super::super::tests::store;
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Publishes the layer "a", whatever was promised.
    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Supply for Counted {
        fn fetch(&self, store: &Store) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            publish(store, "a");
            Ok(())
        }
    }

    #[test]
    fn a_promised_layer_is_fetched_once_and_only_for_its_files() {
        let (_dir, store) = store();
        let supply = Arc::new(Counted::default());
        let a = info("a");
        store.promise(Promise { info: a.clone(), index: b"a".to_vec(), supply: supply.clone() }).unwrap();
        assert_eq!(store.layer(&a.diff_id).unwrap(), Some(a.clone()));
        assert_eq!(store.layer_index(&a.diff_id).unwrap(), b"a");
        assert_eq!(store.held_layer(&a.diff_id).unwrap(), None);
        assert_eq!(store.layer_by_content(&a.content).unwrap(), None, "early cutoff needs a layer that is here");
        assert_eq!(supply.0.load(Ordering::SeqCst), 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let fs = store.layer_fs(&a.diff_id).unwrap();
                    assert_eq!(std::fs::read(fs.join("file")).unwrap(), b"a");
                });
            }
        });
        assert_eq!(supply.0.load(Ordering::SeqCst), 1);
        assert_eq!(store.held_layer(&a.diff_id).unwrap(), Some(a));
        assert!(store.take_broken().is_empty());
    }

    #[test]
    fn a_broken_promise_is_told_withdrawn_and_noted() {
        let (_dir, store) = store();
        let b = info("b");
        store.promise(Promise { info: b.clone(), index: vec![], supply: Arc::new(Counted::default()) }).unwrap();
        assert!(store.layer_fs(&b.diff_id).is_err(), "another layer was fetched");
        assert_eq!(store.layer(&b.diff_id).unwrap(), None);
        assert_eq!(store.take_broken(), [b.diff_id]);
        assert!(store.take_broken().is_empty());
    }

    #[test]
    fn what_is_here_needs_no_promise() {
        let (_dir, store) = store();
        let made = publish(&store, "a");
        store.promise(Promise { info: made.clone(), index: vec![], supply: Arc::new(Counted::default()) }).unwrap();
        assert!(!store.has_promises());
        assert_eq!(store.layer_index(&made.diff_id).unwrap(), b"a");
    }
}
