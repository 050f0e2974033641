//! The bytes that a subscriber is sent for one tick, or for several that it missed.

use super::*;

fn id(number: u128) -> DropId {
    DropId(uuid::Uuid::from_u128(number))
}

/// A text that begins with `new` stands for a drop that was scheduled since the previous
/// tick.
fn tick(position: u64, frames: &[(u128, &'static str)]) -> Tick {
    let (mut all, mut rendered) = (BytesMut::new(), vec![]);
    let mut new = BTreeMap::new();
    for (drop, text) in frames {
        let start = all.len();
        if text.starts_with("new") {
            new.insert(id(*drop), NewAt::Scheduled(Position(position)));
        }
        Framing::Chunked.write(&mut all, |to| to.extend_from_slice(text.as_bytes()));
        rendered.push(Rendered {
            drop_id: id(*drop),
            range: start..all.len(),
            public: PublicFrame::Same,
            is_listed: true,
        });
    }
    let complete = CompleteUpTo {
        position: Position(position),
        at: Timestamp::from_millis(0),
    };
    Tick {
        number: position,
        ..Tick::from_parts(complete, rendered, &new, all.freeze())
    }
}

fn sent(ticks: &[Tick], watched: &Subjects, framing: Framing) -> Bytes {
    newest(&ticks.iter().collect::<Vec<_>>(), watched, None, framing)
}

fn named(drops: &[u128]) -> Subjects {
    let drops = drops.iter().copied().map(id).collect();
    Subjects::drops(Watched::Named(drops))
}

fn all_drops() -> Subjects {
    Subjects::drops(Watched::All)
}

#[test]
fn subscriber_that_keeps_up_gets_the_shared_bytes() {
    let ticks = [tick(1, &[(1, "a1;"), (2, "b1;")])];
    let all = sent(&ticks, &all_drops(), Framing::Chunked);
    assert_eq!(all, "3\r\na1;\r\n3\r\nb1;\r\n");
    assert_eq!(all.as_ptr(), ticks[0].all.as_ptr(), "not copied");
    let one = sent(&ticks, &named(&[2]), Framing::Chunked);
    assert_eq!(one, "3\r\nb1;\r\n");
    let frame = &ticks[0].frames[1].bytes;
    assert_eq!(one.as_ptr(), frame.as_ptr(), "not copied");
    let plain = sent(&ticks, &named(&[2]), Framing::Plain);
    assert_eq!(plain, "b1;");
    assert_eq!(plain.as_ptr(), frame[3..].as_ptr(), "not copied either");
    assert!(sent(&ticks, &named(&[3]), Framing::Chunked).is_empty());
}

#[test]
fn subscriber_that_fell_behind_gets_the_newest_state_of_each_drop_once() {
    let ticks = [
        tick(1, &[(1, "a1;"), (2, "b1;")]),
        tick(2, &[(1, "a2;"), (3, "c2;")]),
        tick(3, &[(1, "a3;")]),
    ];
    let two = named(&[1, 2]);
    assert_eq!(sent(&ticks, &all_drops(), Framing::Plain), "b1;c2;a3;");
    assert_eq!(sent(&ticks, &two, Framing::Plain), "b1;a3;");
    assert_eq!(sent(&ticks[..2], &named(&[1]), Framing::Plain), "a2;");
    assert_eq!(
        sent(&ticks, &two, Framing::Chunked),
        "3\r\nb1;\r\n3\r\na3;\r\n"
    );
}

#[test]
fn subscriber_of_new_drops_gets_the_newest_of_each_and_of_named_ones() {
    let ticks = [
        tick(1, &[(1, "a1;"), (2, "b1;"), (3, "new c1;")]),
        tick(2, &[(2, "b2;"), (3, "c2;"), (4, "new d2;")]),
    ];
    let watched = Subjects::drops(Watched::NamedAndNew([id(1)].into()));
    let all = sent(&ticks, &watched, Framing::Plain);
    assert_eq!(all, "a1;c2;new d2;");
    let later = sent(&ticks[1..], &watched, Framing::Plain);
    assert_eq!(
        later, "new d2;",
        "drop 3 was not new in this tick, and is not named"
    );
    assert_eq!(sent(&ticks, &named(&[1]), Framing::Plain), "a1;");
}

#[test]
fn drop_in_the_subscribers_first_state_is_not_new_to_it() {
    let ticks = [tick(7, &[(1, "a;"), (2, "new b;")])];
    let ticks: Vec<&Tick> = ticks.iter().collect();
    let watched = Subjects::drops(Watched::NamedAndNew([id(1)].into()));
    let after = |sent| newest(&ticks, &watched, Some(Position(sent)), Framing::Plain);
    assert_eq!(after(6), "a;new b;");
    assert_eq!(
        after(7),
        "a;",
        "its first state was taken at 7, without drop 2"
    );
}

#[test]
fn readmitted_drop_is_new_to_every_subscriber() {
    assert!(NewAt::Readmitted.is_after(Some(Position(9))));
}
