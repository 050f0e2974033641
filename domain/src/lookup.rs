//! Finds entries of a vector by a key that they carry, without a second copy of the key.
//!
//! Promise: about ten bytes per entry; a map from key to index takes fifty.
//! Limit: the caller supplies the key of the entry at an index, which must not change.

use std::hash::{BuildHasher, Hash};

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Indexes, found by key. The default hasher is fast, and sufficient for keys that are random or
/// digests; use [`std::hash::RandomState`] for keys that clients choose.
#[derive(Debug, Clone)]
pub struct Lookup<Index, Hasher = DefaultHashBuilder> {
    indexes: HashTable<Index>,
    hasher: Hasher,
}

impl<Index, Hasher: Default> Default for Lookup<Index, Hasher> {
    fn default() -> Self {
        Self {
            indexes: HashTable::new(),
            hasher: Hasher::default(),
        }
    }
}

impl<Index: Copy, Hasher: BuildHasher> Lookup<Index, Hasher> {
    /// Returns the index of the entry with this key. `key_at` returns the key of the entry at an
    /// index.
    pub fn find<'a, K>(&self, key: &K, key_at: impl Fn(Index) -> &'a K) -> Option<Index>
    where
        K: Hash + Eq + ?Sized + 'a,
    {
        let is_it = |index: &Index| key_at(*index) == key;
        self.indexes.find(self.hasher.hash_one(key), is_it).copied()
    }

    /// Stores `index` under `key`. If the key is present, returns its index and changes nothing.
    ///
    /// The entry itself may be added afterwards, but before any other call to this lookup.
    pub fn insert<'a, K>(
        &mut self,
        key: &K,
        index: Index,
        key_at: impl Fn(Index) -> &'a K,
    ) -> Option<Index>
    where
        K: Hash + Eq + ?Sized + 'a,
    {
        let hasher = &self.hasher;
        let entry = self.indexes.entry(
            hasher.hash_one(key),
            |&index| key_at(index) == key,
            |&index| hasher.hash_one(key_at(index)),
        );
        match entry {
            Entry::Occupied(found) => Some(*found.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(index);
                None
            }
        }
    }

    /// Removes the index under `key`. The entry must still exist.
    pub fn remove<'a, K>(&mut self, key: &K, key_at: impl Fn(Index) -> &'a K) -> Option<Index>
    where
        K: Hash + Eq + ?Sized + 'a,
    {
        let is_it = |index: &Index| key_at(*index) == key;
        let found = self.indexes.find_entry(self.hasher.hash_one(key), is_it);
        found.ok().map(|entry| entry.remove().0)
    }

    /// Iterates over every index, in any order.
    pub fn indexes(&self) -> impl Iterator<Item = Index> {
        self.indexes.iter().copied()
    }
}

/// Compares the indexes regardless of their order.
impl<Index: Copy + Ord, Hasher: BuildHasher> PartialEq for Lookup<Index, Hasher> {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |lookup: &Self| {
            let mut indexes: Vec<Index> = lookup.indexes().collect();
            indexes.sort_unstable();
            indexes
        };
        sorted(self) == sorted(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 4] = ["one", "two", "three", "four"];

    fn word_at(index: usize) -> &'static str {
        WORDS[index]
    }

    fn lookup() -> Lookup<usize> {
        let mut lookup = Lookup::default();
        for (index, word) in WORDS.iter().enumerate() {
            assert_eq!(lookup.insert(*word, index, word_at), None);
        }
        lookup
    }

    #[test]
    fn only_inserted_keys_are_found() {
        for (index, word) in WORDS.iter().enumerate() {
            assert_eq!(lookup().find(*word, word_at), Some(index));
        }
        assert_eq!(lookup().find("five", word_at), None);
    }

    #[test]
    fn inserting_a_present_key_keeps_its_index() {
        let mut lookup = lookup();
        assert_eq!(lookup.insert("two", 3, word_at), Some(1));
        assert_eq!(lookup.find("two", word_at), Some(1));
    }

    #[test]
    fn removing_a_key_keeps_the_others() {
        let mut shorter = lookup();
        assert_eq!(shorter.remove("two", word_at), Some(1));
        assert_eq!(shorter.remove("two", word_at), None);
        assert_eq!(shorter.find("three", word_at), Some(2));
        assert_ne!(shorter, lookup());
        assert_eq!(shorter.insert("two", 1, word_at), None);
        assert_eq!(shorter, lookup());
    }
}
