//! The stored form of an aggregate: all fields except the indexes, which are rebuilt on load.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::codes::Codes;
use super::indexes::Keyed;
use super::packed::PackedHold;
use super::pauses::Pauses;
use super::refunds::{Refund, Refunded};
use super::waitlist::Waitlist;
use super::{Adjustment, Buyer, DropAggregate, Hold, Origin, index_of};
use crate::chunks::Chunks;
use crate::sale::Sale;
use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{OrderId, Quantity, Sequence, Timestamp};

#[derive(Deserialize)]
pub(super) struct StoredAggregate {
    sequence: Sequence,
    origin: Option<Origin>,
    terms: Vec<DropTerms>,
    #[serde(default)]
    sales: Vec<Sale>,
    cancelled_at: Option<Timestamp>,
    #[serde(default)]
    pauses: Pauses,
    stock: Stock,
    holds: Chunks<PackedHold>,
    #[serde(default)]
    placed_quantities: BTreeMap<u32, Quantity>,
    buyers: Chunks<Buyer>,
    adjustments: Vec<Adjustment>,
    #[serde(default)]
    refunds: Vec<Refund>,
    #[serde(default, rename = "line")]
    waitlist: Waitlist,
    #[serde(default)]
    orders: HashMap<u32, OrderId>,
    #[serde(default)]
    codes: Codes,
}

impl From<StoredAggregate> for DropAggregate {
    fn from(stored: StoredAggregate) -> Self {
        // A snapshot of an earlier release has no sales and no times of its edits.
        let sales = match stored.sales.len() == stored.terms.len() {
            true => stored.sales,
            false => {
                let origin = stored.origin.as_ref();
                let at = origin.map_or(Timestamp::default(), |origin| origin.scheduled_at);
                let terms = stored.terms.iter();
                terms.map(|terms| Sale::scheduled(terms, at)).collect()
            }
        };
        let mut aggregate = Self {
            sequence: stored.sequence,
            sales,
            origin: stored.origin,
            terms: stored.terms,
            cancelled_at: stored.cancelled_at,
            pauses: stored.pauses,
            stock: stored.stock,
            holds: stored.holds,
            placed_quantities: stored.placed_quantities,
            buyers: stored.buyers,
            adjustments: stored.adjustments,
            refunds: stored.refunds,
            waitlist: stored.waitlist,
            orders: stored.orders,
            codes: stored.codes,
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
        for index in 0..index_of(aggregate.refunds.len()) {
            let refund = &aggregate.refunds[index as usize];
            let (key, hold, units) = (refund.key, refund.hold, refund.quantity.get());
            let purchase_id = refund.purchase_id;
            let refunded = aggregate.refunded.entry(hold).or_insert(Refunded {
                purchase_id,
                units: 0,
            });
            refunded.units += units;
            aggregate.index_key(key, Keyed::Refund(index));
        }
        for index in 0..index_of(aggregate.waitlist.entries().len()) {
            let key = aggregate.waitlist.at(index).key;
            aggregate.index_key(key, Keyed::Entry(index));
        }
        aggregate.index_codes();
        aggregate.pass_resolved();
        aggregate.assess_all();
        aggregate
    }
}
