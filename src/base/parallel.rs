//! A few things at once, on threads of their own: for work that waits for a disk or a network.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Does `act` for each item on up to `workers` threads; gives the results in the order of the items.
///
/// # Errors
/// The first failure there was. What had begun then is brought to its end, and nothing more is begun.
pub fn try_map<T: Sync, R: Send, E: Send>(
    workers: usize,
    items: &[T],
    act: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Result<Vec<Option<R>>, E>> = Mutex::new(Ok(items.iter().map(|_| None).collect()));
    std::thread::scope(|scope| {
        for _ in 0..workers.min(items.len()) {
            scope.spawn(|| {
                while done.lock().unwrap_or_else(PoisonError::into_inner).is_ok() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = act(item);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    match (&mut *done, result) {
                        (Ok(slots), Ok(value)) => slots[at] = Some(value),
                        (Ok(_), Err(error)) => *done = Err(error),
                        (Err(_), _) => {}
                    }
                }
            });
        }
    });
    let slots = done.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Ok(slots.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_the_first_failure_ends_it() {
        let items: Vec<u32> = (0..50).collect();
        let doubled = try_map(4, &items, |i| Ok::<_, ()>(i * 2)).unwrap();
        assert_eq!(doubled, items.iter().map(|i| i * 2).collect::<Vec<_>>());
        let begun = AtomicUsize::new(0);
        let result = try_map(1, &items, |i| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *i == 3 { Err(*i) } else { Ok(()) }
        });
        assert_eq!((result, begun.into_inner()), (Err(3), 4));
        assert_eq!(try_map(4, &[], |i: &u32| Ok::<_, ()>(*i)), Ok(vec![]));
    }
}
