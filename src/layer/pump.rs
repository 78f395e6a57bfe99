//! Many small files read in parallel and handed over in order: what makes hashing a layer of 50 000 files cheap.

use crate::base::fs::Context as _;
use crate::base::root::Root;
use crate::base::{Cancel, IoError};
use rayon::prelude::*;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::{self, Read};
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

/// How many pieces of a large file are in memory at a time: one being read, one waiting and one being used.
const PIECES: usize = 3;

/// Calls `take` with the contents of a file that must have this size, piece by piece and on this thread, while another
/// one reads ahead. The error names `path`.
pub(super) fn stream(
    file: File,
    size: u64,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), IoError>,
    cancel: &Cancel,
) -> Result<(), IoError> {
    std::thread::scope(|scope| {
        let (full, filled) = mpsc::sync_channel::<io::Result<Vec<u8>>>(PIECES);
        let (empty, emptied) = mpsc::sync_channel::<Vec<u8>>(PIECES);
        for _ in 0..PIECES {
            let _ = empty.send(vec![0; size.min(BIG) as usize]);
        }
        scope.spawn(move || read_ahead(file, size, &emptied, &full));
        // The reader sends pieces until it has sent them all or an error, so this ends with one of them.
        let mut left = size;
        while let Ok(piece) = filled.recv() {
            check(cancel)?;
            let piece = piece.at("read", path)?;
            take(&piece)?;
            left -= piece.len() as u64;
            let _ = empty.send(piece);
        }
        if left == 0 { Ok(()) } else { Err(stopped()) }
    })
}

/// Ends when the file does, after an error, or when nobody takes what is read.
fn read_ahead(
    mut file: File,
    size: u64,
    emptied: &mpsc::Receiver<Vec<u8>>,
    full: &mpsc::SyncSender<io::Result<Vec<u8>>>,
) {
    let mut left = size;
    while left > 0 {
        let Ok(mut piece) = emptied.recv() else { return };
        piece.truncate(left.min(BIG) as usize);
        left -= piece.len() as u64;
        let read = file.read_exact(&mut piece);
        let failed = read.is_err();
        if full.send(read.map(|()| piece)).is_err() || failed {
            return;
        }
    }
    match file.read(&mut [0]) {
        Ok(0) => {}
        Ok(_) => drop(full.send(Err(size_changed()))),
        Err(e) => drop(full.send(Err(e))),
    }
}

/// The error for a file that is not as long as it was.
pub(super) fn size_changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its size changed while it was read")
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

/// Opens a regular file of a layer directory, never through a symbolic link.
pub(super) fn open_regular(root: &Root, path: &[u8]) -> Result<File, IoError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = root.open_with(path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at("open", root.show(path))?;
    Ok(fd.into())
}

/// Reads a file that must have this size.
pub(super) fn read_exactly(file: &mut File, size: u64) -> io::Result<Vec<u8>> {
    // One byte more, so that a file that has grown is noticed without another look.
    let mut bytes = Vec::with_capacity(size as usize + 1);
    file.take(size + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(size_changed()) }
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

    #[test]
    fn a_large_file_comes_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let contents: Vec<u8> = (0..5 * BIG + 77).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &contents).unwrap();
        let size = contents.len() as u64;
        let streamed = |size, cancel: &Cancel| {
            let mut all = Vec::new();
            let take = |piece: &[u8]| {
                all.extend_from_slice(piece);
                Ok(())
            };
            stream(File::open(&path).unwrap(), size, &path, take, cancel).map(|()| all)
        };
        assert!(streamed(size, &Cancel::new()).unwrap() == contents);
        for other in [size - 1, size + 1, size + BIG] {
            assert!(streamed(other, &Cancel::new()).is_err(), "{other} bytes");
        }
        let refused = stream(File::open(&path).unwrap(), size, &path, |_| Err(stopped()), &Cancel::new());
        assert!(refused.is_err());
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(streamed(size, &cancel).is_err());
    }
}
