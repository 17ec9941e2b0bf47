//! A map from slots to zswap entries, for slots of devices that are not virtual. The map has leaves of 64 slots. A
//! leaf exists while one of the leaf's slots has an entry.

use std::collections::HashMap;

use crate::base::types::{SwpEntry, ZswapId};
use crate::containers::shrink::remove_and_shrink;

/// Number of slots of a leaf. Kernel: the number of slots of one xarray node.
pub(super) const LEAF_SLOTS: usize = 64;

#[derive(Debug)]
struct Leaf {
    ids: [Option<ZswapId>; LEAF_SLOTS],
    nr: usize,
}

const _: () = assert!(size_of::<Option<ZswapId>>() == 4, "a slot without an entry costs no word more");

/// A map from slots to numbers of zswap entries. Kernel: `zswap_trees`; differs: one map holds the leaves of several
/// trees.
#[derive(Debug, Default)]
pub(super) struct Map {
    leaves: HashMap<u64, Box<Leaf>>,
    nr: u64,
}

fn place(swp: SwpEntry) -> (u64, usize) {
    (swp.value() / LEAF_SLOTS as u64, (swp.value() % LEAF_SLOTS as u64) as usize)
}

impl Map {
    /// Returns the entry of a slot, or `None` when the slot has no entry.
    pub(super) fn get(&self, swp: SwpEntry) -> Option<ZswapId> {
        let (number, slot) = place(swp);
        self.leaves.get(&number)?.ids[slot]
    }

    /// Replaces the entry of a slot by `new` and returns the old entry.
    pub(super) fn replace(&mut self, swp: SwpEntry, new: Option<ZswapId>) -> Option<ZswapId> {
        let (number, slot) = place(swp);
        if new.is_none() && (self.nr == 0 || !self.leaves.contains_key(&number)) {
            return None;
        }
        let leaf = self.leaves.entry(number).or_insert_with(|| Box::new(Leaf { ids: [None; LEAF_SLOTS], nr: 0 }));
        let old = std::mem::replace(&mut leaf.ids[slot], new);
        let (more, less) = (usize::from(new.is_some()), usize::from(old.is_some()));
        leaf.nr = leaf.nr + more - less;
        self.nr = self.nr + more as u64 - less as u64;
        if leaf.nr == 0 {
            remove_and_shrink(&mut self.leaves, &number);
        }
        old
    }

    /// Removes the entries of a run of slots inside one leaf. Returns the removed entries and the number of removed
    /// entries.
    pub(super) fn take_run(&mut self, first: SwpEntry, nr: usize) -> ([Option<ZswapId>; LEAF_SLOTS], usize) {
        let (number, slot) = place(first);
        let mut taken = [None; LEAF_SLOTS];
        let Some(leaf) = self.leaves.get_mut(&number) else { return (taken, 0) };
        taken[..nr].swap_with_slice(&mut leaf.ids[slot..slot + nr]);
        let nr_taken = taken.iter().flatten().count();
        leaf.nr -= nr_taken;
        self.nr -= nr_taken as u64;
        if leaf.nr == 0 {
            remove_and_shrink(&mut self.leaves, &number);
        }
        (taken, nr_taken)
    }

    /// Returns the number of slots that have an entry.
    pub(super) fn len(&self) -> u64 {
        self.nr
    }

    /// Returns the bytes of the leaves and of the hash table that finds the leaves.
    pub(super) fn bytes(&self) -> u64 {
        // The hash table uses at most 7 of 8 buckets, and has one extra byte for each bucket.
        let buckets = match self.leaves.capacity() {
            0 => 0,
            capacity => (capacity * 8).div_ceil(7).next_power_of_two(),
        };
        (self.leaves.len() * size_of::<Leaf>() + buckets * (size_of::<(u64, Box<Leaf>)>() + 1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::base::types::{SwpOffset, SwpType};

    #[test]
    fn a_leaf_is_there_while_it_has_entries() {
        let at = |offset| SwpEntry::new(SwpType(3), SwpOffset(offset));
        let id = |number| NonZeroU32::new(number).map(ZswapId);
        let mut map = Map::default();
        assert_eq!((map.replace(at(5), None), map.bytes()), (None, 0));
        let old = [(5, 1), (5, 2), (64, 3)].map(|(offset, number)| map.replace(at(offset), id(number)));
        assert_eq!(old, [None, id(1), None]);
        assert_eq!((map.get(at(5)), map.get(at(6)), map.get(at(64)), map.len()), (id(2), None, id(3), 2));
        let full = map.bytes();
        assert_eq!((map.replace(at(64), None), map.get(at(64)), map.len()), (id(3), None, 1));
        assert_eq!(full - map.bytes(), size_of::<Leaf>() as u64);
        assert_eq!(map.replace(at(63), id(4)), None);
        let (taken, nr) = map.take_run(at(6), 58);
        assert_eq!((taken[57], nr, map.get(at(5)), map.len()), (id(4), 1, id(2), 1), "slot 5 is outside the run");
        assert_eq!((map.take_run(at(5), 1).1, map.take_run(at(5), 1).1, map.leaves.len()), (1, 0, 0));
    }
}
