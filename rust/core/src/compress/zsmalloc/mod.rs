//! Memory for compressed pages, as objects of fixed sizes in zspages. A zspage is a group of pages that hold objects
//! of one size. A size class determines the size of its objects, and the number of pages in each of its zspages.
//!
//! A spin lock per class protects the free objects, and a reader-writer lock per zspage protects the stored data. No
//! thread waits for a lock of one kind while the thread holds a lock of the other kind: [`Pool::compact`], which
//! holds a class lock, only tries the locks of two zspages.

mod zspage;

use std::cmp::Reverse;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};

use crate::base::limits::PAGE_SIZE;
use crate::base::sync::SpinMutex;
use crossbeam_utils::CachePadded;
pub(crate) use zspage::Full;
use zspage::{Class, Memory, Spare};

/// The name of an object, which fits in 47 bits: the number of the class, the number of the zspage, and the index of
/// the object in the zspage. Kernel: the handle that `zs_malloc` returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Handle(u64);

impl Handle {
    /// Number of bits of the value of [`Handle::bits`].
    pub(crate) const BITS: u32 = 32 + 8 + 7;

    fn new(class: usize, zspage: u32, object: usize) -> Self {
        debug_assert!(class < 128 && object < OBJECTS_MAX, "a handle has no room");
        Self(u64::from(zspage) << 15 | (object as u64) << 7 | class as u64)
    }

    /// Returns the handle as a number that can be stored.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// Makes a handle from the number of [`Handle::bits`].
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    fn class(self) -> usize {
        (self.0 & 127) as usize
    }

    fn object(self) -> usize {
        (self.0 >> 7 & 255) as usize
    }

    fn zspage(self) -> u32 {
        (self.0 >> 15) as u32
    }
}

/// Totals of a pool, over all size classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PoolTotals {
    /// Number of objects.
    pub(crate) nr_objects: u64,
    /// Number of objects that have the size of a whole page.
    pub(crate) nr_huge: u64,
    /// Bytes of data in all objects, without the unused bytes of the objects.
    pub(crate) data_bytes: u64,
    /// Number of pages of all zspages.
    pub(crate) nr_pages: u64,
    /// Largest number of pages that the pool ever had.
    pub(crate) nr_pages_max: u64,
    /// Number of pages that compaction has freed.
    pub(crate) nr_compacted_pages: u64,
}

/// Memory for objects, divided into size classes. Kernel: `struct zs_pool`; differs: the memory of a zspage is
/// contiguous, so that no object lies in several parts that a read would have to copy together.
#[derive(Debug)]
pub(crate) struct Pool {
    sizes: Classes,
    classes: Box<[CachePadded<SpinMutex<Class>>]>,
    spare: CachePadded<SpinMutex<Spare>>,
    most_pages: AtomicU64,
    nr_pages: AtomicU64,
    nr_pages_max: AtomicU64,
    nr_compacted_pages: AtomicU64,
}

// Accesses to counters are Relaxed, because no thread concludes anything about other memory from a counter. The class
// locks order the accesses to the memory whose pages the counters count.
impl Pool {
    /// Makes an empty pool that never has more than `most_pages` pages. `u64::MAX` means no limit.
    pub(crate) fn new(most_pages: u64) -> Self {
        let sizes = Classes::new(CHAIN_PAGES_MAX);
        let classes =
            sizes.distinct.iter().map(|geometry| CachePadded::new(SpinMutex::new(Class::new(*geometry)))).collect();
        let [nr_pages, nr_pages_max, nr_compacted_pages] = [const { AtomicU64::new(0) }; 3];
        let spare = CachePadded::new(SpinMutex::new(Spare::new()));
        let most_pages = AtomicU64::new(most_pages);
        Self { sizes, classes, spare, most_pages, nr_pages, nr_pages_max, nr_compacted_pages }
    }

    /// Returns the number of pages of all zspages.
    pub(crate) fn nr_pages(&self) -> u64 {
        self.nr_pages.load(Relaxed)
    }

    /// Returns the limit of the pool, which is the largest number of pages that the pool may have; `u64::MAX` means
    /// no limit.
    pub(crate) fn most_pages(&self) -> u64 {
        self.most_pages.load(Relaxed)
    }

    /// Sets the limit of the pool, in pages. A pool that has more pages than the limit keeps its objects, and takes
    /// no new object.
    pub(crate) fn set_most_pages(&self, most_pages: u64) {
        self.most_pages.store(most_pages, Relaxed);
    }

    /// Sets the recorded largest number of pages to the present number of pages. Kernel: a write to zram's
    /// `mem_used_max`.
    pub(crate) fn restart_nr_pages_max(&self) {
        self.nr_pages_max.store(self.nr_pages(), Relaxed);
    }

    /// Sets the count of pages that compaction has freed to 0.
    pub(crate) fn restart_nr_compacted_pages(&self) {
        self.nr_compacted_pages.store(0, Relaxed);
    }

    /// Returns the largest number of data bytes that an object smaller than a page can hold.
    pub(crate) fn data_bytes_max(&self) -> usize {
        self.sizes.data_bytes_max()
    }

    /// Stores the data of the slot `owner` in a new object. Kernel: `zs_malloc` and `zs_obj_write`. Errors: [`Full`].
    #[inline]
    pub(crate) fn store(&self, owner: u32, data: &[u8]) -> Result<Handle, Full> {
        // The pool has more pages than its limit only after the limit was lowered. An object is then refused even if
        // a zspage has a free object, as in the kernel. The test for `u64::MAX` comes first, because a pool without a
        // limit then does not load `nr_pages`.
        let most_pages = self.most_pages();
        if most_pages != u64::MAX && self.nr_pages() > most_pages {
            return Err(Full::Limit);
        }
        let class = self.sizes.for_bytes(data.len());
        let geometry = self.sizes.distinct[class];
        let mut held = self.classes[class].lock();
        let (zspage, object, memory) = match held.take() {
            Some(taken) => taken,
            None => {
                drop(held);
                let memory = self.new_memory(geometry)?;
                held = self.classes[class].lock();
                if let Err(full) = held.add(memory) {
                    drop(held);
                    self.nr_pages.fetch_sub(geometry.nr_pages as u64, Relaxed);
                    return Err(full);
                }
                held.take().expect("a zspage was just added")
            }
        };
        held.nr_objects += 1;
        held.data_bytes += data.len() as u64;
        drop(held);
        let start = object * geometry.size_bytes;
        // A poisoned lock is used like any other lock, because a panic of another thread leaves valid bytes.
        let mut memory = memory.write().unwrap_or_else(PoisonError::into_inner);
        let (handle, rest) = memory[start..start + geometry.size_bytes].split_at_mut(geometry.handle_bytes());
        handle.copy_from_slice(&u64::from(owner).to_ne_bytes()[..geometry.handle_bytes()]);
        rest[..data.len()].copy_from_slice(data);
        Ok(Handle::new(class, zspage, object))
    }

    /// Calls `body` with the `bytes` bytes of an object, in place. Before that, `still_there` is called under the
    /// lock of the zspage, which prevents that the object is moved or overwritten. Returns `None` without a call of
    /// `body` when `still_there` returns false or the zspage is freed. Kernel: `zs_obj_read_begin`.
    #[inline]
    pub(crate) fn read<R>(
        &self,
        handle: Handle,
        bytes: usize,
        still_there: impl FnOnce() -> bool,
        body: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let geometry = self.sizes.distinct[handle.class()];
        let memory = self.classes[handle.class()].lock().memory_of(handle.zspage())?;
        let start = handle.object() * geometry.size_bytes + geometry.handle_bytes();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        still_there().then(|| body(&memory[start..start + bytes]))
    }

    /// Frees an object with `bytes` bytes of data. The call does not take the lock of a zspage, which other threads
    /// hold while they copy data, so it never waits for such a copy. Kernel: `zs_free`.
    pub(crate) fn free(&self, handle: Handle, bytes: usize) {
        let mut held = self.classes[handle.class()].lock();
        held.nr_objects -= 1;
        held.data_bytes -= bytes as u64;
        let emptied = held.give(handle.zspage(), handle.object());
        drop(held);
        if let Some(memory) = emptied {
            self.give_back(self.sizes.distinct[handle.class()].nr_pages, memory);
        }
    }

    /// Moves objects from the emptiest zspages to the fullest zspages, and frees the zspages that become empty. Also
    /// frees the spare memory, which the pool keeps for reuse. Returns the number of freed pages, without the pages
    /// of the spare memory.
    ///
    /// `moved` is called for each object with the object's owner, old handle and new handle. `moved` makes the owner
    /// use the new handle, and returns whether it did so. Kernel: `zs_compact`.
    pub(crate) fn compact(&self, moved: impl Fn(u32, Handle, Handle) -> bool) -> u64 {
        let pages = self.classes.iter().enumerate().map(|(i, class)| self.compact_class(i, class, &moved)).sum();
        self.release_spare();
        self.nr_compacted_pages.fetch_add(pages, Relaxed);
        pages
    }

    fn compact_class(&self, i: usize, class: &SpinMutex<Class>, moved: impl Fn(u32, Handle, Handle) -> bool) -> u64 {
        let Geometry { size_bytes, nr_pages, nr_objects } = self.sizes.distinct[i];
        let mut pages = 0;
        loop {
            let mut held = class.lock();
            let Some((from, to)) = held.ends().filter(|_| held.can_compact()) else { return pages };
            let Some(from_memory) = held.memory_of(from) else { return pages };
            // The locks of both zspages are only tried, because this thread holds a class lock and must not sleep. A
            // zspage that another thread uses stays unchanged until a later compaction.
            let Ok(from_bytes) = from_memory.try_write() else { return pages };
            let mut nr_moved = 0;
            for object in 0..nr_objects {
                if !held.is_used(from, object) {
                    continue;
                }
                if held.is_full(to) {
                    break;
                }
                let old = &from_bytes[object * size_bytes..][..size_bytes];
                let owner = u64::from_ne_bytes(old[..HANDLE_SIZE].try_into().expect("8 bytes"));
                let (place, to_memory) = held.take_of(to);
                let Ok(mut to_bytes) = to_memory.try_write() else {
                    held.give(to, place);
                    break;
                };
                to_bytes[place * size_bytes..][..size_bytes].copy_from_slice(old);
                let (old, new) = (Handle::new(i, from, object), Handle::new(i, to, place));
                if moved(owner as u32, old, new) {
                    nr_moved += 1;
                    if let Some(memory) = held.give(from, object) {
                        pages += nr_pages as u64;
                        self.give_back(nr_pages, memory);
                        break;
                    }
                } else {
                    held.give(to, place);
                }
            }
            if nr_moved == 0 {
                return pages;
            }
        }
    }

    /// Frees the memory that the pool keeps for reuse.
    pub(crate) fn release_spare(&self) {
        let spare = self.spare.lock().take_all();
        drop(spare);
    }

    /// Returns the bytes that the pool takes in addition to the pages of its zspages: the records of the zspages, and
    /// the spare memory, which the pool keeps for reuse.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let records: u64 = self.classes.iter().map(|class| class.lock().record_bytes()).sum();
        records + self.spare.lock().bytes()
    }

    /// Returns the totals of the pool. The totals are exact when no other thread uses the pool.
    pub(crate) fn totals(&self) -> PoolTotals {
        let mut totals = PoolTotals {
            nr_pages: self.nr_pages.load(Relaxed),
            nr_pages_max: self.nr_pages_max.load(Relaxed),
            nr_compacted_pages: self.nr_compacted_pages.load(Relaxed),
            ..PoolTotals::default()
        };
        for class in &self.classes {
            let held = class.lock();
            totals.nr_objects += held.nr_objects;
            totals.data_bytes += held.data_bytes;
            totals.nr_huge += if held.geometry.is_huge() { held.nr_objects } else { 0 };
        }
        totals
    }

    fn new_memory(&self, geometry: Geometry) -> Result<Memory, Full> {
        let most_pages = self.most_pages();
        let more = |pages: u64| Some(pages + geometry.nr_pages as u64).filter(|&pages| pages <= most_pages);
        let before = self.nr_pages.fetch_update(Relaxed, Relaxed, more).map_err(|_| Full::Limit)?;
        self.nr_pages_max.fetch_max(before + geometry.nr_pages as u64, Relaxed);
        if let Some(memory) = self.spare.lock().take(geometry.nr_pages) {
            return Ok(memory);
        }
        let (mut bytes, size) = (Vec::new(), geometry.nr_pages * PAGE_SIZE);
        if bytes.try_reserve_exact(size).is_err() {
            self.nr_pages.fetch_sub(geometry.nr_pages as u64, Relaxed);
            return Err(Full::System);
        }
        bytes.resize(size, 0);
        Ok(Arc::new(RwLock::new(bytes.into())))
    }

    /// Keeps the memory of a freed zspage for reuse, or frees the memory. A late reader of a freed object can still
    /// hold a reference to the memory; the `still_there` of this reader returns false, so it does not use the bytes.
    fn give_back(&self, nr_pages: usize, memory: Memory) {
        self.nr_pages.fetch_sub(nr_pages as u64, Relaxed);
        // `keep` returns the memory when the spare memory has reached its limit. The memory is then freed in the next
        // statement, after the lock of `spare` is released.
        let too_much = self.spare.lock().keep(nr_pages, memory);
        drop(too_much);
    }
}

/// Number of bytes in front of the data of an object. These bytes hold the object's owner. Kernel: `ZS_HANDLE_SIZE`.
pub(super) const HANDLE_SIZE: usize = 8;
/// Largest number of pages of a zspage. Kernel: `CONFIG_ZSMALLOC_CHAIN_SIZE`.
pub(super) const CHAIN_PAGES_MAX: usize = 8;
/// Number of object sizes. Sizes with equal geometry are then merged into one class. Kernel: `ZS_SIZE_CLASSES`.
pub(super) const NR_SIZES: usize = 255;
/// Largest number of objects of a zspage. A test checks this limit for every class.
pub(super) const OBJECTS_MAX: usize = 256;

const SIZE_MIN: usize = 32;
const SIZE_STEP: usize = 16;

/// The geometry of a class: the size and the number of the objects of a zspage, and the number of its pages. Kernel:
/// `struct size_class`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Size of an object in bytes.
    pub(super) size_bytes: usize,
    /// Number of pages of a zspage.
    pub(super) nr_pages: usize,
    /// Number of objects of a zspage.
    pub(super) nr_objects: usize,
}

impl Geometry {
    /// Chooses the number of pages of a zspage (the chain length): the number with the least waste in whole percent,
    /// and of several such numbers the smallest. The waste is compared in percent, because this comparison gives, for
    /// each chain length, the number of classes that the kernel's documentation lists. A comparison of the waste in
    /// bytes gives other numbers.
    fn of(size_bytes: usize, chain_pages_max: usize) -> Self {
        let used_percent = |pages: usize| pages * PAGE_SIZE / size_bytes * size_bytes * 100 / (pages * PAGE_SIZE);
        let nr_pages = (1..=chain_pages_max).min_by_key(|&pages| Reverse(used_percent(pages))).unwrap_or(1);
        Self { size_bytes, nr_pages, nr_objects: nr_pages * PAGE_SIZE / size_bytes }
    }

    /// Returns whether an object fills a whole page. Such an object does not store its owner in front of the data.
    pub(super) fn is_huge(self) -> bool {
        self.nr_objects == 1
    }

    fn handle_bytes(self) -> usize {
        if self.is_huge() { 0 } else { HANDLE_SIZE }
    }
}

/// The distinct classes, in descending order of object size, and for each object size the class that holds objects of
/// that size.
#[derive(Debug)]
pub(super) struct Classes {
    pub(super) distinct: Vec<Geometry>,
    of_size: [u8; NR_SIZES],
}

impl Classes {
    /// Makes the classes. Object sizes for which a zspage has the same number of pages and the same number of objects
    /// share one class, which has the largest of these sizes. Kernel: `zs_create_pool`.
    pub(super) fn new(chain_pages_max: usize) -> Self {
        let (mut distinct, mut of_size) = (Vec::<Geometry>::new(), [0; NR_SIZES]);
        for (i, class) in of_size.iter_mut().enumerate().rev() {
            let new = Geometry::of(SIZE_MIN + i * SIZE_STEP, chain_pages_max);
            let merges = |last: &Geometry| last.nr_pages == new.nr_pages && last.nr_objects == new.nr_objects;
            if !distinct.last().is_some_and(merges) {
                distinct.push(new);
            }
            *class = (distinct.len() - 1) as u8;
        }
        Self { distinct, of_size }
    }

    /// Returns the class for data of `bytes` bytes. The class of the largest size holds data of a whole page, without
    /// the owner in front of the data.
    #[inline]
    pub(super) fn for_bytes(&self, bytes: usize) -> usize {
        let index = (bytes + HANDLE_SIZE).saturating_sub(SIZE_MIN).div_ceil(SIZE_STEP);
        self.of_size[index.min(NR_SIZES - 1)].into()
    }

    /// Returns the largest number of data bytes that an object smaller than a page can hold. Kernel:
    /// `huge_class_size`.
    pub(super) fn data_bytes_max(&self) -> usize {
        let watermark = self.distinct.iter().find(|class| !class.is_huge()).map_or(0, |class| class.size_bytes);
        watermark.saturating_sub(HANDLE_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_classes_and_watermarks_are_those_of_zsmalloc() {
        for (chain, watermark, nr) in
            [(4, 3264, 69), (5, 3408, 86), (6, 3504, 93), (7, 3584, 112), (8, 3632, 123), (16, 3840, 191)]
        {
            let classes = Classes::new(chain);
            assert_eq!((classes.data_bytes_max() + HANDLE_SIZE, classes.distinct.len()), (watermark, nr), "{chain}");
        }
    }

    #[test]
    fn the_chain_wastes_least() {
        let class = Geometry::of(1568, CHAIN_PAGES_MAX);
        assert_eq!(class, Geometry { size_bytes: 1568, nr_pages: 5, nr_objects: 13 });
    }

    #[test]
    fn an_object_of_each_length_fits_its_class() {
        let classes = Classes::new(CHAIN_PAGES_MAX);
        for bytes in 1..=classes.data_bytes_max() {
            let class = classes.distinct[classes.for_bytes(bytes)];
            assert!(bytes + HANDLE_SIZE <= class.size_bytes && !class.is_huge(), "{bytes} in {class:?}");
        }
        assert_eq!(classes.data_bytes_max(), 3624);
        let whole = classes.distinct[classes.for_bytes(PAGE_SIZE)];
        assert_eq!(whole, Geometry { size_bytes: PAGE_SIZE, nr_pages: 1, nr_objects: 1 });
        assert!(classes.distinct.iter().all(|class| class.nr_objects <= OBJECTS_MAX));
    }
}
