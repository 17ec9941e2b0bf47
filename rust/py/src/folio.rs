//! `Folio`: a minimal cached folio.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::entry::SwpEntry;

/// A minimal folio: what slot reclaim asks about cached pages.
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Folio {
    pub(crate) folio: Arc<swapcore::Folio>,
    /// The folio lock, as this object took it.
    is_locked_here: AtomicBool,
}

impl Folio {
    pub(crate) fn new(folio: Arc<swapcore::Folio>) -> Self {
        Self { folio, is_locked_here: AtomicBool::new(false) }
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        self.set_locked(false);
    }
}

// Relaxed in all of the flags: each is one independent fact.
#[pymethods]
impl Folio {
    /// The number that table entries hold for this folio while it is in the swap cache, else None.
    #[getter]
    fn pfn(&self) -> Option<u64> {
        self.folio.pfn().map(|pfn| pfn.0)
    }

    /// log2 of the pages.
    #[getter]
    fn order(&self) -> u8 {
        self.folio.order().get()
    }

    /// Pages of the folio.
    #[getter]
    fn nr_pages(&self) -> u32 {
        self.folio.nr_pages()
    }

    /// The first slot this folio owns in the swap cache, or None.
    #[getter]
    fn entry(&self) -> Option<SwpEntry> {
        self.folio.entry().map(|entry| SwpEntry { entry, order: self.folio.order() })
    }

    /// Somebody holds the folio lock; setting it takes or frees the lock on behalf of this object.
    #[getter]
    fn locked(&self) -> bool {
        self.folio.is_locked()
    }

    #[setter]
    fn set_locked(&self, locked: bool) {
        let held = self.is_locked_here.load(Ordering::Relaxed);
        if locked && !held && self.folio.try_lock() {
            self.is_locked_here.store(true, Ordering::Relaxed);
        } else if !locked && self.is_locked_here.swap(false, Ordering::Relaxed) {
            self.folio.unlock();
        }
    }

    /// Under write to its device.
    #[getter]
    fn writeback(&self) -> bool {
        self.folio.writeback.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_writeback(&self, writeback: bool) {
        self.folio.writeback.store(writeback, Ordering::Relaxed);
    }

    /// Mapped by some page table.
    #[getter]
    fn mapped(&self) -> bool {
        self.folio.mapped.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_mapped(&self, mapped: bool) {
        self.folio.mapped.store(mapped, Ordering::Relaxed);
    }

    /// Differs from what the device has.
    #[getter]
    fn dirty(&self) -> bool {
        self.folio.dirty.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_dirty(&self, dirty: bool) {
        self.folio.dirty.store(dirty, Ordering::Relaxed);
    }

    fn __eq__(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.folio, &other.folio)
    }

    fn __hash__(&self) -> usize {
        Arc::as_ptr(&self.folio).addr()
    }

    fn __repr__(&self) -> String {
        let owns = self.folio.entry().map_or("not cached".into(), |entry| entry.to_string());
        format!("<Folio of order {}, {owns}>", self.order())
    }
}
