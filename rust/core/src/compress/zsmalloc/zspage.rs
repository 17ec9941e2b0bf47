//! The zspages of one class, with lists of zspages by fullness and with the free objects of each zspage. This file
//! also has the spare memory, which is the memory of freed zspages that is kept for reuse.

use std::sync::{Arc, RwLock};

use super::{CHAIN_PAGES_MAX, Geometry, OBJECTS_MAX};
use crate::base::limits::{PAGE_SIZE, ZRAM_SPARE_PAGES_MAX};
use crate::containers::index_list::{IndexList, Links, NIL};
use crate::containers::slab::Slab;

const WORDS: usize = OBJECTS_MAX / 64;
/// Number of fullness groups of 10 % each. A full zspage is in no group. Kernel: `enum fullness_group`.
const NR_GROUPS: usize = 10;

/// The reason why data cannot be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    /// The pool has no room for more pages under the pool's limit.
    Limit,
    /// The system has no memory.
    System,
}

/// The bytes of a zspage, contiguous, under a reader-writer lock. Readers share the lock, because a reader holds the
/// lock for as long as it decompresses a page. A thread that waits for the lock can sleep, so a thread that holds a
/// spin lock only tries to take the lock.
pub(super) type Memory = Arc<RwLock<Box<[u8]>>>;

/// One zspage: its memory, one bit for each object, and its place on a list. Kernel: `struct zspage`; differs: the
/// kernel links the free objects through the memory of the zspage, and here the bits of `used` mark the objects in
/// use. With bits, taking or freeing an object does not access the memory of the object.
#[derive(Debug)]
struct Zspage {
    memory: Option<Memory>,
    used: [u64; WORDS],
    inuse: u16,
    /// The fullness group whose list has the zspage, or `NR_GROUPS` when no list has the zspage.
    group: u8,
    prev: u32,
    next: u32,
}

impl Default for Zspage {
    /// Makes an empty zspage without memory, which is on no list.
    fn default() -> Self {
        Self { memory: None, used: [0; WORDS], inuse: 0, group: NR_GROUPS as u8, prev: NIL, next: NIL }
    }
}

impl Links for &mut Slab<Zspage> {
    fn links(&self, at: u32) -> (u32, u32) {
        let Zspage { prev, next, .. } = *self.get(at);
        (prev, next)
    }

    fn set_links(&mut self, at: u32, prev: u32, next: u32) {
        let zspage = self.get_mut(at);
        (zspage.prev, zspage.next) = (prev, next);
    }

    fn set_prev(&mut self, at: u32, prev: u32) -> bool {
        (at != NIL).then(|| self.get_mut(at).prev = prev).is_some()
    }

    fn set_next(&mut self, at: u32, next: u32) -> bool {
        (at != NIL).then(|| self.get_mut(at).next = next).is_some()
    }
}

/// The zspages of a class and the lists of the zspages. Kernel: `struct size_class`.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) geometry: Geometry,
    /// The zspages that have memory. When the memory of a zspage is freed, the record of the zspage is freed too.
    zspages: Slab<Zspage>,
    groups: [IndexList; NR_GROUPS],
    /// Number of objects in use. The pool updates this number.
    pub(super) nr_objects: u64,
    /// Bytes of data in all objects. The pool updates this number.
    pub(super) data_bytes: u64,
}

impl Class {
    /// Makes the record of a class that has no zspages yet.
    pub(super) fn new(geometry: Geometry) -> Self {
        let groups = [IndexList::default(); NR_GROUPS];
        Self { geometry, zspages: Slab::default(), groups, nr_objects: 0, data_bytes: 0 }
    }

    /// Returns the memory of a zspage, or `None` when the zspage is freed.
    pub(super) fn memory_of(&self, zspage: u32) -> Option<Memory> {
        self.zspages.find(zspage)?.memory.clone()
    }

    /// Returns whether an object is in use.
    pub(super) fn is_used(&self, zspage: u32, object: usize) -> bool {
        self.zspages.get(zspage).used[object / 64] >> (object % 64) & 1 == 1
    }

    /// Returns whether a zspage has no free object.
    pub(super) fn is_full(&self, zspage: u32) -> bool {
        usize::from(self.zspages.get(zspage).inuse) == self.geometry.nr_objects
    }

    fn at(&mut self, zspage: u32) -> &mut Zspage {
        self.zspages.get_mut(zspage)
    }

    fn unlink(&mut self, zspage: u32) {
        let group = usize::from(self.at(zspage).group);
        if group == NR_GROUPS {
            return;
        }
        self.groups[group].unlink(&mut self.zspages, zspage);
        self.at(zspage).group = NR_GROUPS as u8;
    }

    /// Puts a zspage on the list of the fullness group to which it now belongs. Kernel: `fix_fullness_group`.
    fn regroup(&mut self, zspage: u32) {
        let wanted = usize::from(self.at(zspage).inuse) * NR_GROUPS / self.geometry.nr_objects;
        if wanted == usize::from(self.at(zspage).group) {
            return;
        }
        self.unlink(zspage);
        if wanted < NR_GROUPS {
            self.groups[wanted].push_first(&mut self.zspages, zspage);
            self.at(zspage).group = wanted as u8;
        }
    }

    /// Adds an empty zspage with the given memory. Errors: `System` when no zspage number or no memory for the record
    /// of the zspage is available.
    pub(super) fn add(&mut self, memory: Memory) -> Result<(), Full> {
        let zspage = Zspage { memory: Some(memory), ..Zspage::default() };
        let zspage = self.zspages.insert(zspage).ok_or(Full::System)?;
        self.regroup(zspage);
        Ok(())
    }

    /// Takes a free object of a given zspage. The zspage has a free object. Returns the index of the object and the
    /// memory of the zspage.
    pub(super) fn take_of(&mut self, zspage: u32) -> (usize, Memory) {
        let here = self.at(zspage);
        let word = here.used.iter().position(|&word| word != u64::MAX).expect("a listed zspage has a free object");
        let object = word * 64 + here.used[word].trailing_ones() as usize;
        here.used[word] |= 1 << (object % 64);
        here.inuse += 1;
        let memory = here.memory.clone().expect("a listed zspage has memory");
        debug_assert!(object < self.geometry.nr_objects, "a listed zspage has a free object");
        self.regroup(zspage);
        (object, memory)
    }

    /// Takes a free object of a zspage in the fullest group that has a zspage. Returns the number of the zspage, the
    /// index of the object, and the memory of the zspage. Returns `None` when no zspage has a free object.
    pub(super) fn take(&mut self) -> Option<(u32, usize, Memory)> {
        let zspage = self.groups.iter().rev().map(IndexList::first).find(|&first| first != NIL)?;
        let (object, memory) = self.take_of(zspage);
        Some((zspage, object, memory))
    }

    /// Frees an object. Returns the memory of the zspage when the zspage becomes empty.
    pub(super) fn give(&mut self, zspage: u32, object: usize) -> Option<Memory> {
        debug_assert!(self.is_used(zspage, object), "free of a free object");
        let here = self.at(zspage);
        here.used[object / 64] &= !(1 << (object % 64));
        here.inuse -= 1;
        if here.inuse > 0 {
            self.regroup(zspage);
            return None;
        }
        self.unlink(zspage);
        self.zspages.remove(zspage).memory
    }

    /// Returns the bytes of the records of the zspages.
    pub(super) fn record_bytes(&self) -> u64 {
        self.zspages.bytes()
    }

    /// Returns whether a compaction of the class can empty at least one zspage. Kernel: `zs_can_compact`.
    pub(super) fn can_compact(&self) -> bool {
        let objects_each = self.geometry.nr_objects as u64;
        self.zspages.len() * objects_each - self.nr_objects >= objects_each
    }

    /// Returns the emptiest and the fullest of the zspages that have a free object. Returns `None` when fewer than
    /// two zspages have a free object.
    pub(super) fn ends(&self) -> Option<(u32, u32)> {
        let mut heads = self.groups.iter().map(IndexList::first).filter(|&first| first != NIL);
        let emptiest = heads.next()?;
        let fullest = heads.next_back().unwrap_or(self.zspages.get(emptiest).next);
        (fullest != NIL).then_some((emptiest, fullest))
    }
}

/// The spare memory: memory of freed zspages, which is kept for reuse, in one list for each number of pages. While
/// the spare memory is below its limit, a free of a zspage therefore does not call the system's allocator. The page
/// counters of the pool do not count spare memory, but [`super::Pool::kept_bytes`] does. Kernel: the per-CPU page
/// lists below the page allocator.
#[derive(Debug)]
pub(super) struct Spare {
    by_pages: [Vec<Memory>; CHAIN_PAGES_MAX],
    nr_pages: usize,
}

impl Spare {
    /// Makes the spare memory, with an empty list for each number of pages.
    pub(super) fn new() -> Self {
        // The lists get their full capacity here, because a list must not grow during a free.
        let list = |pages: usize| Vec::with_capacity(ZRAM_SPARE_PAGES_MAX / pages);
        Self { by_pages: std::array::from_fn(|i| list(i + 1)), nr_pages: 0 }
    }

    /// Takes a piece of spare memory with `nr_pages` pages. The memory still has its old content. Returns `None` when
    /// the list is empty.
    pub(super) fn take(&mut self, nr_pages: usize) -> Option<Memory> {
        let memory = self.by_pages[nr_pages - 1].pop()?;
        self.nr_pages -= nr_pages;
        Some(memory)
    }

    /// Keeps `memory` as spare memory. Returns `memory` when the spare memory has reached its limit.
    pub(super) fn keep(&mut self, nr_pages: usize, memory: Memory) -> Option<Memory> {
        if self.nr_pages + nr_pages > ZRAM_SPARE_PAGES_MAX {
            return Some(memory);
        }
        self.nr_pages += nr_pages;
        self.by_pages[nr_pages - 1].push(memory);
        None
    }

    /// Removes and returns all spare memory. The lists keep their capacity.
    pub(super) fn take_all(&mut self) -> Vec<Memory> {
        self.nr_pages = 0;
        self.by_pages.iter_mut().flat_map(|list| list.drain(..)).collect()
    }

    /// Returns the bytes of the spare memory and of its lists.
    pub(super) fn bytes(&self) -> u64 {
        let nr_listed: usize = self.by_pages.iter().map(Vec::capacity).sum();
        (self.nr_pages * PAGE_SIZE + nr_listed * size_of::<Memory>()) as u64
    }
}
