//! Open requests of each address: unresolved holds, waitlist entries, and requests for either that
//! have no outcome yet.
//!
//! Promise: a request counts from before the engine receives it until its outcome is known. The
//! hold or entry that it creates counts until an event resolves it, whichever node or client caused
//! that event, or until its drop is quarantined, where nothing is resolved. Concurrent requests
//! cannot exceed the limit. Events are matched to requests by idempotency key, so a hold that is
//! resolved before its own response is sent no longer counts. Limit: in memory, at most `most` over
//! all addresses; further requests do not count. A request with an unknown outcome counts for
//! [`UNKNOWN`]; a hold that it creates later does not.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use domain::DropEvent;
use domain::event::{HoldExtended, HoldPlaced};
use domain::order::OrderPlaced;
use domain::values::{DropId, HoldId, KeyDigest, Timestamp, WaitlistId};

use infrastructure::codec::RecordedEvent;

use super::address::Client;

/// How long a request without an outcome counts: longer than the engine needs to determine it.
pub(super) const UNKNOWN: Duration = Duration::from_secs(60);

/// The kind of stock request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RequestKind {
    Hold,
    /// A waitlist entry.
    Entry,
}

#[derive(Debug)]
pub(super) struct Open {
    most: usize,
    /// Keyed by kind as well: a pending request of one kind must not admit one of the other.
    pending: HashMap<(KeyDigest, RequestKind), Pending>,
    holds: HashMap<HoldId, (Client, Timestamp)>,
    entries: HashMap<WaitlistId, Client>,
    accounts: HashMap<Client, Account>,
    /// Requests that ended without a known outcome, and when; oldest first.
    unknown: VecDeque<(Duration, (KeyDigest, RequestKind))>,
}

#[derive(Debug)]
struct Pending {
    client: Client,
    /// Number of in-flight requests with this key.
    requests: usize,
    /// Number of holds or entries that it counts as.
    many: usize,
}

/// The open requests of one address.
#[derive(Debug, Default)]
struct Account {
    pending_holds: usize,
    pending_entries: usize,
    /// Ordered by expiry.
    holds: BTreeSet<(Timestamp, HoldId)>,
    entries: usize,
}

impl Account {
    fn pending(&mut self, kind: RequestKind) -> &mut usize {
        match kind {
            RequestKind::Hold => &mut self.pending_holds,
            RequestKind::Entry => &mut self.pending_entries,
        }
    }

    fn open(&self, kind: RequestKind) -> usize {
        match kind {
            RequestKind::Hold => self.pending_holds + self.holds.len(),
            RequestKind::Entry => self.pending_entries + self.entries,
        }
    }

    fn is_empty(&self) -> bool {
        self.open(RequestKind::Hold) + self.open(RequestKind::Entry) == 0
    }
}

impl Open {
    /// Counts at most `most` requests over all addresses.
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

    /// Returns the number of holds or entries of `client`, pending requests included.
    pub(super) fn of(&self, client: Client, kind: RequestKind) -> usize {
        let account = self.accounts.get(&client);
        account.map_or(0, |account| account.open(kind))
    }

    /// Returns the time at which the first of the client's holds expires.
    pub(super) fn first_expiry(&self, client: Client) -> Option<Timestamp> {
        let holds = &self.accounts.get(&client)?.holds;
        holds.first().map(|(expires_at, _)| *expires_at)
    }

    /// Returns true if a request of this kind with this key is in flight.
    pub(super) fn is_pending(&self, key: KeyDigest, kind: RequestKind) -> bool {
        self.pending.contains_key(&(key, kind))
    }

    /// As [`Open::begin_many`], for one hold or entry.
    #[cfg(test)]
    pub(super) fn begin(
        &mut self,
        client: Client,
        kind: RequestKind,
        key: KeyDigest,
        now: Duration,
    ) {
        self.begin_many(client, (kind, 1), key, now);
    }

    /// Counts a request for `many` holds or entries until [`Open::settle`] or an event ends it.
    pub(super) fn begin_many(
        &mut self,
        client: Client,
        (kind, many): (RequestKind, usize),
        key: KeyDigest,
        now: Duration,
    ) {
        self.forget_unknown(now);
        if let Some(pending) = self.pending.get_mut(&(key, kind)) {
            pending.requests += 1;
            return;
        }
        if self.pending.len() + self.holds.len() + self.entries.len() >= self.most {
            return;
        }
        let pending = Pending {
            client,
            requests: 1,
            many,
        };
        self.pending.insert((key, kind), pending);
        *self.accounts.entry(client).or_default().pending(kind) += many;
    }

    /// Records that a request with this key was answered. Its outcome may be unknown.
    pub(super) fn settle(
        &mut self,
        key: KeyDigest,
        kind: RequestKind,
        is_known: bool,
        now: Duration,
    ) {
        let Some(pending) = self.pending.get_mut(&(key, kind)) else {
            // An event has already resolved it.
            return;
        };
        pending.requests = pending.requests.saturating_sub(1);
        if pending.requests > 0 {
            return;
        }
        if is_known {
            self.take_pending(key, kind);
        } else {
            self.unknown.push_back((now, (key, kind)));
        }
    }

    fn forget_unknown(&mut self, now: Duration) {
        while let Some((since, (key, kind))) = self.unknown.front().copied()
            && since + UNKNOWN <= now
        {
            self.unknown.pop_front();
            // A retry may be in flight.
            let pending = self.pending.get(&(key, kind));
            if pending.is_some_and(|one| one.requests == 0) {
                self.take_pending(key, kind);
            }
        }
    }

    fn take_pending(&mut self, key: KeyDigest, kind: RequestKind) -> Option<Client> {
        let Pending { client, many, .. } = self.pending.remove(&(key, kind))?;
        self.change(client, |account| *account.pending(kind) -= many);
        Some(client)
    }

    fn change(&mut self, client: Client, change: impl FnOnce(&mut Account)) {
        let account = self.accounts.entry(client).or_default();
        change(account);
        if account.is_empty() {
            self.accounts.remove(&client);
        }
    }

    /// Follows an event of the log. Returns the client whose hold has expired, if it was counted.
    pub(super) fn follow(&mut self, event: &DropEvent) -> Option<Client> {
        if self.pending.is_empty() && self.holds.is_empty() && self.entries.is_empty() {
            return None;
        }
        match event {
            DropEvent::HoldPlaced(event) => self.placed(event),
            DropEvent::WaitlistJoined(event) => {
                let key = event.key;
                if let Some(client) = key.and_then(|key| self.take_pending(key, RequestKind::Entry))
                {
                    self.entries.insert(event.entry_id, client);
                    self.change(client, |account| account.entries += 1);
                }
            }
            DropEvent::WaitlistLeft(event) => drop(self.entry_ended(event.entry_id)),
            DropEvent::HoldExtended(event) => self.extended(event),
            DropEvent::HoldExpired(event) => return self.resolved(event.hold_id),
            DropEvent::HoldReleased(event) => drop(self.resolved(event.hold_id)),
            DropEvent::PurchaseConfirmed(event) => drop(self.resolved(event.hold_id)),
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::CodesCreated(_) => {}
        }
        None
    }

    /// Stops counting the holds and entries of a drop, except those in `except`: no event will
    /// resolve the rest. Ids given by an engine begin with the drop's prefix.
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

    /// Follows the placement of an order: its holds count for the client that requested it.
    pub(super) fn ordered(&mut self, event: &OrderPlaced) {
        let pending = |key| self.take_pending(key, RequestKind::Hold);
        if let Some(client) = event.key.and_then(pending) {
            for item in &event.items {
                self.count_hold(client, item.hold_id, event.expires_at);
            }
        }
    }

    fn count_hold(&mut self, client: Client, hold_id: HoldId, expires_at: Timestamp) {
        self.holds.insert(hold_id, (client, expires_at));
        self.change(client, |account| {
            account.holds.insert((expires_at, hold_id));
        });
    }

    fn placed(&mut self, event: &HoldPlaced) {
        let client = match event.waitlist_entry {
            Some(entry_id) => self.entry_ended(entry_id),
            None => event
                .key
                .and_then(|key| self.take_pending(key, RequestKind::Hold)),
        };
        if let Some(client) = client {
            self.count_hold(client, event.hold_id, event.expires_at);
        }
    }

    fn extended(&mut self, event: &HoldExtended) {
        let HoldExtended {
            hold_id,
            expires_at,
            ..
        } = *event;
        if let Some((client, at)) = self.holds.get_mut(&hold_id) {
            let (client, before) = (*client, std::mem::replace(at, expires_at));
            self.change(client, |account| {
                account.holds.remove(&(before, hold_id));
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
        [RequestKind::Hold, RequestKind::Entry].map(|kind| open.of(client(1), kind))
    }

    /// One address with a hold `h` and an entry `w`, as recorded in the log.
    fn a_hold_and_an_entry() -> Open {
        let mut open = Open::new(100);
        open.begin(client(1), RequestKind::Hold, key("h"), NOW);
        open.begin(client(1), RequestKind::Entry, key("w"), NOW);
        open.follow(&hold_placed("h", 1).keyed("h"));
        open.follow(&waitlist_joined("w", 1).keyed("w"));
        open.settle(key("h"), RequestKind::Hold, true, NOW);
        open.settle(key("w"), RequestKind::Entry, true, NOW);
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
    fn request_counts_while_it_is_decided_and_not_after_a_refusal() {
        let mut open = Open::new(100);
        open.begin(client(1), RequestKind::Hold, key("a"), NOW);
        open.begin(client(1), RequestKind::Hold, key("b"), NOW);
        assert_eq!(counts(&open), [2, 0]);
        assert_eq!(open.of(client(2), RequestKind::Hold), 0);
        open.settle(key("a"), RequestKind::Hold, true, NOW);
        open.settle(key("b"), RequestKind::Hold, true, NOW);
        assert!(is_empty(&open));
    }

    #[test]
    fn extended_hold_counts_until_its_new_deadline() {
        let mut open = a_hold_and_an_entry();
        assert_eq!(open.first_expiry(client(1)), Some(second(60)));
        open.follow(&hold_extended("h", 300));
        assert_eq!(open.first_expiry(client(1)), Some(second(300)));
        assert_eq!(counts(&open), [1, 1]);
        open.follow(&hold_changed("h", 1, 2));
        assert_eq!(open.follow(&hold_expired("h", 2)), Some(client(1)));
        assert_eq!(counts(&open), [0, 1]);
    }

    #[test]
    fn hold_or_entry_counts_until_it_is_resolved() {
        for resolution in [
            hold_expired("h", 1),
            hold_released("h", 1),
            hold_cancelled("h", 1),
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
    fn entry_becomes_a_hold_of_the_same_address() {
        let mut open = a_hold_and_an_entry();
        open.follow(&hold_offered("w", 1));
        assert_eq!(counts(&open), [2, 0]);
    }

    #[test]
    fn hold_that_is_resolved_before_its_response_does_not_count() {
        let mut open = Open::new(100);
        open.begin(client(1), RequestKind::Hold, key("h"), NOW);
        open.follow(&hold_placed("h", 1).keyed("h"));
        open.follow(&hold_cancelled("h", 1));
        open.settle(key("h"), RequestKind::Hold, true, NOW);
        assert!(is_empty(&open));
    }

    #[test]
    fn two_requests_with_one_key_count_once_until_both_are_answered() {
        let mut open = Open::new(100);
        open.begin(client(1), RequestKind::Hold, key("h"), NOW);
        open.begin(client(1), RequestKind::Hold, key("h"), NOW);
        assert_eq!(counts(&open), [1, 0]);
        // The first is refused and the second accepted: the second still counts.
        open.settle(key("h"), RequestKind::Hold, true, NOW);
        open.follow(&hold_placed("h", 1).keyed("h"));
        assert_eq!(counts(&open), [1, 0]);
        open.settle(key("h"), RequestKind::Hold, true, NOW);
        assert_eq!(counts(&open), [1, 0]);
    }

    #[test]
    fn hold_and_entry_with_one_key_count_as_both() {
        let mut open = Open::new(100);
        open.begin(client(1), RequestKind::Entry, key("k"), NOW);
        assert!(!open.is_pending(key("k"), RequestKind::Hold));
        open.begin(client(1), RequestKind::Hold, key("k"), NOW);
        assert_eq!(counts(&open), [1, 1]);
        open.follow(&hold_placed("h", 1).keyed("k"));
        open.settle(key("k"), RequestKind::Hold, true, NOW);
        assert_eq!(counts(&open), [1, 1]);
        open.settle(key("k"), RequestKind::Entry, true, NOW);
        assert_eq!(counts(&open), [1, 0]);
    }

    #[test]
    fn request_without_outcome_counts_for_a_while_and_so_does_its_hold() {
        let mut open = Open::new(100);
        for name in ["late", "never"] {
            open.begin(client(1), RequestKind::Hold, key(name), NOW);
            open.settle(key(name), RequestKind::Hold, false, NOW);
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
    fn memory_is_bounded_and_new_clients_are_not_counted_beyond_it() {
        let mut open = Open::new(10);
        for number in 0..50 {
            let name = format!("h{number}");
            open.begin(client(number), RequestKind::Hold, key(&name), NOW);
            open.follow(&hold_placed(&name, 1).keyed(&name));
            open.settle(key(&name), RequestKind::Hold, true, NOW);
        }
        assert_eq!((open.holds.len(), open.accounts.len()), (10, 10));
        for number in 0..50 {
            open.follow(&hold_expired(&format!("h{number}"), 1));
        }
        assert!(is_empty(&open));
    }
}
