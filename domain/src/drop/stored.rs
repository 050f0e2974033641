//! The stored form of an aggregate: everything but the indexes, which are rebuilt when it is read.

use serde::Deserialize;

use super::indexes::Keyed;
use super::line::Line;
use super::packed::PackedHold;
use super::{Adjustment, Buyer, DropAggregate, Hold, Origin, index_of};
use crate::chunks::Chunks;
use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{Sequence, Timestamp};

/// What is stored of an aggregate: the indexes are rebuilt.
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
    #[serde(default)]
    line: Line,
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
            line: stored.line,
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
        for index in 0..index_of(aggregate.line.entries().len()) {
            let key = aggregate.line.at(index).key;
            aggregate.index_key(key, Keyed::Entry(index));
        }
        aggregate.pass_resolved();
        aggregate.assess_all();
        aggregate
    }
}
