//! A list that grows by one chunk at a time.
//!
//! Promise: beyond the first chunk, growth moves no existing entry and leaves at most one chunk of
//! slack. A vector that doubles its capacity copies a million entries in one step while buyers
//! wait, and then keeps capacity for another million.
//! Limit: the list grows and shrinks at its end only.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Entries in a full chunk. The first chunk grows as a vector does, so a short list stays small.
const CHUNK: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks<T> {
    /// Every chunk except the last is full, and none is empty.
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self {
            chunks: vec![],
            len: 0,
        }
    }
}

impl<T> Chunks<T> {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    pub fn push(&mut self, entry: T) {
        if self.len.is_multiple_of(CHUNK) {
            let capacity = if self.len == 0 { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        if let Some(last) = self.chunks.last_mut() {
            last.push(entry);
            self.len += 1;
        }
    }

    /// Removes the last entry and returns it.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.chunks.last_mut()?;
        let entry = last.pop()?;
        if last.is_empty() {
            self.chunks.pop();
        }
        self.len -= 1;
        Some(entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

impl<T> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut list = Self::default();
        for entry in entries {
            list.push(entry);
        }
        list
    }
}

/// Serializes as a sequence, like a vector.
impl<T: Serialize> Serialize for Chunks<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Chunks<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_matches_a_vector_on_both_sides_of_a_full_chunk() {
        let (mut list, mut vector) = (Chunks::default(), vec![]);
        for number in 0..2 * CHUNK + 1 {
            list.push(number);
            vector.push(number);
        }
        for length in (0..=vector.len()).rev() {
            assert_eq!(list.len(), length);
            assert_eq!(list.last(), vector.last());
            assert_eq!(list.get(length), None);
            if [2 * CHUNK, CHUNK + 1, CHUNK, CHUNK - 1, 1, 0].contains(&length) {
                assert!(list.iter().eq(&vector));
                assert_eq!(list, vector.iter().copied().collect());
            }
            assert_eq!(list.pop(), vector.pop());
        }
        assert_eq!(list, Chunks::default());
        list.push(7);
        assert_eq!((list[0], list.len()), (7, 1));
    }

    #[test]
    fn growth_moves_no_entry_and_wastes_at_most_one_chunk() {
        let mut list: Chunks<usize> = (0..CHUNK).collect();
        let first: *const usize = &raw const list[0];
        for number in 0..10 * CHUNK {
            list.push(number);
        }
        assert!(std::ptr::eq(first, &raw const list[0]));
        let capacity: usize = list.chunks.iter().map(Vec::capacity).sum();
        assert!(capacity - list.len() <= CHUNK, "capacity {capacity}");
    }

    #[test]
    fn short_list_allocates_little() {
        let list: Chunks<u64> = (0..3).collect();
        assert!(list.chunks[0].capacity() <= 4);
    }

    #[test]
    fn chunks_serialize_like_a_vector() {
        let list: Chunks<u8> = (1..4).collect();
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(text, "[1,2,3]");
        assert_eq!(serde_json::from_str::<Chunks<u8>>(&text).unwrap(), list);
    }
}
