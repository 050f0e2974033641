//! What one address has open: unresolved holds, waiting entries, and requests for either that have
//! no outcome yet.
//!
//! Promise: a request counts from before the engine has it until its outcome is known, and what it
//! became counts until an event resolves it, whichever node or client did so, or its drop is put
//! into quarantine, where nothing is resolved; concurrent requests
//! cannot exceed the bound. Events name what a request became by its idempotency key, so a hold that
//! is resolved before its own answer is given counts no longer.
//! Limit: in memory, at most `most` over all addresses; beyond that newcomers do not count. A
//! request whose outcome stayed unknown counts for [`UNKNOWN`]; a hold that it becomes after that
//! does not.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use domain::DropEvent;
use domain::event::HoldPlaced;
use domain::values::{DropId, HoldId, KeyDigest, Timestamp, WaitlistId};

use infrastructure::codec::RecordedEvent;

use super::address::Client;

/// How long a request without an outcome counts: longer than the engine tries to find out.
pub(super) const UNKNOWN: Duration = Duration::from_secs(60);

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// A hold.
    Hold,
    /// A waitlist entry.
    Entry,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Open {
    most: usize,
    /// By what is asked for as well: a request of one kind must not stand for one of the other.
    pending: HashMap<(KeyDigest, Asked), Pending>,
    holds: HashMap<HoldId, (Client, Timestamp)>,
    entries: HashMap<WaitlistId, Client>,
    accounts: HashMap<Client, Account>,
    /// Requests that ended without an outcome, and when; oldest first.
    unknown: VecDeque<(Duration, (KeyDigest, Asked))>,
}

#[derive(Debug)]
struct Pending {
    client: Client,
    /// Requests with this key that are being answered.
    requests: usize,
}

/// What one address has.
#[derive(Debug, Default)]
struct Account {
    pending_holds: usize,
    pending_entries: usize,
    /// The first to expire first.
    holds: BTreeSet<(Timestamp, HoldId)>,
    entries: usize,
}

impl Account {
    fn pending(&mut self, asked: Asked) -> &mut usize {
        match asked {
            Asked::Hold => &mut self.pending_holds,
            Asked::Entry => &mut self.pending_entries,
        }
    }

    fn open(&self, asked: Asked) -> usize {
        match asked {
            Asked::Hold => self.pending_holds + self.holds.len(),
            Asked::Entry => self.pending_entries + self.entries,
        }
    }

    fn is_empty(&self) -> bool {
        self.open(Asked::Hold) + self.open(Asked::Entry) == 0
    }
}

impl Open {
    /// At most `most` over all addresses.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            pending: HashMap::new(),
            holds: HashMap::new(),
            entries: HashMap::new(),
            accounts: HashMap::new(),
            unknown: VecDeque::new(),
        }
    }

    /// How many holds or entries `client` has, those included that are being asked for.
    pub(super) fn of(&self, client: Client, asked: Asked) -> usize {
        let account = self.accounts.get(&client);
        account.map_or(0, |account| account.open(asked))
    }

    /// When the first of the client's holds expires.
    pub(super) fn first_expiry(&self, client: Client) -> Option<Timestamp> {
        let holds = &self.accounts.get(&client)?.holds;
        holds.first().map(|(expires_at, _)| *expires_at)
    }

    /// Whether a request for the same with this key is being answered.
    pub(super) fn is_pending(&self, key: KeyDigest, asked: Asked) -> bool {
        self.pending.contains_key(&(key, asked))
    }

    /// Counts a request from now on, until [`Open::settle`] and an event say otherwise.
    pub(super) fn begin(&mut self, client: Client, asked: Asked, key: KeyDigest, now: Duration) {
        self.forget_unknown(now);
        if let Some(pending) = self.pending.get_mut(&(key, asked)) {
            pending.requests += 1;
            return;
        }
        if self.pending.len() + self.holds.len() + self.entries.len() >= self.most {
            return;
        }
        let pending = Pending {
            client,
            requests: 1,
        };
        self.pending.insert((key, asked), pending);
        *self.accounts.entry(client).or_default().pending(asked) += 1;
    }

    /// A request with this key was answered: with an outcome, or without one that is known.
    pub(super) fn settle(&mut self, key: KeyDigest, asked: Asked, is_known: bool, now: Duration) {
        let Some(pending) = self.pending.get_mut(&(key, asked)) else {
            // An event has said what it became.
            return;
        };
        pending.requests = pending.requests.saturating_sub(1);
        if pending.requests > 0 {
            return;
        }
        if is_known {
            self.take_pending(key, asked);
        } else {
            self.unknown.push_back((now, (key, asked)));
        }
    }

    fn forget_unknown(&mut self, now: Duration) {
        while let Some((since, (key, asked))) = self.unknown.front().copied()
            && since + UNKNOWN <= now
        {
            self.unknown.pop_front();
            // A retry may be on its way.
            let pending = self.pending.get(&(key, asked));
            if pending.is_some_and(|one| one.requests == 0) {
                self.take_pending(key, asked);
            }
        }
    }

    fn take_pending(&mut self, key: KeyDigest, asked: Asked) -> Option<Client> {
        let Pending { client, .. } = self.pending.remove(&(key, asked))?;
        self.change(client, |account| *account.pending(asked) -= 1);
        Some(client)
    }

    fn change(&mut self, client: Client, change: impl FnOnce(&mut Account)) {
        let account = self.accounts.entry(client).or_default();
        change(account);
        if account.is_empty() {
            self.accounts.remove(&client);
        }
    }

    /// Follows the log. Returns whose hold has expired, if it is one that counted.
    pub(super) fn follow(&mut self, event: &DropEvent) -> Option<Client> {
        if self.pending.is_empty() && self.holds.is_empty() && self.entries.is_empty() {
            return None;
        }
        match event {
            DropEvent::HoldPlaced(event) => self.placed(event),
            DropEvent::WaitlistJoined(event) => {
                let key = event.key;
                if let Some(client) = key.and_then(|key| self.take_pending(key, Asked::Entry)) {
                    self.entries.insert(event.entry_id, client);
                    self.change(client, |account| account.entries += 1);
                }
            }
            DropEvent::WaitlistLeft(event) => drop(self.entry_ended(event.entry_id)),
            DropEvent::HoldExpired(event) => return self.resolved(event.hold_id),
            DropEvent::HoldReleased(event) => drop(self.resolved(event.hold_id)),
            DropEvent::PurchaseConfirmed(event) => drop(self.resolved(event.hold_id)),
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::StockAdjusted(_) => {}
        }
        None
    }

    /// Nothing of a drop counts any more but what `except` places: no event will resolve the rest.
    /// What counts was placed by an engine, so its id shares its first bytes with the drop.
    pub(super) fn forget(&mut self, drop_id: DropId, except: &[RecordedEvent]) {
        let (mut holds, mut entries) = (HashSet::new(), HashSet::new());
        for recorded in except {
            if let DropEvent::HoldPlaced(event) = &recorded.event {
                holds.insert(event.hold_id);
            }
            if let DropEvent::WaitlistJoined(event) = &recorded.event {
                entries.insert(event.entry_id);
            }
        }
        let prefix = drop_id.prefix();
        let of_drop = |id: &&HoldId| id.prefix() == prefix && !holds.contains(*id);
        let gone: Vec<HoldId> = self.holds.keys().filter(of_drop).copied().collect();
        for hold_id in gone {
            self.resolved(hold_id);
        }
        let of_drop = |id: &&WaitlistId| id.prefix() == prefix && !entries.contains(*id);
        let gone: Vec<WaitlistId> = self.entries.keys().filter(of_drop).copied().collect();
        for entry_id in gone {
            self.entry_ended(entry_id);
        }
    }

    fn placed(&mut self, event: &HoldPlaced) {
        let client = match event.waitlist_entry {
            Some(entry_id) => self.entry_ended(entry_id),
            None => event
                .key
                .and_then(|key| self.take_pending(key, Asked::Hold)),
        };
        if let Some(client) = client {
            let (hold_id, expires_at) = (event.hold_id, event.expires_at);
            self.holds.insert(hold_id, (client, expires_at));
            self.change(client, |account| {
                account.holds.insert((expires_at, hold_id));
            });
        }
    }

    fn entry_ended(&mut self, entry_id: WaitlistId) -> Option<Client> {
        let client = self.entries.remove(&entry_id)?;
        self.change(client, |account| account.entries -= 1);
        Some(client)
    }

    fn resolved(&mut self, hold_id: HoldId) -> Option<Client> {
        let (client, expires_at) = self.holds.remove(&hold_id)?;
        self.change(client, |account| {
            account.holds.remove(&(expires_at, hold_id));
        });
        Some(client)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use domain::testing::*;

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn client(number: u8) -> Client {
        Client::V4(Ipv4Addr::new(192, 0, 2, number))
    }

    fn counts(open: &Open) -> [usize; 2] {
        [Asked::Hold, Asked::Entry].map(|asked| open.of(client(1), asked))
    }

    /// One address with a hold `h` and an entry `w`, as the log says.
    fn a_hold_and_an_entry() -> Open {
        let mut open = Open::new(100);
        open.begin(client(1), Asked::Hold, key("h"), NOW);
        open.begin(client(1), Asked::Entry, key("w"), NOW);
        open.follow(&hold_placed("h", 1).keyed("h"));
        open.follow(&waitlist_joined("w", 1).keyed("w"));
        open.settle(key("h"), Asked::Hold, true, NOW);
        open.settle(key("w"), Asked::Entry, true, NOW);
        assert_eq!(counts(&open), [1, 1]);
        open
    }

    fn is_empty(open: &Open) -> bool {
        open.accounts.is_empty()
            && open.pending.is_empty()
            && open.holds.is_empty()
            && open.entries.is_empty()
    }

    #[test]
    fn a_request_counts_while_it_is_decided_and_a_refused_one_no_longer() {
        let mut open = Open::new(100);
        open.begin(client(1), Asked::Hold, key("a"), NOW);
        open.begin(client(1), Asked::Hold, key("b"), NOW);
        assert_eq!(counts(&open), [2, 0]);
        assert_eq!(open.of(client(2), Asked::Hold), 0);
        open.settle(key("a"), Asked::Hold, true, NOW);
        open.settle(key("b"), Asked::Hold, true, NOW);
        assert!(is_empty(&open));
    }

    #[test]
    fn what_a_request_became_counts_until_it_is_resolved() {
        for resolution in [
            hold_expired("h", 1),
            hold_released("h", 1),
            hold_called_off("h", 1),
            purchase_confirmed("h", 1),
        ] {
            let mut open = a_hold_and_an_entry();
            let expired = open.follow(&resolution);
            let is_expiry = matches!(resolution, DropEvent::HoldExpired(_));
            assert_eq!(expired, is_expiry.then_some(client(1)), "{resolution:?}");
            assert_eq!(counts(&open), [0, 1], "{resolution:?}");
            open.follow(&resolution);
            open.follow(&waitlist_left("w", 1));
            assert!(is_empty(&open));
        }
    }

    #[test]
    fn an_entry_becomes_a_hold_of_the_same_address() {
        let mut open = a_hold_and_an_entry();
        open.follow(&hold_offered("w", 1));
        assert_eq!(counts(&open), [2, 0]);
    }

    #[test]
    fn a_hold_that_is_resolved_before_its_answer_does_not_count() {
        let mut open = Open::new(100);
        open.begin(client(1), Asked::Hold, key("h"), NOW);
        open.follow(&hold_placed("h", 1).keyed("h"));
        open.follow(&hold_called_off("h", 1));
        open.settle(key("h"), Asked::Hold, true, NOW);
        assert!(is_empty(&open));
    }

    #[test]
    fn two_requests_with_one_key_count_once_and_until_both_are_answered() {
        let mut open = Open::new(100);
        open.begin(client(1), Asked::Hold, key("h"), NOW);
        open.begin(client(1), Asked::Hold, key("h"), NOW);
        assert_eq!(counts(&open), [1, 0]);
        // The first was refused, the second is accepted: it counts all the same.
        open.settle(key("h"), Asked::Hold, true, NOW);
        open.follow(&hold_placed("h", 1).keyed("h"));
        assert_eq!(counts(&open), [1, 0]);
        open.settle(key("h"), Asked::Hold, true, NOW);
        assert_eq!(counts(&open), [1, 0]);
    }

    #[test]
    fn a_hold_and_an_entry_with_one_key_count_as_both() {
        let mut open = Open::new(100);
        open.begin(client(1), Asked::Entry, key("k"), NOW);
        assert!(!open.is_pending(key("k"), Asked::Hold));
        open.begin(client(1), Asked::Hold, key("k"), NOW);
        assert_eq!(counts(&open), [1, 1]);
        open.follow(&hold_placed("h", 1).keyed("k"));
        open.settle(key("k"), Asked::Hold, true, NOW);
        assert_eq!(counts(&open), [1, 1]);
        open.settle(key("k"), Asked::Entry, true, NOW);
        assert_eq!(counts(&open), [1, 0]);
    }

    #[test]
    fn without_an_outcome_a_request_counts_for_a_while_and_its_hold_if_it_comes_in_time() {
        let mut open = Open::new(100);
        for name in ["late", "never"] {
            open.begin(client(1), Asked::Hold, key(name), NOW);
            open.settle(key(name), Asked::Hold, false, NOW);
        }
        open.follow(&hold_placed("late", 1).keyed("late"));
        let just_before = UNKNOWN.saturating_sub(Duration::from_millis(1));
        open.forget_unknown(just_before);
        assert_eq!(counts(&open), [2, 0]);
        open.forget_unknown(UNKNOWN);
        assert_eq!(counts(&open), [1, 0]);
        open.follow(&hold_expired("late", 1));
        assert!(is_empty(&open) && open.unknown.is_empty());
    }

    #[test]
    fn memory_is_bounded_in_favour_of_newcomers() {
        let mut open = Open::new(10);
        for number in 0..50 {
            let name = format!("h{number}");
            open.begin(client(number), Asked::Hold, key(&name), NOW);
            open.follow(&hold_placed(&name, 1).keyed(&name));
            open.settle(key(&name), Asked::Hold, true, NOW);
        }
        assert_eq!((open.holds.len(), open.accounts.len()), (10, 10));
        for number in 0..50 {
            open.follow(&hold_expired(&format!("h{number}"), 1));
        }
        assert!(is_empty(&open));
    }
}
