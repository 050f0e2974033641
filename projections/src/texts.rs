//! Short texts, kept one behind the other.
//!
//! Promise: a pair of texts takes its bytes and four more, where each as a value of its own takes forty more; what is wiped is
//! overwritten at once. Limit: the room of what was wiped is not used again.

use domain::packed::U48;

/// Bytes in a full chunk. The first grows as a vector does.
const CHUNK: usize = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    chunks: Vec<Vec<u8>>,
}

impl Texts {
    /// Keeps two texts; returns where. Each must be shorter than a quarter of a chunk.
    pub(crate) fn push(&mut self, first: &str, second: &str) -> U48 {
        let length = 4 + first.len() + second.len();
        let fits = |chunk: &Vec<u8>| chunk.len() + length <= CHUNK;
        if !self.chunks.last().is_some_and(fits) {
            let room = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        let index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[index];
        let at = index * CHUNK + chunk.len();
        for text in [first, second] {
            let length = u16::try_from(text.len()).expect("a text far shorter than a chunk");
            chunk.extend(length.to_le_bytes());
            chunk.extend(text.as_bytes());
        }
        U48::new(at as u64)
    }

    /// The two texts at a place; empty once they were wiped.
    pub(crate) fn get(&self, at: U48) -> (&str, &str) {
        let bytes = &self.chunks[chunk_of(at)][offset_of(at)..];
        let (first, bytes) = text(bytes);
        let (second, _) = text(bytes);
        (first, second)
    }

    /// Overwrites the two texts at a place.
    pub(crate) fn wipe(&mut self, at: U48) {
        let (first, second) = self.get(at);
        let length = 4 + first.len() + second.len();
        let start = offset_of(at);
        self.chunks[chunk_of(at)][start..start + length].fill(0);
    }
}

fn chunk_of(at: U48) -> usize {
    usize::try_from(at.get()).expect("a place in memory") / CHUNK
}

fn offset_of(at: U48) -> usize {
    usize::try_from(at.get()).expect("a place in memory") % CHUNK
}

/// The text that `bytes` begin with, and what comes after it.
fn text(bytes: &[u8]) -> (&str, &[u8]) {
    let (length, bytes) = bytes.split_at(2);
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let (text, rest) = bytes.split_at(length);
    (std::str::from_utf8(text).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_from_every_chunk() {
        let mut texts = Texts::default();
        let long = "ä".repeat(250);
        let pairs: Vec<(String, &str)> = (0..1_000)
            .map(|n| (format!("buyer {n}"), if n % 2 == 0 { "" } else { &long }))
            .collect();
        let places: Vec<U48> = pairs.iter().map(|(a, b)| texts.push(a, b)).collect();
        assert!(texts.chunks.len() > 3);
        for ((first, second), at) in pairs.iter().zip(places) {
            assert_eq!(texts.get(at), (&**first, *second));
        }
    }

    #[test]
    fn what_is_wiped_is_nowhere_and_its_neighbours_stay() {
        let mut texts = Texts::default();
        let [ann, bob, cid] = ["ann", "bob", "cid"].map(|name| texts.push(name, "shown"));
        texts.wipe(bob);
        assert_eq!(texts.get(bob), ("", ""));
        assert_eq!(texts.get(ann), ("ann", "shown"));
        assert_eq!(texts.get(cid), ("cid", "shown"));
        let kept = String::from_utf8_lossy(&texts.chunks[0]).into_owned();
        assert!(!kept.contains("bob"));
    }
}
