//! The stored form of an aggregate: all fields except the indexes, which are rebuilt on load.

use std::collections::HashMap;

use serde::Deserialize;

use super::indexes::Keyed;
use super::packed::PackedHold;
use super::waitlist::Waitlist;
use super::{Adjustment, Buyer, DropAggregate, Hold, Origin, index_of};
use crate::chunks::Chunks;
use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{OrderId, Sequence, Timestamp};

#[derive(Deserialize)]
pub(super) struct StoredAggregate {
    sequence: Sequence,
    origin: Option<Origin>,
    terms: Vec<DropTerms>,
    cancelled_at: Option<Timestamp>,
    stock: Stock,
    holds: Chunks<PackedHold>,
    buyers: Chunks<Buyer>,
    adjustments: Vec<Adjustment>,
    #[serde(default, rename = "line")]
    waitlist: Waitlist,
    #[serde(default)]
    orders: HashMap<u32, OrderId>,
}

impl From<StoredAggregate> for DropAggregate {
    fn from(stored: StoredAggregate) -> Self {
        let mut aggregate = Self {
            sequence: stored.sequence,
            origin: stored.origin,
            terms: stored.terms,
            cancelled_at: stored.cancelled_at,
            stock: stored.stock,
            holds: stored.holds,
            buyers: stored.buyers,
            adjustments: stored.adjustments,
            waitlist: stored.waitlist,
            orders: stored.orders,
            ..Self::default()
        };
        for index in 0..index_of(aggregate.holds.len()) {
            let Hold { id, key, .. } = aggregate.hold_at(index);
            aggregate.index_hold(id, index);
            aggregate.index_key(key, Keyed::Hold(index));
        }
        for index in 0..index_of(aggregate.buyers.len()) {
            let buyer = aggregate.buyer_at(index).id;
            aggregate.index_buyer(buyer, index);
        }
        for index in 0..index_of(aggregate.adjustments.len()) {
            let key = aggregate.adjustments[index as usize].key;
            aggregate.index_key(key, Keyed::Adjustment(index));
        }
        for index in 0..index_of(aggregate.waitlist.entries().len()) {
            let key = aggregate.waitlist.at(index).key;
            aggregate.index_key(key, Keyed::Entry(index));
        }
        aggregate.pass_resolved();
        aggregate.assess_all();
        aggregate
    }
}
