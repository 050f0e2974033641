//! The values that the rules use: checked once on input, and trusted from there on.
//!
//! Promise: a value of one of these types satisfies its rule, so inner layers do not check it
//! again.
//! Limit: a rule about two values (an end after its start) belongs to the command that has both.

mod access_code;
mod admin;
mod challenge;
mod characters;
mod codes;
mod digests;
mod ids;
mod listing;
mod money;
mod numbers;
mod positions;
mod texts;
mod time;
mod visitor;

pub use self::access_code::AccessCode;
pub use self::admin::AdminName;
pub use self::challenge::{Challenge, ChallengeKind};
pub use self::codes::{FailureCode, ProviderName};
pub use self::digests::{CodeDigest, Commitment, IntentDigest, KeyDigest, Salt};
pub use self::ids::{
    AdjustmentId, DropId, HoldId, OrderId, PaymentId, Pseudonym, PurchaseId, RefundId, WaitlistId,
    parse_uuid,
};
pub use self::listing::{Access, ShowStock, Visibility};
pub use self::money::{Currency, Money};
pub use self::numbers::{
    BuyerLimit, CodeCount, CodeUses, Difficulty, HoldSeconds, LowStock, MaxHoldSeconds,
    OfferSeconds, Quantity, StockCount, Throttle, ThrottleHolds, ThrottleSeconds,
};
pub use self::positions::{Position, Sequence};
pub(crate) use self::texts::as_stored;
pub use self::texts::{
    BuyerId, CatalogueId, Description, DisplayName, DropName, EndpointLabel, Entered, ImageUrl,
    LimitGroup, PaymentReference, Reason, Text, Tracking, require_visible_characters,
};
pub use self::time::Timestamp;

/// Why a value was rejected: a sentence that completes "the value …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

impl InvalidValue {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn timestamp_round_trips_with_three_decimals() {
        let at = Timestamp::from_millis(1_700_000_000_120);
        assert_eq!(at.to_string(), "2023-11-14T22:13:20.120Z");
        assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
    }

    #[test]
    fn quantity_is_one_to_a_thousand() {
        assert!(Quantity::new(0).is_err());
        assert!(Quantity::new(-1).is_err());
        assert_eq!(Quantity::new(1).unwrap().get(), 1);
        assert_eq!(Quantity::new(1_000).unwrap().get(), 1_000);
        assert!(Quantity::new(1_001).is_err());
        assert!(Quantity::new(i64::MAX).is_err());
    }

    #[test]
    fn number_of_another_type_gets_the_message_with_the_bounds() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json).map_err(|e| e.to_string());
        assert_eq!(read("7").unwrap().get(), 7);
        for json in [
            "0",
            "-1",
            "1001",
            "1.0",
            "1e20",
            "\"1\"",
            "null",
            "[1]",
            "{}",
            "true",
            "18446744073709551615",
        ] {
            let message = read(json).unwrap_err();
            let bounds = "a whole number of units from 1 to 1000";
            assert!(message.contains(bounds), "{json}: {message}");
        }
    }

    #[test]
    fn scheme_of_a_picture_has_no_case_and_is_stored_in_lower_case() {
        for (text, stored) in [
            ("HTTPS://Shop.example/A.jpg", "https://Shop.example/A.jpg"),
            ("hTTp://shop.example", "http://shop.example"),
            ("DATA:image/png,A", "data:image/png,A"),
            ("Data:Image/PNG,A", "data:image/PNG,A"),
            ("/A.jpg", "/A.jpg"),
        ] {
            assert_eq!(ImageUrl::new(text).unwrap().as_str(), stored);
        }
        // Earlier releases read events by this rule.
        assert!(ImageUrl::stored("HTTPS://shop.example/").is_err());
        for text in ["HTTP:/a", "é", "dat", "javascript:1"] {
            assert!(ImageUrl::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_length_is_in_characters_and_control_characters_are_rejected() {
        assert!(DropName::new(&"é".repeat(200)).is_ok());
        assert!(DropName::new(&"é".repeat(201)).is_err());
        assert!(DropName::new("  ").is_err());
        assert!(DropName::new("a\0b").is_err());
        assert!(Description::new("two\nlines").is_ok());
    }

    #[test]
    fn buyer_ids_ignore_case_and_surrounding_white_space() {
        let one = BuyerId::new("  Alice@Example.com ").unwrap();
        let other = BuyerId::new("alice@example.COM").unwrap();
        assert_eq!(one.comparable(), other.comparable());
        assert_eq!(one.as_str(), "Alice@Example.com");
    }

    /// The findings of issue 13, and related characters by property: at least one for each reason.
    const NOT_IN_IDS: &[(&str, &str)] = &[
        ("an\u{200b}n", "U+200B, which is invisible"),
        ("an\u{ad}n", "U+00AD, which is invisible"),
        ("an\u{200d}n", "U+200D, which is invisible"),
        ("an\u{fe0f}n", "U+FE0F, which is invisible"),
        ("an\u{34f}n", "U+034F, which is invisible"),
        ("an\u{3164}n", "U+3164, which is invisible"),
        ("an\u{e0061}n", "U+E0061, which is invisible"),
        ("an\u{2800}n", "U+2800, which is invisible"),
        ("an\u{202e}n", "U+202E, which changes the direction"),
        ("an\u{200e}n", "U+200E, which changes the direction"),
        ("an\u{61c}n", "U+061C, which changes the direction"),
        ("an\u{2067}n", "U+2067, which changes the direction"),
        ("an\u{a0}n", "U+00A0, white space"),
        ("an\u{2028}n", "U+2028, white space"),
        ("an\u{378}n", "U+0378, which is not assigned"),
        ("an\u{ffff}n", "U+FFFF, which is not assigned"),
        ("an\u{e000}n", "U+E000, which is not a graphic"),
        ("an\u{fff9}n", "U+FFF9, which is not a graphic"),
        ("an\u{7f}n", "control characters"),
        ("an\u{85}n", "control characters"),
    ];

    #[test]
    fn new_ids_reject_invisible_and_ambiguous_characters() {
        for (id, why) in NOT_IN_IDS {
            for refused in [
                BuyerId::new(id).map(drop),
                PaymentReference::new(id).map(drop),
            ] {
                let reason = refused.unwrap_err().to_string();
                assert!(reason.contains(why), "{id:?}: {reason}");
            }
        }
        for id in [
            "ann b",
            "éva",
            "Ünal-42",
            "사용자",
            "مشتری",
            "🐙",
            "a\u{301}\u{323}",
        ] {
            assert!(BuyerId::new(id).is_ok(), "{id:?}");
        }
    }

    #[test]
    fn stored_ids_stay_readable_and_distinct() {
        let ann = BuyerId::new("ann").unwrap();
        for (id, why) in NOT_IN_IDS {
            if why.contains("control") {
                assert!(BuyerId::stored(id).is_err(), "{id:?}");
                continue;
            }
            let json = serde_json::to_string(id).unwrap();
            let stored: BuyerId = serde_json::from_str(&json).unwrap();
            assert_eq!(stored.as_str(), *id);
            assert_ne!(stored.comparable(), ann.comparable(), "{id:?}");
            assert!(serde_json::from_str::<Entered<BuyerId>>(&json).is_err());
        }
    }

    #[test]
    fn canonically_equivalent_ids_are_one_buyer_stored_in_nfc() {
        let (composed, decomposed) = ("\u{e9}va", "e\u{301}va");
        let id = BuyerId::new(decomposed).unwrap();
        assert_eq!(id.as_str(), composed);
        for other in [composed, decomposed, "\u{c9}VA", "E\u{301}va"] {
            let new = BuyerId::new(other).unwrap();
            let stored = BuyerId::stored(other).unwrap();
            assert_eq!(new.comparable(), id.comparable(), "{other:?}");
            assert_eq!(stored.comparable(), id.comparable(), "{other:?}");
        }
        let stored = BuyerId::stored(decomposed).unwrap();
        assert_ne!(stored.comparable_before_nfc(), id.comparable_before_nfc());
        // The length is that of the stored form.
        assert!(BuyerId::new(&"e\u{301}".repeat(128)).is_ok());
        assert!(BuyerId::new(&"e\u{301}".repeat(129)).is_err());
    }

    /// For every character: the comparable form of an id is its own comparable form, and canonical
    /// equivalents share it.
    #[test]
    fn comparable_form_of_buyer_ids_is_stable() {
        let nfd = icu_normalizer::DecomposingNormalizerBorrowed::new_nfd();
        let mut accepted = 0;
        for c in ('\u{0}'..=char::MAX).filter(|c| !c.is_control()) {
            let text = format!("x{c}\u{323}y");
            let Ok(id) = BuyerId::new(&text) else {
                continue;
            };
            accepted += 1;
            let form = id.comparable();
            assert_eq!(BuyerId::stored(&form).unwrap().comparable(), form, "{c:?}");
            let apart = BuyerId::stored(&nfd.normalize(&text)).unwrap();
            assert_eq!(apart.comparable(), form, "{c:?}");
        }
        assert!(accepted > 150_000, "{accepted}");
    }

    /// Pairs from the Unicode standard (section 5.18, `CaseFolding.txt`, `SpecialCasing.txt`).
    const ONE_BUYER: &[(&str, &str)] = &[
        ("ΣΑΣ", "σας"),
        ("ΣΣ", "σσ"),
        ("σς", "σσ"),
        ("maſs", "mass"),
        ("maß", "MASS"),
        ("maß", "maẞ"),
        ("ϐίος", "βίοσ"),
        ("\u{3d1}", "\u{398}"),
        ("ﬁn", "FIN"),
        ("\u{212a}elvin", "kelvin"),
        ("\u{212b}ngstrom", "\u{e5}ngstrom"),
        ("\u{130}", "i\u{307}"),
        ("\u{1f80}", "\u{1f00}\u{3b9}"),
        ("\u{3b1}\u{345}\u{301}", "\u{3ac}\u{3b9}"),
        ("\u{13a0}", "\u{ab70}"),
        ("\u{1c5}a", "\u{1c4}A"),
        ("\u{1e9b}\u{323}", "\u{1e69}"),
        ("\u{10400}", "\u{10428}"),
    ];

    #[test]
    fn ids_are_one_buyer_by_full_case_folding_of_canonical_equivalents() {
        for (one, other) in ONE_BUYER {
            let [one, other] = [one, other].map(|id| BuyerId::new(id).unwrap());
            assert_eq!(one.comparable(), other.comparable(), "{one:?} {other:?}");
        }
        for (one, other) in [
            ("user2", "user²"),
            ("Ivan", "ıvan"),
            ("\u{ff21}", "a"),
            ("a", "\u{430}"),
            ("e", "é"),
        ] {
            let [one, other] = [one, other].map(|id| BuyerId::new(id).unwrap());
            assert_ne!(one.comparable(), other.comparable(), "{one:?} {other:?}");
        }
    }

    /// For every character and its upper and lower case. So no id became two buyers when case
    /// folding replaced the comparison by lower case.
    #[test]
    fn equal_spellings_are_equal_without_regard_to_case() {
        let mut accepted = 0;
        let has_case = |c: &char| c.to_lowercase().ne([*c]) || c.to_uppercase().ne([*c]);
        for c in ('\u{0}'..=char::MAX).filter(has_case) {
            for text in [
                format!("{c}"),
                format!("x{c}"),
                format!("x{c}\u{345}\u{323}y"),
            ] {
                let Ok(id) = BuyerId::new(&text) else {
                    continue;
                };
                accepted += 1;
                for other in [text.to_lowercase(), id.spelling().to_string()] {
                    let other = BuyerId::stored(&other).unwrap();
                    assert_eq!(other.comparable(), id.comparable(), "{c:?}");
                }
                if text.contains('\u{345}') {
                    // Its upper case is a letter, which parts the marks from their base.
                    continue;
                }
                let upper = BuyerId::stored(&text.to_uppercase()).unwrap();
                // Only Turkish and Azeri have I as the upper case of the dotless letter.
                let is_same = upper.comparable() == id.comparable();
                assert_eq!(is_same, c != '\u{131}', "{text:?}");
            }
        }
        assert!(accepted > 8_000, "{accepted}");
    }

    #[test]
    fn names_are_visible_and_do_not_change_text_direction() {
        for blank in [
            "\u{2800}",
            "\u{3164}",
            "\u{200b}",
            "\u{115f}\u{1160}",
            "\u{ffa0}",
            "\u{200d}\u{fe0f}",
            "\u{1d159}",
            "\u{301}",
            "\u{e0001}",
            "\u{180e}",
            "\u{ad}",
            "\u{2060}",
            "\u{feff}",
        ] {
            let name = DropName::new(blank).map(drop);
            for refused in [
                name,
                DisplayName::new(blank).map(drop),
                Reason::new(blank).map(drop),
            ] {
                let reason = refused.unwrap_err().to_string();
                assert!(reason.contains("visible"), "{blank:?}: {reason}");
            }
            assert!(DropName::stored(blank).is_ok(), "{blank:?}");
        }
        for turned in [
            "a\u{202e}b",
            "a\u{202a}b",
            "a\u{202c}b",
            "a\u{2066}b",
            "a\u{2069}b",
        ] {
            let name = DropName::new(turned).map(drop);
            let display = DisplayName::new(turned).map(drop);
            for refused in [name, display, Description::new(turned).map(drop)] {
                let reason = refused.unwrap_err().to_string();
                assert!(reason.contains("direction"), "{turned:?}: {reason}");
            }
            assert!(DisplayName::stored(turned).is_ok(), "{turned:?}");
        }
        assert!(DropName::new("two\u{2028}lines").is_err());
        // Joiners, variation selectors and directional marks are part of how names are written.
        for name in [
            "می\u{200c}خواهم",
            "👩\u{200d}🚀",
            "❤\u{fe0f}",
            "א\u{200f}!",
            "é",
        ] {
            assert!(DisplayName::new(name).is_ok(), "{name:?}");
        }
        assert!(Description::new("").is_ok());
    }

    #[test]
    fn key_is_visible_ascii_and_its_digest_depends_on_the_scope() {
        assert!(KeyDigest::new(b"s", b"").is_err());
        assert!(KeyDigest::new(b"s", b"a b").is_err());
        assert!(KeyDigest::new(b"s", &[b'k'; 255]).is_ok());
        assert!(KeyDigest::new(b"s", &[b'k'; 256]).is_err());
        assert_ne!(
            KeyDigest::new(b"ab", b"c").unwrap(),
            KeyDigest::new(b"a", b"bc").unwrap()
        );
    }

    #[test]
    fn unknown_currency_is_rejected() {
        assert!(Currency::new("USD").is_ok());
        assert!(Currency::new("usd").is_err());
        assert!(Currency::new("XYZ").is_err());
    }

    #[test]
    fn hold_id_has_the_prefix_of_its_drop() {
        let drop_id = DropId(Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef));
        let hold = HoldId::for_drop(drop_id, Uuid::from_u128(u128::MAX));
        assert_eq!(hold.prefix(), drop_id.prefix());
        assert_ne!(hold.0, drop_id.0);
    }
}
