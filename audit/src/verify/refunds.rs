//! Purchases and their refunds: no more units of a purchase are refunded than it has, each at its
//! price.
//!
//! Promise: exact, in bounded memory: sorted runs on disk, merged at the end. Limit: the result is
//! known only at the end.

use std::io::{self, Read, Write};

use domain::event::{PurchaseConfirmed, PurchaseRefunded};
use domain::values::{Currency, DropId, HoldId, Position, Pseudonym, PurchaseId, Timestamp};
use infrastructure::codec::RecordedEvent;
use infrastructure::sorted_runs::{Record, Sorter};
use uuid::Uuid;

use super::Check;
use crate::violation::{StreamName, Violation, expect};

/// Facts in memory, at about 110 bytes each.
const RUN: usize = 1 << 16;

/// A purchase, or a refund of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fact {
    purchase_id: PurchaseId,
    position: Position,
    is_refund: bool,
    drop_id: DropId,
    hold_id: HoldId,
    buyer: Pseudonym,
    quantity: u32,
    amount: i64,
    /// The code of the currency.
    currency: [u8; 3],
    purchased_at: Timestamp,
}

/// All purchases and refunds so far.
#[derive(Debug)]
pub(super) struct Refunds(Sorter<Fact>);

impl Default for Refunds {
    fn default() -> Self {
        Self(Sorter::with_most(RUN))
    }
}

impl Refunds {
    /// Adds a purchase.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub(super) fn purchased(
        &mut self,
        recorded: &RecordedEvent,
        event: &PurchaseConfirmed,
    ) -> io::Result<()> {
        self.0.add(Fact {
            purchase_id: event.purchase_id,
            position: recorded.position,
            is_refund: false,
            drop_id: recorded.drop_id,
            hold_id: event.hold_id,
            buyer: event.buyer,
            quantity: event.quantity.get(),
            amount: event.total.amount,
            currency: code(event.total.currency),
            purchased_at: event.purchased_at,
        })
    }

    /// Adds a refund.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub(super) fn refunded(
        &mut self,
        recorded: &RecordedEvent,
        event: &PurchaseRefunded,
    ) -> io::Result<()> {
        self.0.add(Fact {
            purchase_id: event.purchase_id,
            position: recorded.position,
            is_refund: true,
            drop_id: recorded.drop_id,
            hold_id: event.hold_id,
            buyer: event.buyer,
            quantity: event.quantity.get(),
            amount: event.amount.amount,
            currency: code(event.amount.currency),
            purchased_at: event.purchased_at,
        })
    }

    /// Returns the first refund that its purchase does not permit.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub(super) fn first_excess(self) -> io::Result<Option<Violation>> {
        let (mut purchase, mut refunded) = (None::<Fact>, 0);
        let mut first = None::<Violation>;
        for fact in self.0.into_sorted()? {
            let fact = fact?;
            let id = fact.purchase_id;
            if !fact.is_refund {
                // A purchase that is made twice is reported as a repeated id.
                (purchase, refunded) = (Some(fact), 0);
                continue;
            }
            let of = purchase.as_ref().filter(|made| made.purchase_id == id);
            refunded += u64::from(fact.quantity);
            if let Err(fault) = check(of, &fact, refunded) {
                let is_first = first
                    .as_ref()
                    .is_none_or(|found| fact.position < found.position);
                if is_first {
                    first = Some(Violation {
                        stream: Some(StreamName::of_drop(fact.drop_id)),
                        ..fault.at(fact.position)
                    });
                }
            }
        }
        Ok(first)
    }
}

/// Checks a refund, after which `refunded` units of the purchase are refunded.
fn check(purchase: Option<&Fact>, refund: &Fact, refunded: u64) -> Check {
    let id = refund.purchase_id;
    let purchase =
        purchase.ok_or_else(|| format!("purchase {id} is refunded, but it was not made before"))?;
    expect("drop of the purchase", purchase.drop_id, refund.drop_id)?;
    expect("hold of the purchase", purchase.hold_id, refund.hold_id)?;
    expect("buyer of the purchase", purchase.buyer, refund.buyer)?;
    expect(
        "purchased_at of the purchase",
        purchase.purchased_at,
        refund.purchased_at,
    )?;
    if refunded > u64::from(purchase.quantity) {
        return Err(format!(
            "{refunded} units of purchase {id} are refunded, but it has only {}",
            purchase.quantity
        )
        .into());
    }
    // The total of a purchase is a multiple of its units.
    let amount = purchase.amount / i64::from(purchase.quantity) * i64::from(refund.quantity);
    let written =
        |amount: i64, code: [u8; 3]| format!("{amount} {}", String::from_utf8_lossy(&code));
    expect(
        "amount of the refund",
        written(amount, purchase.currency),
        written(refund.amount, refund.currency),
    )
}

fn code(currency: Currency) -> [u8; 3] {
    currency.code().as_bytes().try_into().unwrap_or(*b"???")
}

impl Record for Fact {
    type Key = (PurchaseId, Position);

    fn key(&self) -> Self::Key {
        (self.purchase_id, self.position)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let ids = [
            self.purchase_id.0,
            self.drop_id.0,
            self.hold_id.0,
            self.buyer.0,
        ];
        for id in ids {
            to.write_all(id.as_bytes())?;
        }
        to.write_all(&self.position.0.to_be_bytes())?;
        to.write_all(&[u8::from(self.is_refund)])?;
        to.write_all(&self.quantity.to_be_bytes())?;
        to.write_all(&self.amount.to_be_bytes())?;
        to.write_all(&self.currency)?;
        to.write_all(&self.purchased_at.millis().to_be_bytes())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut id = || bytes(from).map(Uuid::from_bytes);
        let (purchase_id, drop_id, hold_id, buyer) = (id()?, id()?, id()?, id()?);
        Ok(Self {
            purchase_id: PurchaseId(purchase_id),
            drop_id: DropId(drop_id),
            hold_id: HoldId(hold_id),
            buyer: Pseudonym(buyer),
            position: Position(u64::from_be_bytes(bytes(from)?)),
            is_refund: bytes(from)? == [1],
            quantity: u32::from_be_bytes(bytes(from)?),
            amount: i64::from_be_bytes(bytes(from)?),
            currency: bytes(from)?,
            purchased_at: Timestamp::from_millis(i64::from_be_bytes(bytes(from)?)),
        })
    }
}

fn bytes<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
