//! Methods of `Swap` for the swap cache. The swap cache maps slots to their folios in memory.

use pyo3::prelude::*;
use swapcore::FolioHandle;
use swapcore::table::Shadow;

use super::Swap;
use crate::border::calls::detached;
use crate::border::errors::Result;
use crate::border::number::{Cpu, NrPages, Page};
use crate::folio::Folio;
use crate::slots::args::EntryArg;
use crate::slots::entry::SwpEntry;

#[pymethods]
impl Swap {
    #[doc = stub!(Swap.folio_alloc_swap)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_alloc_swap(&self, py: Python<'_>, folio: &Bound<'_, Folio>, cpu: Option<Cpu>) -> Result<SwpEntry> {
        let cpu = self.cpu(cpu)?;
        let folio = &folio.get().folio;
        let entry = detached(py, || folio.with(|folio| self.swap.folio_alloc_swap(folio, cpu)))?;
        Ok(SwpEntry { entry, order: folio.order() })
    }

    #[doc = stub!(Swap.folio_dup_swap)]
    #[pyo3(signature = (folio, page = None, *, cpu = None))]
    fn folio_dup_swap(&self, folio: &Bound<'_, Folio>, page: Option<Page>, cpu: Option<Cpu>) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_dup_swap(folio.folio(), page.map(|page| page.0)))?)
    }

    #[doc = stub!(Swap.folio_put_swap)]
    #[pyo3(signature = (folio, page = None, *, cpu = None))]
    fn folio_put_swap(&self, folio: &Bound<'_, Folio>, page: Option<Page>, cpu: Option<Cpu>) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_put_swap(folio.folio(), page.map(|page| page.0)))?)
    }

    #[doc = stub!(Swap.swap_cache_add_folio)]
    #[pyo3(signature = (folio, entry, *, cpu = None))]
    fn swap_cache_add_folio(&self, folio: &Bound<'_, Folio>, entry: EntryArg<'_>, cpu: Option<Cpu>) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.swap_cache_add_folio(folio.folio(), entry.entry()))?)
    }

    #[doc = stub!(Swap.swap_cache_del_folio)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn swap_cache_del_folio(&self, folio: &Bound<'_, Folio>, cpu: Option<Cpu>) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.swap_cache_del_folio(folio.folio(), Shadow::default()))?)
    }

    #[doc = stub!(Swap.folio_free_swap)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_free_swap(&self, folio: &Bound<'_, Folio>, cpu: Option<Cpu>) -> Result<bool> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_free_swap(folio.folio()))?)
    }

    #[doc = stub!(Swap.folio_at)]
    #[pyo3(signature = (entry, *, cpu = None))]
    fn folio_at(&self, entry: EntryArg<'_>, cpu: Option<Cpu>) -> Result<Option<Folio>> {
        let folio = self.on_cpu(cpu)?.swap_cache_get_folio(entry.entry())?;
        Ok(folio.map(|folio| FolioHandle::unmapped(&self.swap, folio)).transpose()?.map(Folio::new))
    }

    #[doc = stub!(Swap.shrink_swap_cache)]
    #[pyo3(signature = (nr_pages = None, *, cpu = None))]
    fn shrink_swap_cache(&self, py: Python<'_>, nr_pages: Option<NrPages>, cpu: Option<Cpu>) -> Result<u64> {
        let cpu = self.cpu(cpu)?;
        Ok(py.detach(|| self.swap.shrink_swap_cache(nr_pages.map_or(u64::MAX, |nr| nr.0), cpu))?)
    }
}
