//! Whom a drop knows: buyers, recognised without being remembered.
//!
//! Promise: what the shop calls a buyer, and the name they agreed to show, are kept as digests under a random key of this
//! process. So the engine's memory holds nobody's data, and 40 bytes a buyer suffice.
//! Payment references likewise, by the purchase that each was recorded with: 20 bytes and the map's
//! own for each purchase that has one.
//! Limit: two names are taken for one when their digests agree: 128 bits for who it is, 64 for whether they show another name.

use std::collections::HashMap;

use domain::chunks::Chunks;
use domain::lookup::Lookup;
use domain::private::Private;
use domain::values::{BuyerId, DisplayName, PaymentReference};
use siphasher::{sip, sip128};

/// What digests are made with: drawn once a process, and never told.
#[derive(Debug, Clone, Copy)]
pub(super) struct DigestKey([u8; 16]);

impl Default for DigestKey {
    fn default() -> Self {
        Self(rand::random())
    }
}

/// Stands for what the shop calls a buyer, in the form that buyers are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct NameDigest([u8; 16]);

/// Stands for the name that a buyer shows; zeroes: they show none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ShownDigest([u8; 8]);

/// Stands for the payment reference of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PaymentDigest([u8; 16]);

impl DigestKey {
    fn payment(self, reference: &PaymentReference) -> PaymentDigest {
        let hasher = sip128::SipHasher24::new_with_key(&self.0);
        PaymentDigest(hasher.hash(reference.as_str().as_bytes()).as_bytes())
    }

    fn name(self, buyer_id: &BuyerId) -> NameDigest {
        let hasher = sip128::SipHasher24::new_with_key(&self.0);
        NameDigest(hasher.hash(buyer_id.comparable().as_bytes()).as_bytes())
    }

    fn shown(self, name: Option<&DisplayName>) -> ShownDigest {
        let digest = |name: &DisplayName| {
            let hasher = sip::SipHasher24::new_with_key(&self.0);
            // Zero stands for no name, so no name may come to it.
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
    /// Their place in the aggregate, see [`domain::DropAggregate::buyer_place`].
    pub(super) buyer: u32,
}

const _: () = assert!(size_of::<Known>() <= 28);

/// What is left of a buyer who was erased.
const NOBODY: Known = Known {
    name: NameDigest([0; 16]),
    shown: ShownDigest([0; 8]),
    buyer: u32::MAX,
};

/// An introduction, as much as is needed to take it back.
#[derive(Debug)]
pub(super) struct Introduced {
    name: NameDigest,
    /// Who stood under the same name before.
    before: Option<Known>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Acquaintances {
    key: DigestKey,
    known: Chunks<Known>,
    by_name: Lookup<u32>,
    /// By the place of the hold that was paid for.
    payments: HashMap<u32, PaymentDigest>,
}

impl Acquaintances {
    pub(super) fn new(key: DigestKey) -> Self {
        Self {
            key,
            known: Chunks::default(),
            by_name: Lookup::default(),
            payments: HashMap::new(),
        }
    }

    /// Whether the purchase of the hold at this place was recorded with `reference`, as far as is
    /// known: not one that has none, nor one whose reference was erased.
    pub(super) fn was_paid_by(&self, hold: u32, reference: &PaymentReference) -> bool {
        self.payments.get(&hold) == Some(&self.key.payment(reference))
    }

    /// Keeps what the purchase of the hold at this place was recorded with.
    pub(super) fn keep_payment(&mut self, hold: u32, reference: &PaymentReference) {
        self.payments.insert(hold, self.key.payment(reference));
    }

    /// Forgets it: it was erased, or the purchase is taken back.
    pub(super) fn forget_payment(&mut self, hold: u32) {
        self.payments.remove(&hold);
    }

    pub(super) fn find(&self, buyer_id: &BuyerId) -> Option<Known> {
        let name = self.key.name(buyer_id);
        self.place(name).map(|place| self.known[place])
    }

    /// Whether a buyer shows this name already.
    pub(super) fn shows(&self, known: Known, name: &DisplayName) -> bool {
        known.shown == self.key.shown(Some(name))
    }

    /// Keeps who the buyer at this place of the aggregate is; none when `private` does not say.
    ///
    /// Before ids had a normal form, canonically equivalent ones were two buyers. Of these the one
    /// in NFC is found by either spelling, so that whatever is introduced from now on, in NFC,
    /// stays with the buyer who had that spelling: the audit holds the log to that.
    pub(super) fn introduce(&mut self, buyer: u32, private: &Private) -> Option<Introduced> {
        let buyer_id = private.buyer_id.as_ref()?;
        let name = self.key.name(buyer_id);
        let is_other = |known: u32| self.known[known].buyer != buyer;
        if !buyer_id.is_nfc() && self.place(name).is_some_and(is_other) {
            return None;
        }
        let shown = self.key.shown(private.display_name.as_ref());
        let known = Known { name, shown, buyer };
        let next = u32::try_from(self.known.len()).expect("fewer than four billion buyers");
        let all = &self.known;
        let found = self.by_name.insert(&name, next, |place| &all[place].name);
        let before = match found {
            Some(place) => Some(std::mem::replace(&mut self.known[place], known)),
            None => {
                self.known.push(known);
                None
            }
        };
        Some(Introduced { name, before })
    }

    /// Takes back the introduction made last.
    pub(super) fn take_back(&mut self, introduced: Introduced) {
        let Introduced { name, before } = introduced;
        match (before, self.place(name)) {
            (Some(before), Some(place)) => self.known[place] = before,
            (None, Some(_)) => {
                let all = &self.known;
                self.by_name.remove(&name, |place| &all[place].name);
                self.known.pop();
            }
            (_, None) => {}
        }
    }

    /// Forgets a buyer. Their place stays, with nobody in it; nothing may be drafted meanwhile.
    pub(super) fn forget(&mut self, buyer: u32) {
        let names: Vec<NameDigest> = self
            .known
            .iter()
            .filter(|known| known.buyer == buyer)
            .map(|known| known.name)
            .collect();
        for name in names {
            let all = &self.known;
            if let Some(place) = self.by_name.remove(&name, |place| &all[place].name) {
                self.known[place] = NOBODY;
            }
        }
    }

    fn place(&self, name: NameDigest) -> Option<u32> {
        self.by_name.find(&name, |place| &self.known[place].name)
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

    fn knowing_ann() -> Acquaintances {
        let mut people = Acquaintances::new(DigestKey::default());
        people.introduce(0, &private("Ann", Some("A."))).unwrap();
        people
    }

    fn place_of(people: &Acquaintances, buyer_id: &str) -> Option<u32> {
        people.find(&called(buyer_id)).map(|known| known.buyer)
    }

    #[test]
    fn a_buyer_is_recognised_without_regard_to_case_and_nobody_else_is() {
        let people = knowing_ann();
        assert_eq!(place_of(&people, "aNN"), Some(0));
        assert_eq!(place_of(&people, "anna"), None);
    }

    #[test]
    fn a_name_that_is_shown_is_told_from_another_and_from_none() {
        let mut people = knowing_ann();
        let ann = people.find(&called("ann")).unwrap();
        assert!(people.shows(ann, &showing("A.")));
        assert!(!people.shows(ann, &showing("a.")));
        people.introduce(1, &private("bob", None)).unwrap();
        let bob = people.find(&called("bob")).unwrap();
        assert!(!people.shows(bob, &showing("B.")));
    }

    #[test]
    fn an_introduction_that_is_taken_back_leaves_what_was_before() {
        let mut people = knowing_ann();
        let before = people.find(&called("ann")).unwrap();
        let renamed = people.introduce(0, &private("ann", Some("B."))).unwrap();
        let bob = people.introduce(1, &private("bob", None)).unwrap();
        people.take_back(bob);
        people.take_back(renamed);
        assert_eq!(people.find(&called("ann")), Some(before));
        assert_eq!((place_of(&people, "bob"), people.known.len()), (None, 1));
    }

    #[test]
    fn who_was_forgotten_is_a_stranger_under_every_name_and_the_rest_stay() {
        let mut people = knowing_ann();
        people.introduce(1, &private("bob", None)).unwrap();
        people.introduce(0, &private("annie", None)).unwrap();
        people.forget(0);
        assert_eq!(place_of(&people, "ann"), None);
        assert_eq!(place_of(&people, "annie"), None);
        assert_eq!(place_of(&people, "bob"), Some(1));
        assert_eq!(people.known[0], NOBODY);
        people.introduce(2, &private("ann", None)).unwrap();
        assert_eq!(place_of(&people, "ann"), Some(2));
    }

    #[test]
    fn of_canonically_equivalent_ids_of_an_old_log_the_one_in_nfc_is_found() {
        let stored = |id: &str| {
            let buyer_id = BuyerId::stored(id).unwrap();
            Private::buyer(Salt([0; 16]), buyer_id, None)
        };
        let (composed, decomposed) = ("\u{e9}va", "e\u{301}va");
        for order in [
            [(0, composed), (1, decomposed)],
            [(1, decomposed), (0, composed)],
        ] {
            let mut people = Acquaintances::new(DigestKey::default());
            for (buyer, id) in order {
                people.introduce(buyer, &stored(id));
            }
            for id in [composed, decomposed] {
                assert_eq!(place_of(&people, id), Some(0), "{order:?}");
            }
        }
        let mut people = Acquaintances::new(DigestKey::default());
        people.introduce(1, &stored(decomposed)).unwrap();
        assert_eq!(place_of(&people, composed), Some(1));
    }

    #[test]
    fn another_process_digests_otherwise_so_that_digests_tell_nothing_outside() {
        let (here, there) = (DigestKey::default(), DigestKey::default());
        assert_ne!(here.name(&called("ann")), there.name(&called("ann")));
        let name = showing("A.");
        assert_ne!(here.shown(Some(&name)), there.shown(Some(&name)));
    }
}
