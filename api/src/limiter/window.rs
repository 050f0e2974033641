//! A sliding window per client, exact, in bounded memory.
//!
//! Every admitted request is kept until it leaves the window: in one queue over all clients, so
//! that removal costs as much as insertion, and in the client's own, so that the n-th newest is
//! found immediately.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::address::Client;

/// The window of one limit. Times count from any fixed instant.
#[derive(Debug)]
pub(super) struct Window {
    most: usize,
    length: Duration,
    capacity: usize,
    /// Every kept request, oldest first.
    all: VecDeque<(Duration, Client)>,
    /// The requests of each client, oldest first; no queue is empty.
    by_client: HashMap<Client, VecDeque<Duration>>,
    latest: Duration,
}

impl Window {
    /// Admits at most `most` requests of one client within any `length`, and keeps at most
    /// `capacity` over all clients.
    pub(super) fn new(most: u32, length: Duration, capacity: usize) -> Self {
        Self {
            most: most as usize,
            length,
            capacity,
            all: VecDeque::new(),
            by_client: HashMap::new(),
            latest: Duration::ZERO,
        }
    }

    /// Returns how long `client` must wait until another request is admitted; `None` if it need not
    /// wait.
    pub(super) fn wait(&mut self, client: Client, now: Duration) -> Option<Duration> {
        self.wait_for(client, 1, now)
    }

    /// As [`Window::wait`], for a request that counts as `many`. One that counts as more than the
    /// limit has to wait until the window is empty.
    fn wait_for(&mut self, client: Client, many: usize, now: Duration) -> Option<Duration> {
        let now = self.advance(now);
        let own_requests = self.by_client.get(&client)?;
        let wanted = own_requests.len() + many.min(self.most);
        let leaves_last = wanted.checked_sub(self.most + 1)?;
        Some(*own_requests.get(leaves_last)? + self.length - now)
    }

    /// Admits a request and returns the time under which it is kept; or returns how long to
    /// wait, and keeps nothing.
    pub(super) fn admit(&mut self, client: Client, now: Duration) -> Result<Duration, Duration> {
        self.admit_many(client, 1, now)
    }

    /// As [`Window::admit`], for a request that counts as `many`.
    pub(super) fn admit_many(
        &mut self,
        client: Client,
        many: usize,
        now: Duration,
    ) -> Result<Duration, Duration> {
        match self.wait_for(client, many, now) {
            Some(wait) => Err(wait),
            None => Ok(self.count_many(client, many, now)),
        }
    }

    /// As [`Window::count`], for a request that counts as `many`.
    pub(super) fn count_many(&mut self, client: Client, many: usize, now: Duration) -> Duration {
        let now = self.advance(now);
        for _ in 0..many {
            self.count(client, now);
        }
        now
    }

    /// Counts a request even beyond the limit. Returns the time under which it is kept.
    pub(super) fn count(&mut self, client: Client, now: Duration) -> Duration {
        let now = self.advance(now);
        if self.all.len() >= self.capacity {
            self.forget_oldest();
        }
        self.all.push_back((now, client));
        self.by_client.entry(client).or_default().push_back(now);
        now
    }

    /// Removes a request that is kept under `at`.
    pub(super) fn refund(&mut self, client: Client, at: Duration) {
        if let Some(own_requests) = self.by_client.get_mut(&client)
            && let Ok(index) = own_requests.binary_search(&at)
        {
            // The queue of all clients keeps it until its time, which costs one entry.
            own_requests.remove(index);
            if own_requests.is_empty() {
                self.by_client.remove(&client);
            }
        }
    }

    /// Removes requests that have left the window, and returns the time. It never goes back: two
    /// callers may have read the clock in a different order.
    fn advance(&mut self, now: Duration) -> Duration {
        self.latest = self.latest.max(now);
        while self
            .all
            .front()
            .is_some_and(|(at, _)| *at + self.length <= self.latest)
        {
            self.forget_oldest();
        }
        self.latest
    }

    fn forget_oldest(&mut self) {
        let Some((at, client)) = self.all.pop_front() else {
            return;
        };
        if let Some(own_requests) = self.by_client.get_mut(&client) {
            // A refunded request is already removed.
            if own_requests.front() == Some(&at) {
                own_requests.pop_front();
            }
            if own_requests.is_empty() {
                self.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn client(number: u8) -> Client {
        Client::V4(Ipv4Addr::new(192, 0, 2, number))
    }

    impl Window {
        /// [`Window::admit`] without the returned time.
        fn send(&mut self, client: Client, now: Duration) -> Result<(), Duration> {
            self.admit(client, now).map(|_| ())
        }
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn request_admitted_exactly_one_window_ago_no_longer_counts() {
        let mut window = Window::new(2, ms(1_000), 100);
        assert_eq!(window.send(client(1), ms(0)), Ok(()));
        assert_eq!(window.send(client(1), ms(400)), Ok(()));
        assert_eq!(window.send(client(1), ms(999)), Err(ms(1)));
        assert_eq!(window.send(client(2), ms(999)), Ok(()), "another client");
        assert_eq!(window.send(client(1), ms(1_000)), Ok(()));
        assert_eq!(window.send(client(1), ms(1_000)), Err(ms(400)));
    }

    #[test]
    fn refused_request_costs_nothing() {
        let mut window = Window::new(1, ms(1_000), 100);
        window.admit(client(1), ms(0)).unwrap();
        for now in [1, 500, 999] {
            assert_eq!(window.send(client(1), ms(now)), Err(ms(1_000 - now)));
        }
        assert_eq!(window.send(client(1), ms(1_000)), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_empty_once_the_window_has_passed() {
        let mut window = Window::new(3, ms(1_000), 50);
        for number in 0..=255 {
            window.admit(client(number), ms(u64::from(number))).unwrap();
            assert!(window.all.len() <= 50 && window.by_client.len() <= 50);
        }
        window.admit(client(1), ms(5_000)).unwrap();
        assert_eq!((window.all.len(), window.by_client.len()), (1, 1));
    }

    #[test]
    fn request_that_counts_as_many_waits_for_as_many() {
        let mut window = Window::new(5, ms(1_000), 100);
        for at in [0, 100, 200] {
            window.admit(client(1), ms(at)).unwrap();
        }
        assert_eq!(window.admit_many(client(1), 3, ms(300)), Err(ms(700)));
        assert_eq!(window.admit_many(client(1), 4, ms(300)), Err(ms(800)));
        assert_eq!(window.admit_many(client(1), 2, ms(300)), Ok(ms(300)));
        assert_eq!(window.send(client(1), ms(300)), Err(ms(700)));
        window.refund(client(1), ms(300));
        assert_eq!(window.send(client(1), ms(300)), Ok(()));
        // More than the limit: once nothing else is in the window.
        assert_eq!(window.admit_many(client(1), 9, ms(400)), Err(ms(900)));
        assert_eq!(window.admit_many(client(1), 9, ms(1_300)), Ok(ms(1_300)));
        assert_eq!(window.send(client(1), ms(1_300)), Err(ms(1_000)));
    }

    proptest! {
        #[test]
        fn decides_like_a_plain_list(
            most in 1..5_u32,
            length in 1..200_u64,
            requests in proptest::collection::vec(
                (0..4_u8, 0..60_u64, proptest::option::weighted(0.2, 0..50_usize)),
                0..400,
            ),
        ) {
            let mut window = Window::new(most, ms(length), 10_000);
            let mut admitted: Vec<(u64, u8)> = vec![];
            let mut now = 0;
            for (number, pause, refunded) in requests {
                now += pause;
                let within = |at: u64| admitted.iter().filter(|(then, client)| *client == number && *then + length > at).count();
                let expected = if within(now) < most as usize {
                    Ok(())
                } else {
                    // The first instant at which another is admitted.
                    let later = (now..).find(|at| within(*at) < most as usize).unwrap();
                    Err(ms(later - now))
                };
                let outcome = window.admit(client(number), ms(now));
                prop_assert_eq!(outcome, expected.map(|()| ms(now)));
                if expected.is_ok() {
                    admitted.push((now, number));
                }
                if let Some(back) = refunded.filter(|back| *back < admitted.len()) {
                    let (at, number) = admitted.remove(admitted.len() - 1 - back);
                    window.refund(client(number), ms(at));
                }
            }
        }
    }
}
