//! Many small files read in parallel and handed over in order: what makes hashing a layer of 50 000 files cheap.

use crate::base::{Cancel, IoError};
use rayon::prelude::*;
use std::io;
use std::path::Path;
use std::sync::mpsc;

/// Files from this size on are not loaded ahead but streamed by whoever takes them.
pub(super) const BIG: u64 = 1 << 20;

/// Bounds what is in memory: three batches at most are alive at a time.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_ITEMS: usize = 512;

/// Fewer items than this are not worth a thread.
const FEW: usize = 32;

/// Calls `load` for every item, in parallel and ahead, and `take` with each result, in order and on this thread.
/// `size` says how much memory an item's result takes.
pub(super) fn in_order<I: Sync, T: Send>(
    items: &[I],
    size: impl Fn(&I) -> u64,
    load: impl Fn(&I) -> Result<T, IoError> + Sync,
    mut take: impl FnMut(&I, T) -> Result<(), IoError>,
    cancel: &Cancel,
) -> Result<(), IoError> {
    let batches = batches(items, size);
    if items.len() < FEW {
        for item in items {
            check(cancel)?;
            take(item, load(item)?)?;
        }
        return Ok(());
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (batches, load) = (&batches, &load);
        scope.spawn(move || {
            for batch in batches {
                let loaded: Result<Vec<T>, IoError> = batch.par_iter().map(load).collect();
                let failed = loaded.is_err();
                // The receiver is gone when `take` failed: then nobody wants more.
                if sender.send(loaded).is_err() || failed {
                    return;
                }
            }
        });
        for batch in batches {
            check(cancel)?;
            // The loader sends one result per batch and stops early only after an error, which ends this loop too.
            let Ok(loaded) = receiver.recv() else { return Err(stopped()) };
            for (item, value) in batch.iter().zip(loaded?) {
                take(item, value)?;
            }
        }
        Ok(())
    })
}

fn batches<I>(items: &[I], size: impl Fn(&I) -> u64) -> Vec<&[I]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (position, item) in items.iter().enumerate() {
        bytes += size(item);
        if bytes >= BATCH_BYTES || position + 1 - start >= BATCH_ITEMS {
            batches.push(&items[start..=position]);
            (start, bytes) = (position + 1, 0);
        }
    }
    if start < items.len() {
        batches.push(&items[start..]);
    }
    batches
}

/// An error if the work was called off.
pub(super) fn check(cancel: &Cancel) -> Result<(), IoError> {
    if cancel.is_set() { Err(stopped()) } else { Ok(()) }
}

fn stopped() -> IoError {
    let source = io::Error::new(io::ErrorKind::Interrupted, "it was called off");
    IoError { act: "finish reading", path: Path::new("the layer").to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_ends_it() {
        let items: Vec<u64> = (0..5000).collect();
        let mut seen = Vec::new();
        let take = |_: &u64, value: u64| {
            seen.push(value);
            Ok(())
        };
        in_order(&items, |_| 9000, |i| Ok(i * 2), take, &Cancel::new()).unwrap();
        assert!(seen.iter().copied().eq((0..5000).map(|i| i * 2)));

        let load = |i: &u64| if *i == 3000 { Err(stopped()) } else { Ok(*i) };
        let mut last = 0;
        let take = |_: &u64, value| {
            last = value;
            Ok(())
        };
        assert!(in_order(&items, |_| 9000, load, take, &Cancel::new()).is_err());
        assert!(last < 3000);

        let cancel = Cancel::new();
        cancel.cancel();
        assert!(in_order(&items, |_| 1, |i| Ok(*i), |_, _| Ok(()), &cancel).is_err());
    }
}
