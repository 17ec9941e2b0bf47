//! A minimal cached folio: what slot reclaim asks about a page, and the registry that finds it by PFN.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sync::{SpinMutex, SpinWord};
use crate::types::{Order, Pfn, SwpEntry};

/// Pages that may own a run of swap slots. Kernel: `struct folio`; differs: no data, no mapping, flags only.
#[derive(Debug)]
pub struct Folio {
    order: Order,
    /// The folio lock: held by whoever changes which slots the folio owns.
    pub(crate) lock: SpinWord,
    /// First slot owned, 0 when not in the swap cache; written with the folio locked.
    entry: AtomicU64,
    /// The folio's number while it is in the swap cache, else 0.
    pfn: AtomicU64,
    /// The registry it is, or was last, in.
    home: AtomicU64,
    /// Under write to its device.
    pub writeback: AtomicBool,
    /// Mapped by some page table.
    pub mapped: AtomicBool,
    /// Differs from what the device has.
    pub dirty: AtomicBool,
}

impl Folio {
    /// Makes a folio that is unlocked, clean, not mapped and not cached.
    pub fn new(order: Order) -> Arc<Self> {
        Arc::new(Self {
            order,
            lock: SpinWord::default(),
            entry: AtomicU64::new(0),
            pfn: AtomicU64::new(0),
            home: AtomicU64::new(0),
            writeback: AtomicBool::new(false),
            mapped: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
        })
    }

    /// Returns log2 of the pages.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Returns the pages.
    pub fn nr_pages(&self) -> u32 {
        self.order.nr_pages()
    }

    /// Returns the first slot owned, or `None` when the folio is not in the swap cache.
    pub fn entry(&self) -> Option<SwpEntry> {
        // Acquire pairs with the Release in `set_entry`: the entry names slots that already hold the folio.
        let value = self.entry.load(Ordering::Acquire);
        (value != 0).then_some(SwpEntry::from_value(value))
    }

    /// Returns the number that table entries hold, or `None` when the folio is not in the swap cache.
    pub fn pfn(&self) -> Option<Pfn> {
        // Relaxed: a plain number, read for display or by the holder of the folio lock.
        let pfn = self.pfn.load(Ordering::Relaxed);
        (pfn != 0).then_some(Pfn(pfn))
    }

    /// Locks the folio unless somebody holds it; says whether it did.
    pub fn try_lock(&self) -> bool {
        self.lock.try_lock()
    }

    /// Unlocks the folio; only for who locked it.
    pub fn unlock(&self) {
        self.lock.unlock();
    }

    /// Says whether the folio is locked.
    pub fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    pub(crate) fn set_entry(&self, entry: SwpEntry) {
        // Release pairs with the Acquire in `entry`.
        self.entry.store(entry.value(), Ordering::Release);
    }

    /// Says whether this folio owns a slot.
    pub(crate) fn covers(&self, slot: SwpEntry) -> bool {
        self.entry()
            .is_some_and(|first| (first.value()..first.value() + self.nr_pages() as u64).contains(&slot.value()))
    }
}

#[derive(Debug, Default)]
struct Slab {
    folios: Vec<Option<Arc<Folio>>>,
    free: Vec<usize>,
    pages: u64,
}

/// Cached folios by PFN. Numbers are reused, so who looks one up without a lock checks that it covers the slot.
#[derive(Debug)]
pub(crate) struct FolioRegistry {
    slab: SpinMutex<Slab>,
    /// Told apart from the registries of other subsystems, whose folios a caller may mix up.
    id: u64,
}

impl Default for FolioRegistry {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only the numbers matter, and each is handed out once.
        Self { slab: SpinMutex::default(), id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl FolioRegistry {
    /// Registers a folio that is about to enter the cache. Called with the folio locked.
    pub(crate) fn insert(&self, folio: &Arc<Folio>) -> Pfn {
        let mut slab = self.slab.lock();
        let index = slab.free.pop().unwrap_or_else(|| {
            slab.folios.push(None);
            slab.folios.len() - 1
        });
        slab.folios[index] = Some(folio.clone());
        slab.pages += folio.nr_pages() as u64;
        folio.home.store(self.id, Ordering::Relaxed);
        // Relaxed, both: read again only under the folio lock that is held, or for display.
        folio.pfn.store(index as u64 + 1, Ordering::Relaxed);
        Pfn(index as u64 + 1)
    }

    /// Forgets a folio that has left the cache or did not get in. Called with the folio locked.
    pub(crate) fn remove(&self, folio: &Folio) {
        let mut slab = self.slab.lock();
        let index = folio.pfn.swap(0, Ordering::Relaxed) as usize - 1;
        slab.folios[index] = None;
        slab.free.push(index);
        slab.pages -= folio.nr_pages() as u64;
    }

    /// Says whether a cached folio is one of this registry's. Called with the folio locked.
    pub(crate) fn owns(&self, folio: &Folio) -> bool {
        folio.home.load(Ordering::Relaxed) == self.id
    }

    /// Returns the folio with a number, with a reference.
    pub(crate) fn get(&self, pfn: Pfn) -> Option<Arc<Folio>> {
        self.slab.lock().folios.get((pfn.0 as usize).wrapping_sub(1))?.clone()
    }

    /// Returns the pages of all folios registered.
    pub(crate) fn nr_pages(&self) -> u64 {
        self.slab.lock().pages
    }
}
