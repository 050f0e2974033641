//! Merges sorted sequences, such as the notifications of a thousand creators: only as far as the
//! result is read.

use std::collections::BinaryHeap;

/// The largest item of a sequence, and the sequence itself.
struct Head<T, I> {
    item: T,
    rest: I,
}

impl<T: Ord, I> PartialEq for Head<T, I> {
    fn eq(&self, other: &Self) -> bool {
        self.item == other.item
    }
}

impl<T: Ord, I> Eq for Head<T, I> {}

impl<T: Ord, I> PartialOrd for Head<T, I> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord, I> Ord for Head<T, I> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.item.cmp(&other.item)
    }
}

/// Returns the items of all sequences, largest first, each once. The sequences are sorted in the
/// same way.
pub(crate) fn merged<T: Ord + Copy, I: Iterator<Item = T>>(
    sequences: impl Iterator<Item = I>,
) -> impl Iterator<Item = T> {
    let head = |mut rest: I| {
        Some(Head {
            item: rest.next()?,
            rest,
        })
    };
    let mut heads: BinaryHeap<_> = sequences.filter_map(head).collect();
    let mut last = None;
    std::iter::from_fn(move || {
        loop {
            let Head { item, rest } = heads.pop()?;
            heads.extend(head(rest));
            if last.replace(item) != Some(item) {
                return Some(item);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_merged_without_repetition() {
        let sequences = [vec![9, 5, 1], vec![], vec![8, 5, 5, 0], vec![9]];
        let sequences = sequences.into_iter().map(Vec::into_iter);
        assert_eq!(merged(sequences).collect::<Vec<_>>(), [9, 8, 5, 1, 0]);
    }
}
