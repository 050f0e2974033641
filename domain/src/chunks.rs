//! A list that grows a chunk at a time.
//!
//! Promise: past the first chunk, growing moves nothing that is there and leaves at most one chunk of slack. A vector that
//! doubles copies a million entries at once, while buyers wait, and then keeps room for another million.
//! Limit: it grows and shrinks at its end only.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Entries in a full chunk. The first chunk of a list grows as a vector does, so that a short list stays small.
const CHUNK: usize = 1_024;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks<T> {
    /// Every chunk but the last is full, and none is empty.
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
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, entry: T) {
        if self.len.is_multiple_of(CHUNK) {
            let room = if self.len == 0 { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        if let Some(last) = self.chunks.last_mut() {
            last.push(entry);
            self.len += 1;
        }
    }

    /// Takes the last entry out.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.chunks.last_mut()?;
        let entry = last.pop()?;
        if last.is_empty() {
            self.chunks.pop();
        }
        self.len -= 1;
        Some(entry)
    }

    /// Every entry, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Every entry, first to last, to be changed.
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

/// As a sequence, like a vector.
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
    fn a_list_is_what_a_vector_is_on_both_sides_of_a_full_chunk() {
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
    fn growing_past_a_chunk_moves_nothing_and_wastes_at_most_one() {
        let mut list: Chunks<usize> = (0..CHUNK).collect();
        let first: *const usize = &raw const list[0];
        for number in 0..10 * CHUNK {
            list.push(number);
        }
        assert!(std::ptr::eq(first, &raw const list[0]));
        let room: usize = list.chunks.iter().map(Vec::capacity).sum();
        assert!(room - list.len() <= CHUNK, "room for {room}");
    }

    #[test]
    fn a_short_list_takes_little_room() {
        let list: Chunks<u64> = (0..3).collect();
        assert!(list.chunks[0].capacity() <= 4);
    }

    #[test]
    fn it_is_written_as_a_vector_is() {
        let list: Chunks<u8> = (1..4).collect();
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(text, "[1,2,3]");
        assert_eq!(serde_json::from_str::<Chunks<u8>>(&text).unwrap(), list);
    }
}
