//! What happened, in words that people read who never saw the code.

use domain::DropEvent;
use domain::event::{LeaveCause, ReleaseCause};
use domain::terms::DropTerms;
use domain::values::{DropName, Pseudonym, Quantity};

/// One event as a sentence without its time.
#[must_use]
pub fn sentence(event: &DropEvent) -> String {
    match event {
        DropEvent::DropScheduled(event) => format!(
            "{} was put on sale: {} units at {}, from {}{}",
            quoted(&event.terms),
            event.total_stock.get(),
            event.terms.price,
            event.terms.starts_at,
            until(&event.terms),
        ),
        DropEvent::DropRescheduled(event) => format!(
            "the terms of {} were changed: {} a unit, from {}{}",
            quoted(&event.terms),
            event.terms.price,
            event.terms.starts_at,
            until(&event.terms),
        ),
        DropEvent::DropCancelled(_) => "the drop was called off".to_owned(),
        DropEvent::HoldPlaced(event) => format!(
            "{} set aside for buyer {} until {}{} (hold {})",
            units_were(event.quantity),
            short(event.buyer),
            event.expires_at,
            match event.waitlist_entry {
                Some(_) => ", whose turn it was in line",
                None => "",
            },
            event.hold_id
        ),
        DropEvent::WaitlistJoined(event) => format!(
            "buyer {} joined the line for {} (place {}, to become hold {})",
            short(event.buyer),
            units(event.quantity),
            event.entry_id,
            event.hold_id
        ),
        DropEvent::WaitlistLeft(event) => format!(
            "the place of buyer {} in line, for {}, was given up, {} (place {})",
            short(event.buyer),
            units(event.quantity),
            match event.cause {
                LeaveCause::Buyer => "by its buyer",
                LeaveCause::DropCancelled => "because the drop was called off",
            },
            event.entry_id
        ),
        DropEvent::HoldExpired(event) => format!(
            "the hold of buyer {} had run out at {}; {} available again (hold {})",
            short(event.buyer),
            event.expired_at,
            units_were(event.quantity),
            event.hold_id
        ),
        DropEvent::HoldReleased(event) => format!(
            "the hold of buyer {} was given up, {}; {} available again (hold {})",
            short(event.buyer),
            match event.cause {
                ReleaseCause::Buyer => "by its buyer",
                ReleaseCause::DropCancelled => "because the drop was called off",
            },
            units_were(event.quantity),
            event.hold_id
        ),
        DropEvent::PurchaseConfirmed(event) => format!(
            "buyer {} paid {} for {} (hold {}, purchase {})",
            short(event.buyer),
            event.total,
            units(event.quantity),
            event.hold_id,
            event.purchase_id
        ),
        DropEvent::StockAdjusted(event) => {
            let (verb, count) = if event.delta < 0 {
                ("taken away", event.delta.unsigned_abs())
            } else {
                ("added", event.delta.unsigned_abs())
            };
            let stock = event.stock;
            format!(
                "{count} units were {verb}: {}; then {} in all, {} available, {} held, {} sold",
                event.reason.as_str(),
                stock.total,
                stock.available,
                stock.held,
                stock.sold
            )
        }
    }
}

fn quoted(terms: &DropTerms) -> String {
    format!("“{}”", shown(&terms.name))
}

/// A drop's name on one line of a terminal. An older log may have names with characters that end
/// the line or turn it around: those are written as their code points.
#[must_use]
pub fn shown(name: &DropName) -> String {
    let acts = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut text = String::new();
    for c in name.as_str().chars() {
        match acts(c) {
            true => text.push_str(&format!("<U+{:04X}>", u32::from(c))),
            false => text.push(c),
        }
    }
    text
}

fn until(terms: &DropTerms) -> String {
    let ends_at = terms.ends_at;
    ends_at.map_or_else(String::new, |ends_at| format!(" until {ends_at}"))
}

fn units(quantity: Quantity) -> String {
    match quantity.get() {
        1 => "1 unit".to_owned(),
        more => format!("{more} units"),
    }
}

fn units_were(quantity: Quantity) -> String {
    let verb = if quantity.get() == 1 { "was" } else { "were" };
    format!("{} {verb}", units(quantity))
}

/// Enough of a pseudonym to tell buyers of one drop apart.
fn short(buyer: Pseudonym) -> String {
    let digits = buyer.0.simple().to_string();
    digits[..6].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_neither_ends_a_line_nor_turns_it_around() {
        for (name, expected) in [
            ("Walnut lamp", "Walnut lamp"),
            ("a\u{202e}b", "a<U+202E>b"),
            ("a\u{2028}b\u{2069}", "a<U+2028>b<U+2069>"),
            ("שלום", "שלום"),
        ] {
            assert_eq!(shown(&DropName::stored(name).unwrap()), expected);
        }
    }
}
