//! Erasures: the log and the table of erasures agree.

use domain::values::Position;

use super::*;

#[test]
fn log_and_table_of_erasures_must_agree() {
    let mut honest = story();
    honest[INTRODUCED - 1].private = None;
    let both = [(ERASED, 101), (ERASED + 1, 102), (ERASED + 1, 103)];
    assert!(verdict_with_erasures(&honest, &both).is_ok());

    let restored = verdict_with_erasures(&story(), &both).unwrap_err();
    assert_eq!(restored.position, Position(INTRODUCED as u64));
    assert!(
        restored.reason.contains("buyer erased at position 14"),
        "{restored}"
    );
    let other_buyer = [(ERASED, 104), (ERASED + 1, 102)];
    assert!(verdict_with_erasures(&story(), &other_buyer).is_ok());
    // Personal data that was added under the same pseudonym afterwards was not erased.
    let mut paid = honest.clone();
    paid.insert(1, paid[ERASED - 1].clone().later(0.5));
    paid[INTRODUCED] = story()[INTRODUCED - 1].clone();
    assert!(
        verdict_with_erasures(&paid, &[(2, 101), (ERASED + 1, 102), (ERASED + 2, 103)]).is_ok()
    );

    let missing = verdict_with_erasures(&honest, &both[..1]).unwrap_err();
    assert_eq!(missing.position, Position(ERASED as u64 + 1));
    assert!(missing.reason.contains("does not list it"), "{missing}");
    let more = [both.as_slice(), &[(3, 101), (99, 101)]].concat();
    let more = verdict_with_erasures(&honest, &more).unwrap_err();
    assert_eq!(more.position, Position(3));
    assert!(
        more.reason.contains("the event is not an erasure"),
        "{more}"
    );
}

#[test]
fn erased_data_is_counted_only_if_readable() {
    let mut changed = story();
    changed[INTRODUCED - 1].private = None;
    let proved = verdict(&seal(&changed), &[]).unwrap();
    assert_eq!((proved.introductions, proved.erased), (1, Some(1)));
    let unseen = judged(&seal(&changed), 4, &[], false).unwrap();
    assert_eq!((unseen.introductions, unseen.erased), (1, None));
}
