//! Short texts, stored one after the other.
//!
//! Promise: a pair of texts takes its bytes plus four, where separate values take forty more; wiped
//! texts are overwritten immediately.
//! Limit: the memory of wiped texts is not reused.

use domain::packed::U48;

/// Bytes in a full chunk. The first chunk grows as a vector does.
const CHUNK: usize = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct Texts {
    chunks: Vec<Vec<u8>>,
}

impl Texts {
    /// Stores two texts and returns their address. Each must be shorter than a quarter of a chunk.
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

    /// Returns the two texts at an address; they are empty after a wipe.
    pub(crate) fn get(&self, at: U48) -> (&str, &str) {
        let bytes = &self.chunks[chunk_of(at)][offset_of(at)..];
        let (first, bytes) = text(bytes);
        let (second, _) = text(bytes);
        (first, second)
    }

    /// Overwrites the two texts at an address.
    pub(crate) fn wipe(&mut self, at: U48) {
        let (first, second) = self.get(at);
        let length = 4 + first.len() + second.len();
        let start = offset_of(at);
        self.chunks[chunk_of(at)][start..start + length].fill(0);
    }
}

fn chunk_of(at: U48) -> usize {
    usize::try_from(at.get()).expect("an address in memory") / CHUNK
}

fn offset_of(at: U48) -> usize {
    usize::try_from(at.get()).expect("an address in memory") % CHUNK
}

/// Splits `bytes` into the first text and the rest.
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
    fn texts_are_returned_from_every_chunk() {
        let mut texts = Texts::default();
        let long = "ä".repeat(250);
        let pairs: Vec<(String, &str)> = (0..1_000)
            .map(|n| (format!("buyer {n}"), if n % 2 == 0 { "" } else { &long }))
            .collect();
        let addresses: Vec<U48> = pairs.iter().map(|(a, b)| texts.push(a, b)).collect();
        assert!(texts.chunks.len() > 3);
        for ((first, second), at) in pairs.iter().zip(addresses) {
            assert_eq!(texts.get(at), (&**first, *second));
        }
    }

    #[test]
    fn wiping_a_text_leaves_no_trace_and_keeps_its_neighbours() {
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
