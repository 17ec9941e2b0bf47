//! The reference count of a folio, and the freeze that keeps lookups out. `tests/loom.rs` checks it under a memory model.

use crate::base::sync::atomics::{AtomicU32, Ordering, fence};

/// Counted references; 0 is frozen or free. Kernel: `_refcount` of a folio.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct FolioRefs(pub(crate) AtomicU32);

impl FolioRefs {
    /// Returns the count, a momentary number.
    pub(crate) fn get(&self) -> u32 {
        // Relaxed: who acts on it freezes.
        self.0.load(Ordering::Relaxed)
    }

    /// Takes a reference unless the folio is frozen or free; says whether it did. Kernel: `folio_try_get`.
    #[inline]
    pub(crate) fn try_get(&self) -> bool {
        // Relaxed: the exchange decides.
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen != 0 {
            // Acquire pairs with the Release in `publish`: the fields are those of this use, and whatever made the page
            // free before is seen too.
            match self.0.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Takes references beside one that is held. Kernel: `folio_ref_add`.
    pub(crate) fn add(&self, nr: u32) {
        // Relaxed: whoever adds has a reference already.
        let old = self.0.fetch_add(nr, Ordering::Relaxed);
        debug_assert!(old > 0, "a reference to a free folio");
    }

    /// Gives references back; says whether they were the last, and the caller frees the pages then. Kernel:
    /// `folio_put_refs`.
    #[must_use]
    pub(crate) fn put(&self, nr: u32) -> bool {
        // Release pairs with the Acquire below: what others did with the folio is done before its pages are reused.
        let old = self.0.fetch_sub(nr, Ordering::Release);
        debug_assert!(old >= nr, "{nr} references put, {old} are there");
        let is_last = old == nr;
        if is_last {
            fence(Ordering::Acquire);
        }
        is_last
    }

    /// Replaces exactly `nr` references by none, so that nobody can take one, or fails. Kernel: `folio_ref_freeze`.
    pub(crate) fn freeze(&self, nr: u32) -> bool {
        // Acquire pairs with the Release in `put`: nobody is still at it.
        self.0.compare_exchange(nr, 0, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Ends a freeze, or shows a new folio, with `nr` references. Kernel: `folio_ref_unfreeze`, `set_page_refcounted`.
    pub(crate) fn publish(&self, nr: u32) {
        // Release pairs with the Acquire in `try_get`.
        self.0.store(nr, Ordering::Release);
    }
}
