//! Finds entries of a vector by a key that they carry, without a second copy of the key.
//!
//! Promise: about ten bytes an entry, where a map from key to place takes fifty. Limit: the caller says which key stands at a
//! place, and says the same each time.

use std::hash::{BuildHasher, Hash};

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Places, found by key. The usual hasher is fast, and random enough for keys that are drawn or digested by us; give
/// [`std::hash::RandomState`] for keys that strangers choose.
#[derive(Debug, Clone)]
pub struct Lookup<Place, Hasher = DefaultHashBuilder> {
    places: HashTable<Place>,
    hasher: Hasher,
}

impl<Place, Hasher: Default> Default for Lookup<Place, Hasher> {
    fn default() -> Self {
        Self {
            places: HashTable::new(),
            hasher: Hasher::default(),
        }
    }
}

impl<Place: Copy, Hasher: BuildHasher> Lookup<Place, Hasher> {
    /// The place of the entry with this key. `key_at` tells the key of the entry at a place.
    pub fn find<'a, K>(&self, key: &K, key_at: impl Fn(Place) -> &'a K) -> Option<Place>
    where
        K: Hash + Eq + ?Sized + 'a,
    {
        let is_it = |place: &Place| key_at(*place) == key;
        self.places.find(self.hasher.hash_one(key), is_it).copied()
    }

    /// Remembers `place` under `key`, unless there is one already: then that is returned and nothing changes.
    ///
    /// The entry itself may be added afterwards, but before anything else is asked of this lookup.
    pub fn insert<'a, K>(
        &mut self,
        key: &K,
        place: Place,
        key_at: impl Fn(Place) -> &'a K,
    ) -> Option<Place>
    where
        K: Hash + Eq + ?Sized + 'a,
    {
        let hasher = &self.hasher;
        let entry = self.places.entry(
            hasher.hash_one(key),
            |&place| key_at(place) == key,
            |&place| hasher.hash_one(key_at(place)),
        );
        match entry {
            Entry::Occupied(found) => Some(*found.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(place);
                None
            }
        }
    }

    /// Forgets the place under `key`, while the entry is still there.
    pub fn remove<'a, K>(&mut self, key: &K, key_at: impl Fn(Place) -> &'a K) -> Option<Place>
    where
        K: Hash + Eq + ?Sized + 'a,
    {
        let is_it = |place: &Place| key_at(*place) == key;
        let found = self.places.find_entry(self.hasher.hash_one(key), is_it);
        found.ok().map(|entry| entry.remove().0)
    }

    /// Every place, in no order.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.places.iter().copied()
    }
}

/// The same places, whatever the order.
impl<Place: Copy + Ord, Hasher: BuildHasher> PartialEq for Lookup<Place, Hasher> {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |lookup: &Self| {
            let mut places: Vec<Place> = lookup.places().collect();
            places.sort_unstable();
            places
        };
        sorted(self) == sorted(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 4] = ["one", "two", "three", "four"];

    fn word_at(place: usize) -> &'static str {
        WORDS[place]
    }

    fn lookup() -> Lookup<usize> {
        let mut lookup = Lookup::default();
        for (place, word) in WORDS.iter().enumerate() {
            assert_eq!(lookup.insert(*word, place, word_at), None);
        }
        lookup
    }

    #[test]
    fn what_was_inserted_is_found_and_nothing_else() {
        for (place, word) in WORDS.iter().enumerate() {
            assert_eq!(lookup().find(*word, word_at), Some(place));
        }
        assert_eq!(lookup().find("five", word_at), None);
    }

    #[test]
    fn a_key_that_is_there_keeps_its_place() {
        let mut lookup = lookup();
        assert_eq!(lookup.insert("two", 3, word_at), Some(1));
        assert_eq!(lookup.find("two", word_at), Some(1));
    }

    #[test]
    fn what_was_removed_is_gone_and_the_rest_stays() {
        let mut shorter = lookup();
        assert_eq!(shorter.remove("two", word_at), Some(1));
        assert_eq!(shorter.remove("two", word_at), None);
        assert_eq!(shorter.find("three", word_at), Some(2));
        assert_ne!(shorter, lookup());
        assert_eq!(shorter.insert("two", 1, word_at), None);
        assert_eq!(shorter, lookup());
    }
}
