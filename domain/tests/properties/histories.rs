//! Random requests that are likely to interact: few buyers, repeated keys and ids, times near
//! deadlines.

use domain::DropCommand;
use domain::command::{
    AdjustStock, ChangeHold, ConfirmPurchase, ExpireHold, ExtendHold, JoinWaitlist, LeaveWaitlist,
    Pass, PlaceHold, RefundPurchase, ReleaseHold, RescheduleDrop, ScheduleDrop, ServeWaitlist,
    SetStock,
};
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::{
    HoldId, KeyDigest, Quantity, Reason, StockCount, Timestamp, Visibility, WaitlistId,
};
use proptest::prelude::*;
use proptest::sample::Index;

use super::model::Model;

/// A sale: the way it is run, and the requests it receives.
#[derive(Debug, Clone)]
pub struct History {
    /// Like the engine, records due expiries before each request and its consequences after it.
    pub prompt: bool,
    pub requests: Vec<(Wait, Request)>,
}

/// The time that passes before a request.
#[derive(Debug, Clone)]
pub enum Wait {
    No,
    Millis(i64),
    /// Until `offset` milliseconds from one of the next instants at which some result changes.
    Edge(Index, i64),
}

#[derive(Debug, Clone)]
pub enum Key {
    None,
    New,
    Old(Index),
}

#[derive(Debug, Clone)]
pub enum Which {
    New,
    /// Counted from the newest.
    Old(Index),
}

#[derive(Debug, Clone)]
pub enum Delta {
    By(i32),
    /// Leaves this many units available.
    Leaving(i32),
    /// Sets the total this far below the most that a drop can offer.
    BelowMost(i32),
}

#[derive(Debug, Clone)]
pub enum Request {
    Schedule(Key, DropTerms, u32),
    /// Repeats the original scheduling, at the present time and possibly with more units.
    ScheduleAgain {
        starting_now: bool,
        more: u32,
    },
    /// With a version that differs by this much from the present one.
    Reschedule(Option<i8>, TermsPatch),
    /// Moves the start to this many milliseconds from now; waiting entries stay.
    PutOff(i64),
    Cancel,
    Pause,
    Resume,
    Publish,
    /// With a version of the stock that differs by this much from the present one.
    Adjust(Which, Key, Option<i8>, Delta, bool),
    /// To this many more or fewer units than are held and sold.
    SetStock(Option<i8>, i32),
    Place(Which, Key, u8, Quantity),
    /// By this many seconds.
    Extend(Which, u32),
    /// To this many units.
    Resize(Which, Quantity),
    Release(Which),
    Buy(Which),
    /// This many units of the purchase of a hold (all without a number), restocked or not.
    Refund(Which, Key, Option<Quantity>, bool, bool),
    Expire(Which),
    Join(Which, Key, u8, Quantity),
    Leave(Which),
    Serve,
    Settle,
    /// An identical repetition of an earlier request, with a new id or the same.
    Repeat(Index, bool),
}

fn key_strategy() -> impl Strategy<Value = Key> {
    prop_oneof![
        5 => Just(Key::None),
        4 => Just(Key::New),
        1 => any::<Index>().prop_map(Key::Old),
    ]
}

fn which(new: u32, old: u32) -> impl Strategy<Value = Which> {
    prop_oneof![
        new => Just(Which::New),
        old => any::<Index>().prop_map(Which::Old),
    ]
}

fn units() -> impl Strategy<Value = Quantity> {
    prop_oneof![9 => 1..=4_u32, 1 => 1..=1_000_u32].prop_map(quantity)
}

prop_compose! {
    fn terms_strategy()(
        starts in prop_oneof![Just(0), 0..5_000_i64],
        lasts in proptest::option::weighted(0.4, prop_oneof![1 => -2..=2_i64, 3 => 60_000..600_000_i64]),
        seconds in prop_oneof![1 => 1..=5_u32, 3 => 20..=120_u32],
        longest in proptest::option::weighted(0.6, prop_oneof![1 => 1..=30_u32, 3 => 100..=400_u32]),
        offered in proptest::option::weighted(0.3, prop_oneof![1 => 1..=5_u32, 3 => 60..=300_u32]),
        per_hold in prop_oneof![1 => 1..=4_u32, 3 => Just(1_000)],
        per_buyer in proptest::option::weighted(0.5, 1..=30_u32),
        low in proptest::option::weighted(0.3, 1..=30_u32),
        throttled in proptest::option::weighted(0.6, (1..=4_u32, 1..=60_u32)),
        price in 0..=100_000_i64,
        visibility in prop_oneof![Just(Visibility::Public), Just(Visibility::Hidden)],
        product in proptest::option::weighted(0.3, "[a-c]"),
    ) -> DropTerms {
        DropTerms {
            price: cents(price),
            starts_at: millisecond(starts),
            ends_at: lasts.map(|lasts| millisecond(starts + lasts)),
            hold_seconds: hold_seconds(seconds),
            max_hold_seconds: longest.map(max_hold_seconds),
            offer_seconds: offered.map(offer_seconds),
            max_per_hold: quantity(per_hold),
            max_per_buyer: per_buyer.map(buyer_limit),
            low_stock_at: low.map(low_stock),
            throttle: throttled.map(|(holds, window)| throttle(holds, window)),
            visibility,
            product_id: product.as_deref().map(catalogue_id),
            ..terms()
        }
    }
}

/// Any subset of the terms of another drop.
fn patch_strategy() -> impl Strategy<Value = TermsPatch> {
    (terms_strategy(), any::<u16>()).prop_map(|(terms, bits)| {
        let chosen = |bit: u8| bits & (1 << bit) != 0;
        TermsPatch {
            price: chosen(0).then_some(terms.price),
            starts_at: (chosen(1) && chosen(7)).then_some(terms.starts_at),
            ends_at: chosen(2).then_some(terms.ends_at),
            hold_seconds: chosen(3).then_some(terms.hold_seconds),
            max_per_hold: chosen(4).then_some(terms.max_per_hold),
            max_per_buyer: chosen(5).then_some(terms.max_per_buyer),
            throttle: chosen(6).then_some(terms.throttle),
            max_hold_seconds: chosen(8).then_some(terms.max_hold_seconds),
            offer_seconds: chosen(9).then_some(terms.offer_seconds),
            low_stock_at: chosen(10).then_some(terms.low_stock_at),
            visibility: chosen(11).then_some(terms.visibility),
            product_id: chosen(12).then_some(terms.product_id),
            ..TermsPatch::default()
        }
    })
}

fn total() -> impl Strategy<Value = u32> {
    prop_oneof![2 => 0..=12_u32, 4 => 10..=200_u32, 1 => 9_999_990..=10_000_000_u32]
}

fn schedule_strategy() -> impl Strategy<Value = Request> {
    (key_strategy(), terms_strategy(), total())
        .prop_map(|(key, terms, total)| Request::Schedule(key, terms, total))
}

fn ask_strategy() -> impl Strategy<Value = Request> {
    let delta = prop_oneof![
        4 => (-10..=20_i32).prop_map(Delta::By),
        2 => (-1..=1_i32).prop_map(Delta::Leaving),
        2 => (-1..=1_i32).prop_map(Delta::BelowMost),
        1 => any::<i32>().prop_map(Delta::By),
    ];
    let seen = || prop_oneof![3 => Just(None), 3 => Just(Some(0)), 1 => (-2..=2_i8).prop_map(Some)];
    prop_oneof![
        5 => schedule_strategy(),
        6 => (any::<bool>(), prop_oneof![3 => Just(0), 1 => Just(1_u32)])
            .prop_map(|(starting_now, more)| Request::ScheduleAgain { starting_now, more }),
        40 => (seen(), patch_strategy()).prop_map(|(version, patch)| Request::Reschedule(version, patch)),
        4 => (0..3_000_i64).prop_map(Request::PutOff),
        1 => Just(Request::Cancel),
        6 => Just(Request::Pause),
        12 => Just(Request::Resume),
        1 => Just(Request::Publish),
        40 => (which(9, 1), key_strategy(), seen(), delta, any::<bool>())
            .prop_map(|(id, key, total, delta, lost)| Request::Adjust(id, key, total, delta, lost)),
        20 => (seen(), -1..=20_i32).prop_map(|(total, left)| Request::SetStock(total, left)),
        300 => (which(19, 1), key_strategy(), 0..BUYERS, units())
            .prop_map(|(id, key, buyer, units)| Request::Place(id, key, buyer, units)),
        120 => (which(19, 1), key_strategy(), 0..BUYERS, units())
            .prop_map(|(id, key, buyer, units)| Request::Join(id, key, buyer, units)),
        20 => which(1, 30).prop_map(Request::Leave),
        10 => Just(Request::Serve),
        5 => Just(Request::Settle),
        60 => (which(1, 30), prop_oneof![3 => 1..=200_u32, 1 => Just(86_400_u32)])
            .prop_map(|(hold, seconds)| Request::Extend(hold, seconds)),
        60 => (which(1, 30), units()).prop_map(|(hold, units)| Request::Resize(hold, units)),
        60 => which(1, 30).prop_map(Request::Release),
        120 => which(1, 30).prop_map(Request::Buy),
        80 => (which(1, 60), key_strategy(), proptest::option::of(units()), any::<bool>(), any::<bool>())
            .prop_map(|(hold, key, units, restock, lost)| Request::Refund(hold, key, units, restock, lost)),
        50 => which(1, 30).prop_map(Request::Expire),
        60 => (any::<Index>(), any::<bool>()).prop_map(|(n, same_id)| Request::Repeat(n, same_id)),
    ]
}

fn wait_strategy() -> impl Strategy<Value = Wait> {
    prop_oneof![
        6 => Just(Wait::No),
        1 => Just(Wait::Millis(1)),
        3 => (0..1_000_i64).prop_map(Wait::Millis),
        2 => (any::<Index>(), -1..=1_i64).prop_map(|(n, offset)| Wait::Edge(n, offset)),
    ]
}

pub fn history_strategy() -> impl Strategy<Value = History> {
    let first = prop_oneof![19 => schedule_strategy(), 1 => ask_strategy()];
    let requests = proptest::collection::vec((wait_strategy(), ask_strategy()), 0..=300);
    (any::<bool>(), first, requests).prop_map(|(prompt, first, mut requests)| {
        requests.insert(0, (Wait::No, first));
        History { prompt, requests }
    })
}

/// Converts symbolic requests to commands, in view of the history so far.
#[derive(Debug, Default)]
pub struct Writer {
    sent: Vec<DropCommand>,
    keys: Vec<KeyDigest>,
    names: u32,
}

/// Few, so that they interact, but enough for a waitlist.
const BUYERS: u8 = 8;

/// Fewer than buyers, so that the waitlist is sometimes full.
const MAX_WAITING: u32 = 4;

/// How far back an old hold may be: most requests are about a recent one.
const RECENT: usize = 12;

impl Writer {
    /// Returns a time that is not before `now`.
    pub fn pass(&self, wait: &Wait, model: &Model, now: Timestamp) -> Timestamp {
        match wait {
            Wait::No => now,
            Wait::Millis(millis) => now.plus_millis(*millis),
            Wait::Edge(nth, offset) => {
                let mut edges = edges(model);
                edges.retain(|&edge| edge > now);
                edges.sort();
                edges.truncate(3);
                let edge = if edges.is_empty() {
                    now
                } else {
                    *nth.get(&edges)
                };
                edge.plus_millis(*offset).max(now)
            }
        }
    }

    pub fn write(&mut self, ask: &Request, model: &Model, at: Timestamp) -> DropCommand {
        let command = self.command(ask, model, at);
        self.sent.push(command.clone());
        command
    }

    fn command(&mut self, ask: &Request, model: &Model, at: Timestamp) -> DropCommand {
        match ask {
            Request::Schedule(key, terms, total) => DropCommand::ScheduleDrop(ScheduleDrop {
                key: self.key(key),
                terms: terms.clone(),
                total_stock: stock_count(*total),
                at,
            }),
            Request::ScheduleAgain { starting_now, more } => {
                let Some(begun) = model.begun() else {
                    return schedule_drop(terms(), 1).at(at);
                };
                let mut terms = begun.terms.clone();
                if *starting_now {
                    terms.starts_at = at;
                }
                DropCommand::ScheduleDrop(ScheduleDrop {
                    key: begun.key,
                    terms,
                    total_stock: stock_count((begun.total_stock.get() + more).min(StockCount::MAX)),
                    at,
                })
            }
            Request::Reschedule(version, patch) => {
                let current = i64::from(model.version());
                let expected = version.map(|offset| current + i64::from(offset));
                DropCommand::RescheduleDrop(RescheduleDrop {
                    expected_version: expected.map(|n| u32::try_from(n).unwrap_or(0)),
                    patch: patch.clone(),
                    at,
                })
            }
            Request::PutOff(millis) => reschedule_drop(TermsPatch {
                starts_at: Some(at.plus_millis(*millis)),
                ..TermsPatch::default()
            })
            .at(at),
            Request::Cancel => cancel_drop().at(at),
            Request::Pause => pause_drop().at(at),
            Request::Resume => resume_drop().at(at),
            Request::Publish => publish_drop().at(at),
            Request::Adjust(which, key, seen, delta, lost) => {
                let version = seen.map(|offset| model.stock_version() + i64::from(offset));
                let delta = match delta {
                    Delta::By(delta) => i64::from(*delta),
                    Delta::Leaving(left) => i64::from(*left) - model.available(),
                    Delta::BelowMost(missing) => 10_000_000 - i64::from(*missing) - model.total(),
                };
                let old = match which {
                    Which::Old(nth) if !model.adjustments.is_empty() => {
                        Some(nth.get(&model.adjustments).adjustment_id)
                    }
                    Which::Old(_) | Which::New => None,
                };
                DropCommand::AdjustStock(AdjustStock {
                    adjustment_id: old.unwrap_or_else(|| adjustment_id(&self.name())),
                    key: self.key(key),
                    expected_stock_version: version
                        .map(|seen| u32::try_from(seen).unwrap_or(u32::MAX)),
                    delta: i32::try_from(delta).unwrap_or(i32::MIN),
                    reason: if *lost {
                        Reason::new("lost").expect("a reason")
                    } else {
                        reason()
                    },
                    at,
                })
            }
            Request::SetStock(seen, left) => {
                let version = seen.map(|offset| model.stock_version() + i64::from(offset));
                let taken = model.total() - model.available();
                let set = (taken + i64::from(*left)).clamp(0, StockCount::MAX.into());
                DropCommand::SetStock(SetStock {
                    adjustment_id: adjustment_id(&self.name()),
                    expected_stock_version: version
                        .map(|seen| u32::try_from(seen).unwrap_or(u32::MAX)),
                    total: stock_count(u32::try_from(set).expect("a total")),
                    reason: reason(),
                    at,
                })
            }
            Request::Place(which, key, by, units) => DropCommand::PlaceHold(PlaceHold {
                hold_id: self.hold(which, model),
                key: self.key(key),
                buyer: buyer(&format!("buyer {by}")),
                quantity: *units,
                pass: pass_of(*by),
                commitment: None,
                at,
            }),
            Request::Extend(which, seconds) => DropCommand::ExtendHold(ExtendHold {
                hold_id: self.hold(which, model),
                seconds: max_hold_seconds(*seconds),
                at,
            }),
            Request::Resize(which, units) => DropCommand::ChangeHold(ChangeHold {
                hold_id: self.hold(which, model),
                quantity: *units,
                at,
            }),
            Request::Release(which) => {
                let hold_id = self.hold(which, model);
                DropCommand::ReleaseHold(ReleaseHold { hold_id, at })
            }
            Request::Buy(which) => DropCommand::ConfirmPurchase(ConfirmPurchase {
                purchase_id: purchase_id(&self.name()),
                hold_id: self.hold(which, model),
                commitment: None,
                is_recorded: false,
                at,
            }),
            Request::Refund(which, key, units, restock, lost) => {
                let hold_id = self.hold(which, model);
                let purchase = model.hold(hold_id).and_then(|hold| hold.purchase);
                DropCommand::RefundPurchase(RefundPurchase {
                    refund_id: refund_id(&self.name()),
                    key: self.key(key),
                    purchase_id: purchase.unwrap_or_else(|| purchase_id(&self.name())),
                    hold_id,
                    quantity: *units,
                    restock: *restock,
                    reason: if *lost {
                        Reason::new("lost").expect("a reason")
                    } else {
                        reason()
                    },
                    at,
                })
            }
            Request::Expire(which) => {
                let hold_id = self.hold(which, model);
                DropCommand::ExpireHold(ExpireHold { hold_id, at })
            }
            Request::Join(which, key, by, units) => {
                let (entry_id, hold_id) = self.entry(which, model);
                DropCommand::JoinWaitlist(JoinWaitlist {
                    entry_id,
                    hold_id,
                    key: self.key(key),
                    buyer: buyer(&format!("buyer {by}")),
                    quantity: *units,
                    pass: pass_of(*by),
                    commitment: None,
                    max_waiting: MAX_WAITING,
                    at,
                })
            }
            Request::Leave(which) => {
                let (entry_id, _) = self.entry(which, model);
                DropCommand::LeaveWaitlist(LeaveWaitlist { entry_id, at })
            }
            Request::Serve => DropCommand::ServeWaitlist(ServeWaitlist { at }),
            Request::Settle => DropCommand::SettleCancelled,
            Request::Repeat(nth, same_id) => self.repeat(*nth, *same_id, model, at),
        }
    }

    fn repeat(&mut self, nth: Index, same_id: bool, model: &Model, at: Timestamp) -> DropCommand {
        if self.sent.is_empty() {
            return cancel_drop().at(at);
        }
        let mut again = nth.get(&self.sent).clone().at(at);
        // The hold may have been purchased since; the caller reads the purchase from the log.
        if let DropCommand::RefundPurchase(command) = &mut again
            && let Some(purchase_id) = model.hold(command.hold_id).and_then(|hold| hold.purchase)
        {
            command.purchase_id = purchase_id;
        }
        if !same_id {
            let name = self.name();
            match &mut again {
                DropCommand::PlaceHold(command) => command.hold_id = hold_id(&name),
                DropCommand::AdjustStock(command) => command.adjustment_id = adjustment_id(&name),
                DropCommand::ConfirmPurchase(command) => command.purchase_id = purchase_id(&name),
                DropCommand::RefundPurchase(command) => command.refund_id = refund_id(&name),
                DropCommand::JoinWaitlist(command) => {
                    command.entry_id = waitlist_id(&name);
                    command.hold_id = hold_id(&name);
                }
                DropCommand::SetStock(command) => command.adjustment_id = adjustment_id(&name),
                DropCommand::ScheduleDrop(_)
                | DropCommand::RescheduleDrop(_)
                | DropCommand::CancelDrop(_)
                | DropCommand::PublishDrop(_)
                | DropCommand::PauseDrop(_)
                | DropCommand::ResumeDrop(_)
                | DropCommand::ExtendHold(_)
                | DropCommand::ChangeHold(_)
                | DropCommand::ReleaseHold(_)
                | DropCommand::ExpireHold(_)
                | DropCommand::LeaveWaitlist(_)
                | DropCommand::ServeWaitlist(_)
                | DropCommand::CreateCodes(_)
                | DropCommand::SettleCancelled => {}
            }
        }
        again
    }

    fn name(&mut self) -> String {
        self.names += 1;
        self.names.to_string()
    }

    fn hold(&mut self, which: &Which, model: &Model) -> HoldId {
        let recent = &model.holds[model.holds.len().saturating_sub(RECENT)..];
        match which {
            Which::Old(nth) if !recent.is_empty() => nth.get(recent).placed.hold_id,
            Which::Old(_) | Which::New => hold_id(&self.name()),
        }
    }

    /// The ids of a waitlist entry and of its offered hold.
    fn entry(&mut self, which: &Which, model: &Model) -> (WaitlistId, HoldId) {
        let recent = &model.entries[model.entries.len().saturating_sub(RECENT)..];
        match which {
            Which::Old(nth) if !recent.is_empty() => {
                let joined = &nth.get(recent).joined;
                (joined.entry_id, joined.hold_id)
            }
            Which::Old(_) | Which::New => {
                let name = self.name();
                (waitlist_id(&name), hold_id(&name))
            }
        }
    }

    fn key(&mut self, choice: &Key) -> Option<KeyDigest> {
        match choice {
            Key::None => None,
            Key::Old(nth) if !self.keys.is_empty() => Some(*nth.get(&self.keys)),
            Key::Old(_) | Key::New => {
                let made = key(&self.name());
                self.keys.push(made);
                Some(made)
            }
        }
    }
}

/// Every instant at which some result changes.
fn edges(model: &Model) -> Vec<Timestamp> {
    let Some(terms) = model.terms() else {
        return vec![];
    };
    let recent = model.holds.iter().rev().take(2 * RECENT);
    let expiries = recent.clone().map(|hold| hold.placed.expires_at);
    let windows = recent.filter_map(|hold| {
        let window = terms.throttle?.window_seconds.get();
        Some(hold.placed.placed_at.plus_seconds(window))
    });
    let sale = [Some(terms.starts_at), terms.ends_at];
    let mut edges: Vec<_> = sale.into_iter().flatten().collect();
    edges.extend(expiries.chain(windows));
    edges
}

/// The expiries that are due at `now`, in the order in which the engine sends them.
pub fn due(model: &Model, now: Timestamp) -> Vec<DropCommand> {
    let mut due: Vec<_> = model
        .holds
        .iter()
        .filter(|hold| hold.is_live() && hold.placed.expires_at <= now)
        .map(|hold| (hold.placed.expires_at, hold.placed.hold_id))
        .collect();
    due.sort();
    due.into_iter()
        .map(|(_, hold_id)| DropCommand::ExpireHold(ExpireHold { hold_id, at: now }))
        .collect()
}

/// One of the buyers is an ordinary one, for whom hidden drops do not exist.
fn pass_of(buyer: u8) -> Pass {
    Pass {
        sees_hidden: buyer != 0,
        ..Pass::default()
    }
}
