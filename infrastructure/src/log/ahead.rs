//! Parallel work on pages of a log, with results in page order.
//!
//! Promise: results are in the order of the pages; at most [`at_once`] pages are in progress or
//! finished and waiting.
//! Limit: the work sees one page; checks that span pages (the chain, sequences, folds) belong to
//! the consumer.

use std::num::NonZero;
use std::thread::available_parallelism;

use futures::{Stream, StreamExt};
use tokio::task::spawn_blocking;

/// Pages in progress at a time: one per core, within bounds, and one that waits to be consumed.
#[must_use]
pub fn at_once() -> usize {
    available_parallelism().map_or(1, NonZero::get).clamp(1, 8) + 1
}

/// Does `work` on every page, on threads that may block.
pub fn in_order<P, T>(
    pages: impl Stream<Item = P>,
    work: impl Fn(P) -> T + Clone + Send + 'static,
) -> impl Stream<Item = T>
where
    P: Send + 'static,
    T: Send + 'static,
{
    pages
        .map(move |page| {
            let work = work.clone();
            async move {
                match spawn_blocking(move || work(page)).await {
                    Ok(result) => result,
                    // It cannot have been cancelled: its handle is not shared.
                    Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                }
            }
        })
        .buffered(at_once())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex};

    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn results_are_in_page_order_even_when_the_first_ends_last() {
        let gate = Arc::new((Mutex::new(0), Condvar::new()));
        let work = move |page: usize| {
            let (done, woken) = &*gate;
            let mut done = done.lock().unwrap();
            while page == 0 && *done == 0 {
                done = woken.wait(done).unwrap();
            }
            *done += 1;
            woken.notify_all();
            page
        };
        let results: Vec<usize> = in_order(stream::iter(0..20), work).collect().await;
        assert_eq!(results, (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn pages_are_taken_only_when_there_is_room() {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let pages = stream::iter(0..1_000).inspect(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let mut results = std::pin::pin!(in_order(pages, |page| page));
        for handed_over in 1..=50 {
            results.next().await;
            assert!(taken.load(Ordering::SeqCst) <= handed_over + at_once());
        }
    }
}
