//! Work on pages of a log beside one another, and what comes of it in their order.
//!
//! Promise: results come in the order of the pages; at most [`at_once`] pages are worked on or wait for their turn. Limit: the
//! work knows one page; what spans pages (the chain, sequences, folds) is for whoever takes the results.

use std::num::NonZero;
use std::thread::available_parallelism;

use futures::{Stream, StreamExt};
use tokio::task::spawn_blocking;

/// Pages worked on at once: one for each core, within bounds, and one that waits for its turn.
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
                    // It cannot have been cancelled: nobody has its handle.
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
    async fn results_come_in_the_order_of_the_pages_even_when_the_first_ends_last() {
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
    async fn no_page_is_taken_before_there_is_room_for_it() {
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
