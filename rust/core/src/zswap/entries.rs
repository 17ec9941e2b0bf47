//! The entries of zswap. Each entry has a number, and each memory cgroup has a list of the cgroup's entries by age.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CssId, SwpEntry, ZswapId};
use crate::compress::zsmalloc::Handle;
use crate::containers::index_list::{IndexList, Links, NIL};
use crate::containers::shrink::remove_and_shrink;
use crate::containers::slab::Slab;

/// One page in zswap. Kernel: `struct zswap_entry`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The slot of the page.
    pub(crate) swp: SwpEntry,
    /// The object in the pool that has the page's data.
    pub(super) handle: Handle,
    /// Memory cgroup that is charged for the entry, or `None` when memory cgroups are disabled.
    pub(crate) css: Option<CssId>,
    /// Size of the data in bytes. Data with the size of a whole page is not compressed.
    pub(crate) bytes: u16,
    /// Number of the pool that has the page's data.
    pub(super) pool: u8,
    is_referenced: bool,
    /// Whether the entry is on the list of the entry's group. Only a published entry, which its slot names, is on a
    /// list.
    pub(crate) is_listed: bool,
    /// Numbers of the next older and the next younger entry on the list.
    older: u32,
    younger: u32,
}

impl Entry {
    /// Makes an entry that is on no list.
    pub(super) fn new(swp: SwpEntry, handle: Handle, bytes: usize, pool: u8, css: Option<CssId>) -> Self {
        let bytes = bytes as u16;
        Self { swp, handle, css, bytes, pool, is_referenced: false, is_listed: false, older: NIL, younger: NIL }
    }

    /// Returns the amounts that are charged for the entry.
    pub(crate) fn compressed(&self) -> Compressed {
        let nr_incompressible_pages = i64::from(usize::from(self.bytes) == PAGE_SIZE);
        Compressed { nr_pages: 1, nr_incompressible_pages, bytes: self.bytes.into() }
    }
}

/// The amounts that are charged for entries: their pages and their compressed bytes. A negative amount is an
/// uncharge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Compressed {
    pub(crate) nr_pages: i64,
    /// The number of those of `nr_pages` that did not compress.
    pub(crate) nr_incompressible_pages: i64,
    pub(crate) bytes: i64,
}

impl std::ops::AddAssign for Compressed {
    fn add_assign(&mut self, other: Self) {
        self.nr_pages += other.nr_pages;
        self.nr_incompressible_pages += other.nr_incompressible_pages;
        self.bytes += other.bytes;
    }
}

impl std::ops::Neg for Compressed {
    type Output = Self;

    fn neg(self) -> Self {
        let Self { nr_pages, nr_incompressible_pages, bytes } = self;
        Self { nr_pages: -nr_pages, nr_incompressible_pages: -nr_incompressible_pages, bytes: -bytes }
    }
}

const _: () = assert!(size_of::<Entry>() <= 40, "forty bytes a page in zswap");

impl Default for Entry {
    /// Makes the record of a free number.
    fn default() -> Self {
        Self::new(SwpEntry::NONE, Handle::from_bits(0), 0, 0, None)
    }
}

impl Links for &mut Slab<Entry> {
    fn links(&self, at: u32) -> (u32, u32) {
        let entry = self.get(at);
        (entry.older, entry.younger)
    }

    fn set_links(&mut self, at: u32, prev: u32, next: u32) {
        let entry = self.get_mut(at);
        (entry.older, entry.younger) = (prev, next);
    }

    fn set_prev(&mut self, at: u32, prev: u32) -> bool {
        (at != NIL).then(|| self.get_mut(at).older = prev).is_some()
    }

    fn set_next(&mut self, at: u32, next: u32) -> bool {
        (at != NIL).then(|| self.get_mut(at).younger = next).is_some()
    }
}

/// The entries of one group by age. Kernel: a `list_lru_one`.
#[derive(Clone, Copy, Debug, Default)]
struct Lru {
    /// The numbers of the entries in the order of age, the oldest entry first.
    by_age: IndexList,
    len: u64,
    /// Number of the group's swap-ins that read from a device and that `consume_disk_swapins` has not subtracted yet.
    /// Kernel: `nr_disk_swapins`.
    nr_disk_swapins: u64,
}

/// All entries and all lists. The caller of each function holds the lock of `Zswap::entries`.
///
/// The number of an entry on a list is one less than the entry's [`ZswapId`], because the id 0 in a slot means no
/// entry.
#[derive(Debug, Default)]
pub(super) struct Entries {
    records: Slab<Entry>,
    lrus: HashMap<Option<CssId>, Lru>,
}

fn number(id: ZswapId) -> u32 {
    id.0.get() - 1
}

fn id(number: u32) -> Option<ZswapId> {
    NonZeroU32::new(number.wrapping_add(1)).map(ZswapId)
}

impl Entries {
    /// Stores an entry under a free number and returns the number. Returns `None` when no number is free or memory
    /// has run out.
    pub(super) fn add(&mut self, entry: Entry) -> Option<ZswapId> {
        id(self.records.insert(entry)?)
    }

    /// Removes an entry from its list and frees the number of the entry. Entries are stored in pieces of 64, and the
    /// memory of a piece is given back when its last entry is removed, except for one spare piece.
    pub(super) fn remove(&mut self, id: ZswapId) -> Entry {
        self.unlink(number(id));
        self.records.remove(number(id))
    }

    /// Returns a copy of an entry.
    pub(super) fn get(&self, id: ZswapId) -> Entry {
        *self.records.get(number(id))
    }

    /// Puts an entry on the young end of its group's list and marks the entry as referenced, so that the entry
    /// survives its first scan.
    pub(super) fn list(&mut self, id: ZswapId) {
        self.records.get_mut(number(id)).is_referenced = true;
        self.link_young(number(id));
    }

    fn link_young(&mut self, number: u32) {
        let entry = self.records.get_mut(number);
        entry.is_listed = true;
        let lru = self.lrus.entry(entry.css).or_default();
        lru.by_age.push_last(&mut self.records, number);
        lru.len += 1;
    }

    fn unlink(&mut self, number: u32) {
        let entry = self.records.get_mut(number);
        if !std::mem::replace(&mut entry.is_listed, false) {
            return;
        }
        let css = entry.css;
        let lru = self.lrus.get_mut(&css).expect("a listed entry is on its group's list");
        lru.by_age.unlink(&mut self.records, number);
        lru.len -= 1;
        if (lru.len, lru.nr_disk_swapins) == (0, 0) {
            remove_and_shrink(&mut self.lrus, &css);
        }
    }

    /// Moves the listed entries of a removed group to the list of another group. There the moved entries keep their
    /// order and are older than all other entries. Returns the amounts that are charged for the moved entries.
    /// Kernel: `memcg_reparent_list_lrus`; differs: each entry names its group, so the function changes each entry.
    pub(super) fn reparent(&mut self, from: CssId, to: CssId) -> Compressed {
        let mut moved = Compressed::default();
        let Some(old) = remove_and_shrink(&mut self.lrus, &Some(from)) else { return moved };
        let lru = self.lrus.entry(Some(to)).or_default();
        lru.len += old.len;
        let mut number = old.by_age.last();
        while number != NIL {
            let older = self.records.get(number).older;
            let entry = self.records.get_mut(number);
            entry.css = Some(to);
            moved += entry.compressed();
            lru.by_age.push_first(&mut self.records, number);
            number = older;
        }
        if (lru.len, lru.nr_disk_swapins) == (0, 0) {
            remove_and_shrink(&mut self.lrus, &Some(to));
        }
        moved
    }

    /// Scans the oldest entry of a group and moves the entry to the young end of the list. If the entry has the
    /// reference mark, the function clears the mark and returns `Some(None)`, which gives the entry a second chance.
    /// If the entry has no mark, the function returns the entry. The returned entry also moves, because the next scan
    /// after a failed writeback must return a different entry. Returns `None` when the list is empty.
    pub(super) fn scan_oldest(&mut self, css: Option<CssId>) -> Option<Option<(ZswapId, SwpEntry)>> {
        let number = self.lrus.get(&css)?.by_age.first();
        let id = id(number)?;
        let entry = self.records.get_mut(number);
        let (swp, had_chance) = (entry.swp, !std::mem::replace(&mut entry.is_referenced, false));
        self.unlink(number);
        self.link_young(number);
        Some(had_chance.then_some((id, swp)))
    }

    /// Returns the number of entries on a group's list.
    pub(super) fn len(&self, css: Option<CssId>) -> u64 {
        self.lrus.get(&css).map_or(0, |lru| lru.len)
    }

    /// Counts a swap-in of a group that read from a device.
    pub(super) fn note_disk_swapin(&mut self, css: Option<CssId>) {
        self.lrus.entry(css).or_default().nr_disk_swapins += 1;
    }

    /// Lowers the count of a group's noted swap-ins and returns the difference. The difference is at most the number
    /// of entries on the group's list. The remaining count stays for the next call.
    pub(super) fn consume_disk_swapins(&mut self, css: Option<CssId>) -> u64 {
        let Some(lru) = self.lrus.get_mut(&css) else { return 0 };
        let taken = lru.nr_disk_swapins.min(lru.len);
        lru.nr_disk_swapins -= taken;
        taken
    }

    /// Returns the number of entries in use, and the bytes of the memory for entries.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.records.len(), self.records.bytes())
    }

    /// Calls `body` for every entry in use. `Swap::check` needs this function.
    pub(super) fn for_each(&self, mut body: impl FnMut(ZswapId, &Entry)) {
        self.records.iter().for_each(|(number, entry)| body(id(number).expect("a number in use"), entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: u64) -> Entry {
        Entry::new(SwpEntry::from_value(value), Handle::from_bits(0), 100, 0, None)
    }

    #[test]
    fn numbers_are_used_again_and_lists_keep_their_order() {
        let mut entries = Entries::default();
        let ids: Vec<ZswapId> = (1..=3).map(|value| entries.add(entry(value)).expect("memory")).collect();
        ids.iter().for_each(|&id| entries.list(id));
        entries.remove(ids[1]);
        assert_eq!((entries.totals().0, entries.len(None)), (2, 2));
        let again = entries.add(entry(4)).expect("memory");
        assert_eq!(again, ids[1], "the new entry gets the freed number");
        entries.list(again);
        // The first three scans return no entry, because each of these scans only clears the reference mark of one
        // entry.
        assert!((0..3).all(|_| entries.scan_oldest(None) == Some(None)));
        let taken: Vec<u64> =
            (0..3).filter_map(|_| entries.scan_oldest(None).flatten()).map(|(_, swp)| swp.value()).collect();
        assert_eq!(taken, [1, 3, 4], "oldest first");
        let mut seen = Vec::new();
        entries.for_each(|_, entry| seen.push(entry.swp.value()));
        assert_eq!(seen, [1, 4, 3]);
        [ids[0], ids[2], again].into_iter().for_each(|id| {
            entries.remove(id);
        });
        assert_eq!((entries.scan_oldest(None), entries.totals().0), (None, 0));
    }

    #[test]
    fn entries_of_a_removed_group_are_the_oldest_of_the_other_group() {
        let (from, to) = (CssId(2), CssId(1));
        let mut entries = Entries::default();
        for (value, css) in [(1, from), (2, to), (3, from), (4, to)] {
            let entry = Entry { css: Some(css), ..entry(value) };
            let id = entries.add(entry).expect("memory");
            entries.list(id);
        }
        entries.note_disk_swapin(Some(from));
        let moved = Compressed { nr_pages: 2, nr_incompressible_pages: 0, bytes: 200 };
        assert_eq!(entries.reparent(from, to), moved);
        assert_eq!([from, to].map(|css| entries.len(Some(css))), [0, 4]);
        assert!((0..4).all(|_| entries.scan_oldest(Some(to)) == Some(None)));
        let order: Vec<u64> =
            (0..4).filter_map(|_| entries.scan_oldest(Some(to)).flatten()).map(|(_, swp)| swp.value()).collect();
        assert_eq!(order, [1, 3, 2, 4]);
        assert_eq!(entries.reparent(from, to), Compressed::default());
        assert!(!entries.lrus.contains_key(&Some(from)));
    }

    #[test]
    fn noted_swapins_are_consumed_up_to_the_length_of_the_list() {
        let mut entries = Entries::default();
        (0..3).for_each(|_| entries.note_disk_swapin(None));
        let ids: Vec<ZswapId> = (1..=2).map(|value| entries.add(entry(value)).expect("memory")).collect();
        ids.iter().for_each(|&id| entries.list(id));
        assert_eq!((entries.consume_disk_swapins(None), entries.consume_disk_swapins(None)), (2, 1));
        assert_eq!(entries.consume_disk_swapins(Some(CssId::ROOT)), 0);
    }
}
