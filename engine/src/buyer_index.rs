//! Recognises the buyers of a drop without storing their names.
//!
//! Promise: buyer ids and display names are kept only as digests under a random key of this
//! process. The engine's memory holds no personal data, at 40 bytes per buyer, and about 100 for
//! one whose id has a letter such as `ß` or `ς`. Payment references are digested too, by purchase:
//! 20 bytes plus map overhead for each purchase that has one.
//! Limit: two names are equal when their digests are: 128 bits for the buyer id, 64 bits for the
//! display name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use domain::chunks::Chunks;
use domain::lookup::Lookup;
use domain::private::Private;
use domain::values::{BuyerId, DisplayName, PaymentReference};
use siphasher::{sip, sip128};

/// The key of all digests: drawn once per process, never stored or sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct DigestKey([u8; 16]);

impl Default for DigestKey {
    fn default() -> Self {
        Self(rand::random())
    }
}

/// Digest of a buyer id: of its spelling ([`BuyerId::spelling`]), or of its comparison form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NameDigest([u8; 16]);

/// How a buyer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// By the spelling of the id.
    Spelling,
    /// By another spelling, which is equal without regard to case.
    Caseless,
}

/// Digest of a display name; zeroes when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ShownDigest([u8; 8]);

/// Digest of a payment reference or a tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextDigest([u8; 16]);

impl DigestKey {
    fn payment(self, reference: &PaymentReference) -> TextDigest {
        self.text(reference.as_str())
    }

    pub(super) fn text(self, text: &str) -> TextDigest {
        let hasher = sip128::SipHasher24::new_with_key(&self.0);
        TextDigest(hasher.hash(text.as_bytes()).as_bytes())
    }

    pub(super) fn name(self, form: &str) -> NameDigest {
        let hasher = sip128::SipHasher24::new_with_key(&self.0);
        NameDigest(hasher.hash(form.as_bytes()).as_bytes())
    }

    fn shown(self, name: Option<&DisplayName>) -> ShownDigest {
        let digest = |name: &DisplayName| {
            let hasher = sip::SipHasher24::new_with_key(&self.0);
            // Zero stands for a missing name, so a digest must not be zero.
            hasher.hash(name.as_str().as_bytes()).max(1)
        };
        ShownDigest(name.map_or(0, digest).to_le_bytes())
    }
}

/// A buyer whom a drop knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    name: NameDigest,
    shown: ShownDigest,
    /// The buyer's index in the aggregate, see [`domain::DropAggregate::index_of_buyer`].
    pub(super) buyer: u32,
}

const _: () = assert!(size_of::<Known>() <= 28);

/// Replaces the entry of an erased buyer.
const ERASED: Known = Known {
    name: NameDigest([0; 16]),
    shown: ShownDigest([0; 8]),
    buyer: u32::MAX,
};

/// What [`BuyerIndex::roll_back`] needs to undo an introduction.
#[derive(Debug)]
pub(super) struct Introduced {
    name: NameDigest,
    /// The key under which the new entry is listed in [`BuyerIndex::caseless`].
    caseless: Option<NameDigest>,
    /// The entry that the same name had before.
    before: Option<Known>,
}

/// Finds buyers by digest; see the module.
///
/// A buyer is found by the spelling of the id first, and only then by its comparison form. Release
/// 0.1.0 compared spellings, so in its logs `maß` and `mass` are two buyers: each is found again by
/// its own spelling, and no such pair is added.
///
/// Source: docs/decisions/0054-buyers-are-compared-by-case-folding.md.
#[derive(Debug)]
pub(super) struct BuyerIndex {
    key: DigestKey,
    known: Chunks<Known>,
    /// By spelling.
    by_name: Lookup<u32>,
    /// By comparison form, in the order of introduction: the buyers whose spelling differs from it.
    caseless: HashMap<NameDigest, Vec<u32>>,
    /// By the index of the hold that was paid for.
    payments: HashMap<u32, TextDigest>,
}

impl BuyerIndex {
    pub(super) fn new(key: DigestKey) -> Self {
        Self {
            key,
            known: Chunks::default(),
            by_name: Lookup::default(),
            caseless: HashMap::new(),
            payments: HashMap::new(),
        }
    }

    /// Reports whether the purchase of hold `hold` was recorded with `reference`. False when it has
    /// no reference or the reference was erased.
    pub(super) fn was_paid_by(&self, hold: u32, reference: &PaymentReference) -> bool {
        self.payments.get(&hold) == Some(&self.key.payment(reference))
    }

    /// Remembers the payment reference of hold `hold`.
    pub(super) fn keep_payment(&mut self, hold: u32, reference: &PaymentReference) {
        self.payments.insert(hold, self.key.payment(reference));
    }

    /// Removes a payment reference: it was erased, or the purchase is rolled back.
    pub(super) fn remove_payment(&mut self, hold: u32) {
        self.payments.remove(&hold);
    }

    pub(super) fn find(&self, buyer_id: &BuyerId) -> Option<(Known, Match)> {
        let spelling = buyer_id.spelling();
        let name = self.key.name(&spelling);
        if let Some(slot) = self.slot(name) {
            return Some((self.known[slot], Match::Spelling));
        }
        let form = buyer_id.comparable();
        let by_form = match form == spelling {
            true => (name, None),
            false => {
                let name = self.key.name(&form);
                (name, self.slot(name))
            }
        };
        let (name, slot) = by_form;
        let listed = || self.caseless.get(&name)?.first().copied();
        let slot = slot.or_else(listed)?;
        Some((self.known[slot], Match::Caseless))
    }

    /// Reports whether the buyer already has this display name.
    pub(super) fn shows(&self, known: Known, name: &DisplayName) -> bool {
        known.shown == self.key.shown(Some(name))
    }

    /// Remembers the buyer at index `buyer` of the aggregate; returns `None` when `private` has no
    /// buyer id.
    ///
    /// Before ids were normalized, canonically equivalent ids were different buyers. Of these, the
    /// one in NFC is found by either spelling, so every later introduction, in NFC, stays with the
    /// buyer of that spelling. The audit checks the log against this rule.
    pub(super) fn introduce(&mut self, buyer: u32, private: &Private) -> Option<Introduced> {
        let buyer_id = private.buyer_id.as_ref()?;
        let spelling = buyer_id.spelling();
        let name = self.key.name(&spelling);
        let is_other = |known: u32| self.known[known].buyer != buyer;
        if !buyer_id.is_nfc() && self.slot(name).is_some_and(is_other) {
            return None;
        }
        let shown = self.key.shown(private.display_name.as_ref());
        let known = Known { name, shown, buyer };
        let next = u32::try_from(self.known.len()).expect("fewer than four billion buyers");
        let all = &self.known;
        let found = self.by_name.insert(&name, next, |slot| &all[slot].name);
        // Equal spellings have one comparison form, so an entry that is replaced is listed already.
        let mut caseless = None;
        let before = match found {
            Some(slot) => Some(std::mem::replace(&mut self.known[slot], known)),
            None => {
                self.known.push(known);
                let form = buyer_id.comparable();
                if form != spelling {
                    let form = self.key.name(&form);
                    self.caseless.entry(form).or_default().push(next);
                    caseless = Some(form);
                }
                None
            }
        };
        Some(Introduced {
            name,
            caseless,
            before,
        })
    }

    /// Undoes the latest introduction.
    pub(super) fn roll_back(&mut self, introduced: Introduced) {
        let Introduced {
            name,
            caseless,
            before,
        } = introduced;
        if let Some(form) = caseless
            && let Entry::Occupied(mut listed) = self.caseless.entry(form)
        {
            // Nothing was introduced later, so it is the last.
            listed.get_mut().pop();
            if listed.get().is_empty() {
                listed.remove();
            }
        }
        match (before, self.slot(name)) {
            (Some(before), Some(slot)) => self.known[slot] = before,
            (None, Some(_)) => {
                let all = &self.known;
                self.by_name.remove(&name, |slot| &all[slot].name);
                self.known.pop();
            }
            (_, None) => {}
        }
    }

    /// Erases a buyer. The index stays in use, without a name. No draft may be pending.
    pub(super) fn forget(&mut self, buyer: u32) {
        let names: Vec<NameDigest> = self
            .known
            .iter()
            .filter(|known| known.buyer == buyer)
            .map(|known| known.name)
            .collect();
        for name in names {
            let all = &self.known;
            if let Some(slot) = self.by_name.remove(&name, |slot| &all[slot].name) {
                self.known[slot] = ERASED;
            }
        }
        let known = &self.known;
        self.caseless.retain(|_, listed| {
            listed.retain(|slot| known[*slot] != ERASED);
            !listed.is_empty()
        });
    }

    fn slot(&self, name: NameDigest) -> Option<u32> {
        self.by_name.find(&name, |slot| &self.known[slot].name)
    }
}

#[cfg(test)]
mod tests {
    use domain::values::Salt;

    use super::*;

    fn called(buyer_id: &str) -> BuyerId {
        BuyerId::new(buyer_id).unwrap()
    }

    fn showing(name: &str) -> DisplayName {
        DisplayName::new(name).unwrap()
    }

    fn private(buyer_id: &str, shown: Option<&str>) -> Private {
        Private::buyer(Salt([0; 16]), called(buyer_id), shown.map(showing))
    }

    fn with_ann() -> BuyerIndex {
        let mut buyers = BuyerIndex::new(DigestKey::default());
        buyers.introduce(0, &private("Ann", Some("A."))).unwrap();
        buyers
    }

    fn index_of(buyers: &BuyerIndex, buyer_id: &str) -> Option<u32> {
        buyers.find(&called(buyer_id)).map(|(known, _)| known.buyer)
    }

    #[test]
    fn buyers_are_recognised_regardless_of_case() {
        let buyers = with_ann();
        assert_eq!(index_of(&buyers, "aNN"), Some(0));
        assert_eq!(index_of(&buyers, "anna"), None);
    }

    #[test]
    fn display_name_differs_from_another_and_from_none() {
        let mut buyers = with_ann();
        let (ann, _) = buyers.find(&called("ann")).unwrap();
        assert!(buyers.shows(ann, &showing("A.")));
        assert!(!buyers.shows(ann, &showing("a.")));
        buyers.introduce(1, &private("bob", None)).unwrap();
        let (bob, _) = buyers.find(&called("bob")).unwrap();
        assert!(!buyers.shows(bob, &showing("B.")));
    }

    #[test]
    fn undone_introduction_restores_the_previous_entry() {
        let mut buyers = with_ann();
        let before = buyers.find(&called("ann")).unwrap();
        let renamed = buyers.introduce(0, &private("ann", Some("B."))).unwrap();
        let bob = buyers.introduce(1, &private("bob", None)).unwrap();
        buyers.roll_back(bob);
        buyers.roll_back(renamed);
        assert_eq!(buyers.find(&called("ann")), Some(before));
        assert_eq!((index_of(&buyers, "bob"), buyers.known.len()), (None, 1));
    }

    #[test]
    fn erased_buyer_is_unknown_under_every_name_and_others_stay() {
        let mut buyers = with_ann();
        buyers.introduce(1, &private("bob", None)).unwrap();
        buyers.introduce(0, &private("annie", None)).unwrap();
        buyers.forget(0);
        assert_eq!(index_of(&buyers, "ann"), None);
        assert_eq!(index_of(&buyers, "annie"), None);
        assert_eq!(index_of(&buyers, "bob"), Some(1));
        assert_eq!(buyers.known[0], ERASED);
        buyers.introduce(2, &private("ann", None)).unwrap();
        assert_eq!(index_of(&buyers, "ann"), Some(2));
    }

    #[test]
    fn nfc_id_is_found_among_equivalent_ids_of_an_old_log() {
        let stored = |id: &str| {
            let buyer_id = BuyerId::stored(id).unwrap();
            Private::buyer(Salt([0; 16]), buyer_id, None)
        };
        let (composed, decomposed) = ("\u{e9}va", "e\u{301}va");
        for order in [
            [(0, composed), (1, decomposed)],
            [(1, decomposed), (0, composed)],
        ] {
            let mut buyers = BuyerIndex::new(DigestKey::default());
            for (buyer, id) in order {
                buyers.introduce(buyer, &stored(id));
            }
            for id in [composed, decomposed] {
                assert_eq!(index_of(&buyers, id), Some(0), "{order:?}");
            }
        }
        let mut buyers = BuyerIndex::new(DigestKey::default());
        buyers.introduce(1, &stored(decomposed)).unwrap();
        assert_eq!(index_of(&buyers, composed), Some(1));
    }

    fn found(buyers: &BuyerIndex, buyer_id: &str) -> Option<(u32, Match)> {
        let found = buyers.find(&called(buyer_id));
        found.map(|(known, how)| (known.buyer, how))
    }

    #[test]
    fn buyer_is_found_by_every_spelling_that_case_folding_makes_equal() {
        for (recorded, others) in [
            ("maß", ["MASS", "mass", "maſs"]),
            ("MASS", ["maß", "MAẞ", "maſs"]),
            ("σας", ["ΣΑΣ", "σασ", "ςας"]),
            ("\u{ab70}", ["\u{13a0}", "\u{13a0}", "\u{13a0}"]),
        ] {
            let mut buyers = BuyerIndex::new(DigestKey::default());
            buyers.introduce(7, &private(recorded, None)).unwrap();
            assert_eq!(found(&buyers, recorded), Some((7, Match::Spelling)));
            for other in others {
                let found = index_of(&buyers, other);
                assert_eq!(found, Some(7), "{recorded} {other}");
            }
            assert_eq!(found(&buyers, "mas"), None);
        }
    }

    #[test]
    fn two_buyers_of_an_old_log_are_found_by_their_own_spellings() {
        for order in [[(0, "maß"), (1, "mass")], [(1, "mass"), (0, "maß")]] {
            let mut buyers = BuyerIndex::new(DigestKey::default());
            for (buyer, id) in order {
                buyers.introduce(buyer, &private(id, None)).unwrap();
            }
            for (id, buyer) in [("maß", 0), ("MAẞ", 0), ("mass", 1), ("Mass", 1)] {
                assert_eq!(found(&buyers, id), Some((buyer, Match::Spelling)), "{id}");
            }
            // A spelling of neither: the buyer whose spelling is the comparison form.
            assert_eq!(found(&buyers, "maſs"), Some((1, Match::Caseless)));
            buyers.forget(1);
            assert_eq!(found(&buyers, "maſs"), Some((0, Match::Caseless)));
            assert_eq!(found(&buyers, "mass"), Some((0, Match::Caseless)));
            buyers.forget(0);
            assert_eq!(found(&buyers, "maß"), None);
            assert!(buyers.caseless.is_empty());
        }
    }

    #[test]
    fn undone_introduction_is_not_found_by_other_spellings() {
        let mut buyers = BuyerIndex::new(DigestKey::default());
        buyers.introduce(0, &private("maß", None)).unwrap();
        let other = buyers.introduce(1, &private("maſs", None)).unwrap();
        buyers.roll_back(other);
        assert_eq!(found(&buyers, "maſs"), Some((0, Match::Caseless)));
        let again = buyers.introduce(0, &private("Maß", Some("M."))).unwrap();
        buyers.roll_back(again);
        assert_eq!(found(&buyers, "mass"), Some((0, Match::Caseless)));
    }

    #[test]
    fn digests_differ_between_processes() {
        let (here, there) = (DigestKey::default(), DigestKey::default());
        assert_ne!(here.name("ann"), there.name("ann"));
        let name = showing("A.");
        assert_ne!(here.shown(Some(&name)), there.shown(Some(&name)));
    }
}
