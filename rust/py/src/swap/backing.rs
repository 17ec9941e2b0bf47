//! Methods of `Swap` that return the place of a virtual slot's page, and methods that move the page to another place.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::table::Backing;

use super::Swap;
use crate::border::calls::detached;
use crate::border::errors::Result;
use crate::border::number::{Cpu, NrSlots};
use crate::device::SwapDevice;
use crate::folio::Folio;
use crate::slots::args::EntryArg;
use crate::slots::entry::SwpEntry;

pub(super) fn backing_dict<'py>(py: Python<'py>, backing: Backing, nr_pages: u32) -> Result<Bound<'py, PyDict>> {
    let entry = match backing {
        Backing::Swapfile(entry) => Some(SwpEntry::single(entry)),
        Backing::None | Backing::Zero | Backing::Zswap | Backing::Folio => None,
    };
    let dict = PyDict::new(py);
    dict.set_item("type", backing.name())?;
    dict.set_item("entry", entry)?;
    dict.set_item("nr_pages", nr_pages)?;
    Ok(dict)
}

#[pymethods]
impl Swap {
    #[doc = stub!(Swap.backing)]
    #[pyo3(signature = (entry, nr = None, *, cpu = None))]
    fn backing<'py>(
        &self,
        py: Python<'py>,
        entry: EntryArg<'_>,
        nr: Option<NrSlots>,
        cpu: Option<Cpu>,
    ) -> Result<Bound<'py, PyDict>> {
        let (backing, nr_pages) = self.on_cpu(cpu)?.backing(entry.entry(), entry.nr_pages(nr))?;
        backing_dict(py, backing, nr_pages)
    }

    #[doc = stub!(Swap.folio_realloc_swap)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_realloc_swap(&self, py: Python<'_>, folio: &Bound<'_, Folio>, cpu: Option<Cpu>) -> Result<SwpEntry> {
        let cpu = self.cpu(cpu)?;
        let folio = &self.own_folio(folio)?.folio;
        let entry = detached(py, || folio.with(|folio| self.swap.folio_realloc_swap(folio, cpu)))?;
        Ok(SwpEntry { entry, order: folio.order() })
    }

    #[doc = stub!(Swap.move_backing)]
    #[pyo3(signature = (entry, device, *, cpu = None))]
    fn move_backing(
        &self,
        py: Python<'_>,
        entry: EntryArg<'_>,
        device: &Bound<'_, SwapDevice>,
        cpu: Option<Cpu>,
    ) -> Result<&'static str> {
        let cpu = self.cpu(cpu)?;
        let (entry, to) = (entry.entry(), self.own(device.get())?.ty());
        Ok(detached(py, || self.swap.move_backing(entry, to, cpu))?.name())
    }
}
