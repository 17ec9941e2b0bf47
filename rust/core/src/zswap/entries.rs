//! The entries of zswap: a number for each entry, and for each group a list of its entries by age.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CssId, SwpEntry, ZswapId};
use crate::compress::zsmalloc::Handle;
use crate::containers::index_list::{IndexList, Links, NIL};

const CHUNK: usize = 1024;
/// End of the list of free numbers. Numbers begin at 1.
const NO_NUMBER: u32 = 0;

/// One page in zswap. Kernel: `struct zswap_entry`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The slot of the page.
    pub(crate) swp: SwpEntry,
    /// Place of the page's data in the pool.
    pub(super) handle: Handle,
    /// Group charged for the entry; `None` without memcg.
    pub(crate) css: Option<CssId>,
    /// Bytes of data; data of a whole page is not compressed.
    pub(crate) bytes: u16,
    /// Number of the pool that has the page's data.
    pub(super) pool: u8,
    is_referenced: bool,
    /// The entry is on its group's list, so the entry is published.
    pub(crate) is_listed: bool,
    /// Numbers of the next older and the next younger entry on the list. In a free number, `younger` is the next free
    /// number.
    older: u32,
    younger: u32,
}

impl Entry {
    /// Makes an entry that is on no list.
    pub(super) fn new(swp: SwpEntry, handle: Handle, bytes: usize, pool: u8, css: Option<CssId>) -> Self {
        let bytes = bytes as u16;
        Self { swp, handle, css, bytes, pool, is_referenced: false, is_listed: false, older: NIL, younger: NIL }
    }

    /// Returns what is charged for the entry.
    pub(crate) fn compressed(&self) -> Compressed {
        let nr_incompressible_pages = i64::from(usize::from(self.bytes) == PAGE_SIZE);
        Compressed { nr_pages: 1, nr_incompressible_pages, bytes: self.bytes.into() }
    }
}

/// What is charged for entries: their pages and their compressed bytes. A negative number uncharges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Compressed {
    pub(crate) nr_pages: i64,
    /// The part of `nr_pages` in pages that did not compress.
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

/// Every entry, by number.
#[derive(Debug, Default)]
struct Chunks(Vec<Box<[Entry]>>);

impl Chunks {
    fn get(&self, number: u32) -> &Entry {
        let at = number as usize - 1;
        &self.0[at / CHUNK][at % CHUNK]
    }

    fn get_mut(&mut self, number: u32) -> &mut Entry {
        let at = number as usize - 1;
        &mut self.0[at / CHUNK][at % CHUNK]
    }
}

impl Links for &mut Chunks {
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
    /// The entries by number, the oldest first.
    by_age: IndexList,
    len: u64,
    /// Swap-ins of the group that read from a device, less the swap-ins that `consume_disk_swapins` took. Kernel:
    /// `nr_disk_swapins`.
    nr_disk_swapins: u64,
}

/// All entries. The caller of each function holds the lock around the entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    chunks: Chunks,
    first_free: u32,
    /// The largest number that was ever used.
    nr_numbers: u32,
    nr_used: u64,
    lrus: HashMap<Option<CssId>, Lru>,
}

/// Makes the content of a free number: a link to the next free number, and no slot.
fn free_link(next: u32) -> Entry {
    Entry { younger: next, ..Entry::new(SwpEntry::NONE, Handle::from_bits(0), 0, 0, None) }
}

impl Entries {
    /// Gives an entry a number. Returns `None` when there is no free number or no memory.
    pub(super) fn add(&mut self, entry: Entry) -> Option<ZswapId> {
        let number = match self.first_free {
            NO_NUMBER => {
                let number = Some(self.nr_numbers + 1).filter(|&number| number != NIL)?;
                if number as usize > self.chunks.0.len() * CHUNK {
                    let mut chunk = Vec::new();
                    chunk.try_reserve_exact(CHUNK).ok()?;
                    chunk.resize(CHUNK, free_link(NO_NUMBER));
                    self.chunks.0.push(chunk.into());
                }
                self.nr_numbers = number;
                number
            }
            number => {
                self.first_free = self.chunks.get_mut(number).younger;
                number
            }
        };
        *self.chunks.get_mut(number) = entry;
        self.nr_used += 1;
        NonZeroU32::new(number).map(ZswapId)
    }

    /// Removes an entry from its list and frees the number of the entry.
    pub(super) fn remove(&mut self, id: ZswapId) -> Entry {
        let number = id.0.get();
        self.unlink(number);
        let entry = *self.chunks.get_mut(number);
        *self.chunks.get_mut(number) = free_link(self.first_free);
        self.first_free = number;
        self.nr_used -= 1;
        entry
    }

    /// Returns a copy of an entry.
    pub(super) fn get(&self, id: ZswapId) -> Entry {
        *self.chunks.get(id.0.get())
    }

    /// Puts an entry on the young end of its group's list and marks the entry as referenced, so that the entry
    /// survives its first scan.
    pub(super) fn list(&mut self, id: ZswapId) {
        self.chunks.get_mut(id.0.get()).is_referenced = true;
        self.link_young(id.0.get());
    }

    fn link_young(&mut self, number: u32) {
        let entry = self.chunks.get_mut(number);
        entry.is_listed = true;
        let lru = self.lrus.entry(entry.css).or_default();
        lru.by_age.push_last(&mut self.chunks, number);
        lru.len += 1;
    }

    fn unlink(&mut self, number: u32) {
        let entry = self.chunks.get_mut(number);
        if !std::mem::replace(&mut entry.is_listed, false) {
            return;
        }
        let css = entry.css;
        let lru = self.lrus.get_mut(&css).expect("a listed entry is on its group's list");
        lru.by_age.unlink(&mut self.chunks, number);
        lru.len -= 1;
        if (lru.len, lru.nr_disk_swapins) == (0, 0) {
            self.lrus.remove(&css);
        }
    }

    /// Moves the listed entries of a removed group to another group, ahead of the entries of that group, in their
    /// order. Returns what is charged for the moved entries. Kernel: `memcg_reparent_list_lrus`; differs: each entry
    /// names its group, so the move takes time for each entry.
    pub(super) fn reparent(&mut self, from: CssId, to: CssId) -> Compressed {
        let mut moved = Compressed::default();
        let Some(old) = self.lrus.remove(&Some(from)) else { return moved };
        let lru = self.lrus.entry(Some(to)).or_default();
        lru.len += old.len;
        let mut number = old.by_age.last();
        while number != NIL {
            let older = self.chunks.get(number).older;
            let entry = self.chunks.get_mut(number);
            entry.css = Some(to);
            moved += entry.compressed();
            lru.by_age.push_first(&mut self.chunks, number);
            number = older;
        }
        if (lru.len, lru.nr_disk_swapins) == (0, 0) {
            self.lrus.remove(&Some(to));
        }
        moved
    }

    /// Scans the oldest entry of a group and moves the entry to the young end of the list. A referenced entry only
    /// loses its mark, which is its second chance; the result is then `Some(None)`. An entry without the mark is
    /// returned. An entry that is returned moves too, because the next scan after a failed writeback must return
    /// another entry. Returns `None` when the list is empty.
    pub(super) fn scan_oldest(&mut self, css: Option<CssId>) -> Option<Option<(ZswapId, SwpEntry)>> {
        let number = self.lrus.get(&css)?.by_age.first();
        let id = ZswapId(NonZeroU32::new(number).filter(|_| number != NIL)?);
        let entry = self.chunks.get_mut(number);
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

    /// Subtracts noted swap-ins of a group, at most as many as the group's list has entries, and returns the number
    /// subtracted. The remaining swap-ins stay for the next call.
    pub(super) fn consume_disk_swapins(&mut self, css: Option<CssId>) -> u64 {
        let Some(lru) = self.lrus.get_mut(&css) else { return 0 };
        let taken = lru.nr_disk_swapins.min(lru.len);
        lru.nr_disk_swapins -= taken;
        taken
    }

    /// Returns the number of entries in use, and the bytes of the memory for all entries, used and free.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.nr_used, (self.chunks.0.len() * CHUNK * size_of::<Entry>()) as u64)
    }

    /// Calls `body` for every entry in use; for `check()`.
    pub(super) fn for_each(&self, mut body: impl FnMut(ZswapId, &Entry)) {
        let numbered = self.chunks.0.iter().flat_map(|chunk| chunk.iter()).zip(1..=self.nr_numbers);
        for (entry, number) in numbered {
            if let Some(number) = NonZeroU32::new(number).filter(|_| entry.swp != SwpEntry::NONE) {
                body(ZswapId(number), entry);
            }
        }
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
        // Every entry loses its reference mark before the first entry is returned.
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
