//! How exchanges go: what is told of them to whoever shows it, and never what they are made of.

use crate::base::Digest;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Who is told: the name of what is exchanged, such as an image's, and the news. Called from several threads.
pub type Watch<'w> = dyn Fn(&str, News) + Sync + 'w;

/// What is told of an exchange.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub enum News {
    /// It begins.
    Begun {
        /// An infinitive: `pull`, `push`.
        act: &'static str,
    },
    /// Something that is worth a line.
    Said {
        /// The line. May hold what a server said.
        text: String,
    },
    /// A blob begins to move.
    Moving(Arc<Transfer>),
    /// It moves no more; whether it has arrived, [`Transfer::is_complete`] tells.
    Stopped(Arc<Transfer>),
    /// A blob need not move.
    Known {
        /// Which.
        blob: Digest,
        /// Its length in bytes.
        size: u64,
    },
    /// It has ended, well or not.
    Ended,
}

/// What is done with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// It comes.
    Fetch,
    /// It is made of a layer; its digest is the layer's diffID as long as it has none, its size the unpacked one.
    Pack,
    /// It goes.
    Send,
}

/// A blob on its way.
#[derive(Debug, Serialize)]
pub struct Transfer {
    /// What is done with it.
    pub act: Act,
    /// Which blob.
    pub blob: Digest,
    /// Its length in bytes.
    pub size: u64,
    #[serde(skip)]
    done: AtomicU64,
    #[serde(skip)]
    complete: AtomicBool,
}

impl Transfer {
    /// A blob of `size` bytes of which nothing has moved.
    pub fn new(act: Act, blob: Digest, size: u64) -> Transfer {
        Transfer { act, blob, size, done: AtomicU64::new(0), complete: AtomicBool::new(false) }
    }

    /// How much has moved, in bytes; less than before where a server wants it again.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed).min(self.size)
    }

    /// Sets how much has moved, in bytes.
    pub fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// Notes that more has moved.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether all of it is where it should be.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}

/// Tells that a blob moves, and when dropped that it does no more.
#[allow(missing_debug_implementations)]
pub struct Moving<'w> {
    watch: &'w Watch<'w>,
    name: &'w str,
    transfer: Arc<Transfer>,
}

impl<'w> Moving<'w> {
    /// Tells that it begins.
    pub fn begin(watch: &'w Watch<'w>, name: &'w str, act: Act, blob: Digest, size: u64) -> Moving<'w> {
        let transfer = Arc::new(Transfer::new(act, blob, size));
        watch(name, News::Moving(transfer.clone()));
        Moving { watch, name, transfer }
    }

    /// To note how far it is.
    pub fn transfer(&self) -> &Arc<Transfer> {
        &self.transfer
    }

    /// It has arrived.
    pub fn complete(&self) {
        self.transfer.set(self.transfer.size);
        self.transfer.complete.store(true, Ordering::Relaxed);
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        (self.watch)(self.name, News::Stopped(self.transfer.clone()));
    }
}
