//! The reference count of a folio, and the freeze that excludes lookups. `rust/core/tests/loom.rs` checks both under
//! a memory model.

use crate::base::sync::atomics::{AtomicU32, Ordering, fence};

/// The count of references. 0 means frozen or free. Kernel: `_refcount` of a folio.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct FolioRefs(pub(crate) AtomicU32);

impl FolioRefs {
    /// Returns a snapshot of the count.
    pub(crate) fn get(&self) -> u32 {
        // Relaxed: a caller that must rely on the count uses `freeze` instead.
        self.0.load(Ordering::Relaxed)
    }

    /// Takes a reference unless the folio is frozen or free. Returns whether a reference was taken. Kernel:
    /// `folio_try_get`.
    #[inline]
    pub(crate) fn try_get(&self) -> bool {
        // Relaxed: the compare-exchange below detects a stale value.
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen != 0 {
            // Acquire pairs with the Release in `publish`: this thread reads the fields of the folio that now has the
            // page, and sees every write that came before the page was freed.
            match self.0.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Takes `nr` references; the caller already holds a reference. Kernel: `folio_ref_add`.
    pub(crate) fn add(&self, nr: u32) {
        // Relaxed: the caller already holds a reference.
        let old = self.0.fetch_add(nr, Ordering::Relaxed);
        debug_assert!(old > 0, "a reference to a free folio");
    }

    /// Drops `nr` references. Returns whether these were the last references. If so, the caller frees the pages.
    /// Kernel: `folio_put_refs`.
    #[must_use]
    pub(crate) fn put(&self, nr: u32) -> bool {
        // Release pairs with the Acquire fence below: the accesses of all threads to the folio happen before its
        // pages are reused.
        let old = self.0.fetch_sub(nr, Ordering::Release);
        debug_assert!(old >= nr, "{nr} references dropped, but only {old} exist");
        let is_last = old == nr;
        if is_last {
            fence(Ordering::Acquire);
        }
        is_last
    }

    /// Replaces a count of exactly `nr` by 0, so that no thread can take a reference. Returns false when the count is
    /// not `nr`. Kernel: `folio_ref_freeze`.
    pub(crate) fn freeze(&self, nr: u32) -> bool {
        // Acquire pairs with the Release in `put`: every access through a dropped reference happens before the
        // freeze.
        self.0.compare_exchange(nr, 0, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Sets the count to `nr`, which ends a freeze or publishes a new folio. Kernel: `folio_ref_unfreeze`,
    /// `set_page_refcounted`.
    pub(crate) fn publish(&self, nr: u32) {
        // Release pairs with the Acquire in `try_get`.
        self.0.store(nr, Ordering::Release);
    }
}
