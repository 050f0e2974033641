//! A sliding window for each client, exact, in bounded memory.
//!
//! Every request that was let in is remembered until it leaves the window, in one queue over all clients (so that forgetting
//! costs what remembering did) and in its client's own (so that the n-th newest is found at once).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::address::Client;

/// See the module. Times count from any fixed instant.
#[derive(Debug)]
pub(super) struct Window {
    most: usize,
    length: Duration,
    capacity: usize,
    /// Every remembered request, oldest first.
    all: VecDeque<(Duration, Client)>,
    /// Each client's, oldest first; none is empty.
    by_client: HashMap<Client, VecDeque<Duration>>,
    latest: Duration,
}

impl Window {
    /// At most `most` requests of one client within any `length`; at most `capacity` are remembered in all.
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

    /// How long `client` must wait until another is let in; none: not at all.
    pub(super) fn wait(&mut self, client: Client, now: Duration) -> Option<Duration> {
        let now = self.advance(now);
        let theirs = self.by_client.get(&client)?;
        let oldest = theirs.front().filter(|_| theirs.len() >= self.most)?;
        Some(*oldest + self.length - now)
    }

    /// Lets a request in and remembers it under the time that is returned; or returns how long to
    /// wait, and remembers nothing.
    pub(super) fn admit(&mut self, client: Client, now: Duration) -> Result<Duration, Duration> {
        match self.wait(client, now) {
            Some(wait) => Err(wait),
            None => Ok(self.count(client, now)),
        }
    }

    /// Remembers one, whether or not another would be let in. Returns the time that it has.
    pub(super) fn count(&mut self, client: Client, now: Duration) -> Duration {
        let now = self.advance(now);
        if self.all.len() >= self.capacity {
            self.forget_oldest();
        }
        self.all.push_back((now, client));
        self.by_client.entry(client).or_default().push_back(now);
        now
    }

    /// Forgets one that was remembered under this time.
    pub(super) fn refund(&mut self, client: Client, at: Duration) {
        if let Some(theirs) = self.by_client.get_mut(&client)
            && let Ok(place) = theirs.binary_search(&at)
        {
            // The queue of all keeps it until its time: that costs a place and nothing else.
            theirs.remove(place);
            if theirs.is_empty() {
                self.by_client.remove(&client);
            }
        }
    }

    /// Forgets what has left the window, and returns the time. Two callers may have read the clock
    /// in the other order.
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
        if let Some(theirs) = self.by_client.get_mut(&client) {
            // One that was refunded is no longer there.
            if theirs.front() == Some(&at) {
                theirs.pop_front();
            }
            if theirs.is_empty() {
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
        /// As [`Window::admit`], without the time.
        fn ask(&mut self, client: Client, now: Duration) -> Result<(), Duration> {
            self.admit(client, now).map(|_| ())
        }
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_request_that_was_let_in_exactly_a_window_ago_counts_no_more() {
        let mut window = Window::new(2, ms(1_000), 100);
        assert_eq!(window.ask(client(1), ms(0)), Ok(()));
        assert_eq!(window.ask(client(1), ms(400)), Ok(()));
        assert_eq!(window.ask(client(1), ms(999)), Err(ms(1)));
        assert_eq!(window.ask(client(2), ms(999)), Ok(()), "somebody else");
        assert_eq!(window.ask(client(1), ms(1_000)), Ok(()));
        assert_eq!(window.ask(client(1), ms(1_000)), Err(ms(400)));
    }

    #[test]
    fn being_refused_costs_nothing() {
        let mut window = Window::new(1, ms(1_000), 100);
        window.admit(client(1), ms(0)).unwrap();
        for now in [1, 500, 999] {
            assert_eq!(window.ask(client(1), ms(now)), Err(ms(1_000 - now)));
        }
        assert_eq!(window.ask(client(1), ms(1_000)), Ok(()));
    }

    #[test]
    fn memory_is_bounded_whoever_comes_and_empty_once_the_window_has_passed() {
        let mut window = Window::new(3, ms(1_000), 50);
        for number in 0..=255 {
            window.admit(client(number), ms(u64::from(number))).unwrap();
            assert!(window.all.len() <= 50 && window.by_client.len() <= 50);
        }
        window.admit(client(1), ms(5_000)).unwrap();
        assert_eq!((window.all.len(), window.by_client.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn it_decides_as_a_plain_list_does(
            most in 1..5_u32,
            length in 1..200_u64,
            asks in proptest::collection::vec(
                (0..4_u8, 0..60_u64, proptest::option::weighted(0.2, 0..50_usize)),
                0..400,
            ),
        ) {
            let mut window = Window::new(most, ms(length), 10_000);
            let mut let_in: Vec<(u64, u8)> = vec![];
            let mut now = 0;
            for (number, pause, refunded) in asks {
                now += pause;
                let within = |at: u64| let_in.iter().filter(|(then, who)| *who == number && *then + length > at).count();
                let expected = if within(now) < most as usize {
                    Ok(())
                } else {
                    // The first instant at which there is room.
                    let later = (now..).find(|at| within(*at) < most as usize).unwrap();
                    Err(ms(later - now))
                };
                let asked = window.admit(client(number), ms(now));
                prop_assert_eq!(asked, expected.map(|()| ms(now)));
                if expected.is_ok() {
                    let_in.push((now, number));
                }
                if let Some(back) = refunded.filter(|back| *back < let_in.len()) {
                    let (at, number) = let_in.remove(let_in.len() - 1 - back);
                    window.refund(client(number), ms(at));
                }
            }
        }
    }
}
