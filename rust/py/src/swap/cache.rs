//! The swap cache: folios over slots.

use pyo3::prelude::*;
use swapcore::FolioHandle;
use swapcore::table::Shadow;

use super::Swap;
use crate::border::calls::detached;
use crate::border::errors::Result;
use crate::border::number;
use crate::folio::Folio;
use crate::slots::args::EntryArg;
use crate::slots::entry::SwpEntry;

#[pymethods]
impl Swap {
    #[doc = stub!(Swap.folio_alloc_swap)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_alloc_swap(
        &self,
        py: Python<'_>,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<SwpEntry> {
        let cpu = self.cpu(cpu)?;
        let folio = &folio.get().folio;
        let entry = detached(py, || folio.with(|folio| self.swap.folio_alloc_swap(folio, cpu)))?;
        Ok(SwpEntry { entry, order: folio.order() })
    }

    #[doc = stub!(Swap.folio_dup_swap)]
    #[pyo3(signature = (folio, page = None))]
    fn folio_dup_swap(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::page_or_none)] page: Option<u32>,
    ) -> Result<()> {
        let mut on_cpu = self.on_cpu(None)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_dup_swap(folio.folio(), page))?)
    }

    #[doc = stub!(Swap.folio_put_swap)]
    #[pyo3(signature = (folio, page = None))]
    fn folio_put_swap(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::page_or_none)] page: Option<u32>,
    ) -> Result<()> {
        let mut on_cpu = self.on_cpu(None)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_put_swap(folio.folio(), page))?)
    }

    #[doc = stub!(Swap.swap_cache_add_folio)]
    fn swap_cache_add_folio(&self, folio: &Bound<'_, Folio>, entry: EntryArg<'_>) -> Result<()> {
        let mut on_cpu = self.on_cpu(None)?;
        Ok(folio.get().folio.with(|folio| on_cpu.swap_cache_add_folio(folio.folio(), entry.entry()))?)
    }

    #[doc = stub!(Swap.swap_cache_del_folio)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn swap_cache_del_folio(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.swap_cache_del_folio(folio.folio(), Shadow::default()))?)
    }

    #[doc = stub!(Swap.folio_free_swap)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_free_swap(
        &self,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<bool> {
        let mut on_cpu = self.on_cpu(cpu)?;
        Ok(folio.get().folio.with(|folio| on_cpu.folio_free_swap(folio.folio()))?)
    }

    #[doc = stub!(Swap.folio_at)]
    fn folio_at(&self, entry: EntryArg<'_>) -> Result<Option<Folio>> {
        let folio = self.on_cpu(None)?.swap_cache_get_folio(entry.entry())?;
        Ok(folio.map(|folio| FolioHandle::unmapped(&self.swap, folio)).transpose()?.map(Folio::new))
    }

    #[doc = stub!(Swap.shrink_swap_cache)]
    #[pyo3(signature = (nr_pages = None, *, cpu = None))]
    fn shrink_swap_cache(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::nr_pages_or_none)] nr_pages: Option<u64>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<u64> {
        let cpu = self.cpu(cpu)?;
        Ok(py.detach(|| self.swap.shrink_swap_cache(nr_pages.unwrap_or(u64::MAX), cpu))?)
    }
}
