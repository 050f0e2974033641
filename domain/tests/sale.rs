//! When a drop is on sale, under every kind of edit.

use domain::sale::{Sale, SaleFact};
use domain::terms::DropTerms;
use domain::testing::{second, terms};

fn from_until(starts: i64, ends: Option<i64>) -> DropTerms {
    DropTerms {
        starts_at: second(starts),
        ends_at: ends.map(second),
        ..terms()
    }
}

fn sale(starts: i64, ends: Option<i64>, at: i64) -> Sale {
    Sale::scheduled(&from_until(starts, ends), second(at))
}

fn started(sale: Sale) -> Sale {
    Sale {
        is_started: true,
        ..sale
    }
}

fn ended(sale: Sale) -> Sale {
    Sale {
        is_ended: true,
        ..started(sale)
    }
}

fn edited(sale: Sale, starts: i64, ends: Option<i64>, at: i64) -> Option<SaleFact> {
    let next = sale.rescheduled(&from_until(starts, ends), second(at));
    next.next()
}

#[test]
fn sale_begins_at_the_start_or_when_it_is_scheduled() {
    let start = |at| Some(SaleFact::Started(second(at)));
    assert_eq!(sale(10, None, 0).next(), start(10));
    assert_eq!(sale(-10, None, 0).next(), start(0));
    assert_eq!(sale(-10, Some(-5), 0).next(), None, "over from the start");
    assert_eq!(started(sale(10, None, 0)).next(), None);
    let end = Some(SaleFact::Ended(second(20)));
    assert_eq!(started(sale(10, Some(20), 0)).next(), end);
    assert_eq!(ended(sale(10, Some(20), 0)).next(), None);
}

#[test]
fn edit_starts_a_new_sale_or_changes_the_end_of_the_present_one() {
    let start = |at| Some(SaleFact::Started(second(at)));
    let end = |at| Some(SaleFact::Ended(second(at)));
    let present = started(sale(10, Some(20), 0));
    assert_eq!(edited(present, 10, Some(20), 15), end(20));
    assert_eq!(edited(present, 10, Some(30), 15), end(30));
    assert_eq!(edited(present, 10, Some(12), 15), end(15), "it ends now");
    assert_eq!(edited(present, 5, None, 15), None, "it has started");
    assert_eq!(edited(present, 18, Some(20), 15), start(18));
    let over = ended(present);
    assert_eq!(edited(over, 10, Some(20), 25), None);
    assert_eq!(edited(over, 10, Some(19), 25), None);
    assert_eq!(edited(over, 10, Some(40), 25), start(25), "open again");
    assert_eq!(edited(over, 10, None, 25), start(25));
    assert_eq!(edited(over, 30, Some(40), 25), start(30));
    // The start of the present sale is late, as in the log of an earlier release.
    let late = sale(10, Some(20), 0);
    assert_eq!(edited(late, 10, None, 15), start(10));
    assert_eq!(edited(late, 10, Some(20), 25), start(10));
    assert_eq!(edited(late, 12, Some(20), 5), start(12));
}

#[test]
fn edit_by_a_clock_that_is_behind_does_not_undo_a_recorded_fact() {
    let present = started(sale(10, None, 0));
    assert_eq!(edited(present, 10, None, 9), None);
    let over = ended(sale(10, Some(20), 0));
    assert_eq!(edited(over, 10, Some(20), 19), None);
}
