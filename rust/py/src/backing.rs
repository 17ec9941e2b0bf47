//! What is behind a virtual slot, as Python sees it, and how `Swap` moves it.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::table::{Backing, EntryKind};
use swapcore::{CpuId, Order};

use crate::convert::EntryArg;
use crate::device::SwapDevice;
use crate::dump::slot_dict;
use crate::entry::SwpEntry;
use crate::errors::Result;
use crate::folio::Folio;
use crate::policy::detached;
use crate::swap::Swap;

fn single(entry: swapcore::SwpEntry) -> SwpEntry {
    SwpEntry { entry, order: Order::ZERO }
}

fn backing_dict<'py>(py: Python<'py>, backing: Backing, nr_pages: u32) -> Result<Bound<'py, PyDict>> {
    let entry = match backing {
        Backing::Swapfile(entry) => Some(single(entry)),
        Backing::None | Backing::Zero | Backing::Zswap | Backing::Folio => None,
    };
    let dict = PyDict::new(py);
    dict.set_item("type", backing.name())?;
    dict.set_item("entry", entry)?;
    dict.set_item("nr_pages", nr_pages)?;
    Ok(dict)
}

impl Swap {
    pub(crate) fn backing_of<'py>(
        &self,
        py: Python<'py>,
        entry: &EntryArg<'_>,
        nr_max: u32,
    ) -> Result<Bound<'py, PyDict>> {
        let (backing, nr_pages) = self.on_cpu(None)?.backing(entry.entry(), nr_max)?;
        backing_dict(py, backing, nr_pages)
    }

    /// One slot; of a slot that backs another whose it is, of a virtual one where its page lies.
    pub(crate) fn look_at<'py>(&self, py: Python<'py>, entry: &EntryArg<'_>) -> Result<Bound<'py, PyDict>> {
        let entry = entry.entry();
        let mut on_cpu = self.on_cpu(None)?;
        let word = on_cpu.lookup(entry)?;
        // A slot that backs another has no count of its own.
        let count = if word.kind() == EntryKind::Pointer { 0 } else { on_cpu.swap_count(entry)? };
        let backing = on_cpu.backing(entry, 1)?;
        drop(on_cpu);
        let slot = slot_dict(py, word, count)?;
        if let Some(owner) = word.owner() {
            slot.set_item("owner", single(owner))?;
            slot.set_item("cache_only", word.is_cache_only_pointer())?;
        } else if self.swap.device(entry.ty())?.is_virtual() {
            slot.set_item("backing", backing_dict(py, backing.0, backing.1)?)?;
        }
        Ok(slot)
    }

    pub(crate) fn realloc(&self, py: Python<'_>, folio: &Bound<'_, Folio>, cpu: CpuId) -> Result<SwpEntry> {
        let folio = &self.own_folio(folio)?.folio;
        let entry = detached(py, || folio.with(|folio| self.swap.folio_realloc_swap(folio, cpu)))?;
        Ok(SwpEntry { entry, order: folio.order() })
    }

    pub(crate) fn move_to(
        &self,
        py: Python<'_>,
        entry: &EntryArg<'_>,
        device: &SwapDevice,
        cpu: CpuId,
    ) -> Result<&'static str> {
        let (entry, to) = (entry.entry(), self.own(device)?.ty());
        Ok(detached(py, || self.swap.move_backing(entry, to, cpu))?.name())
    }
}
