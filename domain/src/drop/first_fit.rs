//! Finds the first of many numbers that is at most a given limit.
//!
//! Promise: a search and an update take logarithmic time; adding a slot moves no other.
//! Limit: numbers are below 65,535, and slots are added and removed at the end only.
//!
//! A tree of blocks: level 0 holds the numbers, and each level above holds the minimum of every
//! block of [`BLOCK`] entries below it.

/// Numbers in a block: two cache lines. Scanning them is faster than descending a narrower tree.
const BLOCK: usize = 64;

/// Marks an empty slot; larger than every number.
const NONE: u16 = u16::MAX;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FirstFit {
    /// A level has another above it if it has more than one block.
    levels: Vec<Vec<u16>>,
}

impl FirstFit {
    /// Adds an empty slot at the end.
    pub(super) fn push(&mut self) {
        if self.levels.is_empty() {
            self.levels.push(vec![]);
        }
        self.levels[0].push(NONE);
        for level in 0.. {
            let blocks = self.levels[level].len().div_ceil(BLOCK);
            if blocks <= 1 {
                return;
            }
            if self.levels.len() == level + 1 {
                self.levels.push(vec![]);
            }
            while self.levels[level + 1].len() < blocks {
                let block = self.levels[level + 1].len();
                let least = self.least(level, block);
                self.levels[level + 1].push(least);
            }
        }
    }

    /// Removes the last slot.
    pub(super) fn pop(&mut self) {
        let Some(last) = self.levels.first().and_then(|all| all.len().checked_sub(1)) else {
            return;
        };
        self.set(last, None);
        self.levels[0].pop();
        if last == 0 {
            return self.levels.clear();
        }
        for level in 0..self.levels.len() {
            let blocks = self.levels[level].len().div_ceil(BLOCK);
            if blocks <= 1 {
                return self.levels.truncate(level + 1);
            }
            self.levels[level + 1].truncate(blocks);
        }
    }

    /// Sets or clears the number in a slot.
    ///
    /// # Panics
    /// If the slot does not exist, or the number is too large.
    pub(super) fn set(&mut self, slot: usize, number: Option<u32>) {
        let number = number.map_or(NONE, |number| {
            u16::try_from(number).expect("a number below 65,535")
        });
        self.levels[0][slot] = number;
        let mut block = slot / BLOCK;
        for level in 1..self.levels.len() {
            let least = self.least(level - 1, block);
            if std::mem::replace(&mut self.levels[level][block], least) == least {
                return;
            }
            block /= BLOCK;
        }
    }

    pub(super) fn is_set(&self, slot: usize) -> bool {
        self.levels[0][slot] != NONE
    }

    /// Returns the first slot whose number is at most `most`.
    pub(super) fn first_at_most(&self, most: u32) -> Option<usize> {
        let most = u16::try_from(most).unwrap_or(NONE).min(NONE - 1);
        let mut found = 0;
        for level in self.levels.iter().rev() {
            let block = found * BLOCK;
            let mut numbers = level[block..].iter().take(BLOCK);
            found = block + numbers.position(|number| *number <= most)?;
        }
        (!self.levels.is_empty()).then_some(found)
    }

    fn least(&self, level: usize, block: usize) -> u16 {
        let numbers = self.levels[level][block * BLOCK..].iter().take(BLOCK);
        numbers.min().copied().unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudorandom numbers that are the same in every run.
    fn drawn(step: usize, below: usize) -> usize {
        step.wrapping_mul(2_654_435_761).rotate_left(17) % below
    }

    fn drawn_number(step: usize, below: usize) -> u32 {
        u32::try_from(drawn(step, below)).unwrap()
    }

    #[test]
    fn first_fit_matches_a_linear_search_while_numbers_change() {
        let (mut tree, mut list) = (FirstFit::default(), Vec::<Option<u32>>::new());
        for step in 0..16_000 {
            // Grows to about 6,000 slots, on three levels, and shrinks again.
            if drawn(step, 10) < if step < 8_000 { 9 } else { 1 } {
                tree.push();
                list.push(None);
            } else {
                tree.pop();
                list.pop();
            }
            if !list.is_empty() {
                let slot = drawn(step + 1, list.len());
                let number = drawn_number(step + 2, 1_200);
                let number = (number > 0 && number <= 1_000).then_some(number);
                list[slot] = number;
                tree.set(slot, number);
                assert_eq!(tree.is_set(slot), number.is_some());
            }
            if step % 8 > 0 {
                continue;
            }
            for most in [0, 1, drawn_number(step + 3, 50), 1_000, u32::MAX] {
                let fits = |number: &Option<u32>| number.is_some_and(|number| number <= most);
                assert_eq!(tree.first_at_most(most), list.iter().position(fits));
            }
        }
    }

    #[test]
    fn popping_restores_the_tree_before_the_push() {
        let mut tree = FirstFit::default();
        let mut before = vec![];
        for slot in 0..BLOCK * BLOCK + 2 {
            before.push(tree.clone());
            tree.push();
            tree.set(slot, Some(drawn_number(slot, 1_000)));
        }
        for expected in before.into_iter().rev() {
            tree.pop();
            assert_eq!(tree, expected);
        }
    }
}
