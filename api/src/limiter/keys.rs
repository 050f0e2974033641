//! The newest idempotency keys in the log.
//!
//! Promise: a retry is recognized at the edge without a request to the engine, wherever and
//! whenever the first request was recorded: keys are taken from the log's events, so those of other
//! nodes and of earlier runs count as well. Limit: the newest [`MOST_KEYS`], by 64 bits of their
//! digest. Digests are keyed with the log's secret, so a caller cannot produce a collision; a
//! random collision admits one request.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

use domain::values::KeyDigest;
use hashbrown::HashSet;

/// Maximum number of keys kept: some 30 MB.
pub(super) const MOST_KEYS: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct AnsweredKeys {
    most: usize,
    /// Oldest first.
    in_order: VecDeque<u64>,
    known: HashSet<u64, BuildHasherDefault<IdentityHasher>>,
}

impl AnsweredKeys {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            in_order: VecDeque::new(),
            known: HashSet::default(),
        }
    }

    pub(super) fn contain(&self, key: KeyDigest) -> bool {
        self.known.contains(&short(key))
    }

    pub(super) fn add(&mut self, key: KeyDigest) {
        let key = short(key);
        if !self.known.insert(key) {
            return;
        }
        self.in_order.push_back(key);
        if self.in_order.len() > self.most
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

fn short(key: KeyDigest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key.bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A hasher for values that are digests already.
#[derive(Debug, Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use domain::testing::key;

    use super::*;

    #[test]
    fn only_the_newest_keys_are_known() {
        let mut keys = AnsweredKeys::new(3);
        for name in ["a", "b", "b", "c", "d"] {
            keys.add(key(name));
        }
        let known = ["a", "b", "c", "d", "e"].map(|name| keys.contain(key(name)));
        assert_eq!(known, [false, true, true, true, false]);
        assert_eq!(keys.known.len(), keys.in_order.len());
    }
}
