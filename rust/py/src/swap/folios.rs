//! Methods of `Swap` that make folios with data, swap them out and in, split them, move them and read ahead.

use pyo3::prelude::*;
use swapcore::base::gfp::Gfp;
use swapcore::base::types::CssId;
use swapcore::{CpuId, FolioHandle, Orders, SwapError, Swapin};

use super::Swap;
use crate::border::buffer::bytes_of;
use crate::border::calls::{detached, watched};
use crate::border::convert;
use crate::border::errors::{Error, Result};
use crate::border::number::{self, Cpu, NrSlots, OrdersMask, PageCluster};
use crate::border::signals::for_each;
use crate::folio::{Folio, FolioLock};
use crate::memcg::MemCgroup;
use crate::slots::args::{EntryArg, runs};
use crate::slots::entry::SwpEntry;

/// Returns the folios of a list or any other iterable.
fn folios_of<'py>(ob: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, Folio>>> {
    ob.try_iter()?.map(|folio| Ok(folio?.cast_into::<Folio>()?)).collect()
}

/// Raises an exception. The attribute `folios` of the exception has the folios that the call swapped in, because a
/// call that raises an exception returns no value.
fn raise_with<T>(py: Python<'_>, error: PyErr, folios: Vec<Folio>) -> Result<T> {
    error.value(py).setattr("folios", folios)?;
    Err(error.into())
}

/// The arguments of a swap-in.
#[derive(Clone, Copy)]
struct SwapinArgs {
    /// The mask of orders that the caller passed, or `None`.
    orders: Option<Orders>,
    cpu: CpuId,
    faulting: CssId,
}

impl Swap {
    /// Returns the arguments of a swap-in.
    fn swapin_args(
        &self,
        orders: Option<OrdersMask>,
        cpu: Option<Cpu>,
        memcg: Option<&Bound<'_, MemCgroup>>,
    ) -> Result<SwapinArgs> {
        let orders = orders.map(|mask| Orders::from_bits(mask.0)).transpose()?;
        Ok(SwapinArgs { orders, cpu: self.cpu(cpu)?, faulting: MemCgroup::css_of(memcg, &self.swap)? })
    }

    /// Returns the parameters of a swap-in of `nr_pages` slots. If the caller passed no mask of orders,
    /// [`swapcore::Swap::default_orders`] chooses the orders.
    fn swapin(&self, entry: swapcore::SwpEntry, nr_pages: u32, args: SwapinArgs) -> swapcore::Result<Swapin<'_>> {
        let SwapinArgs { orders, cpu, faulting } = args;
        let orders = orders.map_or_else(|| self.swap.default_orders(entry, nr_pages, cpu), Ok)?;
        Ok(Swapin { faulting, ..Swapin::new(cpu, orders) })
    }
}

getters! {
    Swap(this):
    memory_pages: u64 = this.swap.memory_of_folios().nr_pages();
    nr_used_pages: u64 = this.swap.memory_of_folios().nr_used_pages();
    page_cluster: u32 = this.swap.readahead().page_cluster();
}

#[pymethods]
impl Swap {
    #[doc = stub!(Swap.folio)]
    #[pyo3(signature = (order = 0, data = None, *, memcg = None, cpu = None))]
    fn folio(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::order)] order: u64,
        data: Option<&Bound<'_, PyAny>>,
        memcg: Option<&Bound<'_, MemCgroup>>,
        cpu: Option<Cpu>,
    ) -> Result<Folio> {
        let (order, css, cpu) = (convert::order(order)?, MemCgroup::css_of(memcg, &self.swap)?, self.cpu(cpu)?);
        let data = data.map(|data| bytes_of(py, data)).transpose()?;
        let folio = detached(py, || {
            let folio = match &data {
                None => self.swap.folio_zeroed_in(order, css, Gfp::HIGHUSER_MOVABLE, cpu)?,
                Some(data) => self.swap.folio_with_in(order, data, css, cpu)?,
            };
            FolioHandle::unmapped(&self.swap, folio)
        })?;
        Ok(Folio::new(folio))
    }

    #[doc = stub!(Swap.swap_out)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn swap_out(&self, py: Python<'_>, folio: &Bound<'_, Folio>, cpu: Option<Cpu>) -> Result<SwpEntry> {
        let cpu = self.cpu(cpu)?;
        let folio = &self.own_folio(folio)?.folio;
        let (result, raised) = py.detach(|| watched(|| folio.swap_out(cpu)));
        let entry = result.map(|entry| SwpEntry { entry, order: folio.order() });
        let Some(error) = raised else { return Ok(entry?) };
        // The folio is swapped out although a hook raised an exception, so the attribute `entry` of the exception has
        // the folio's entry.
        if let Ok(entry) = entry {
            error.value(py).setattr("entry", entry)?;
        }
        Err(Error::Python(error))
    }

    #[doc = stub!(Swap.swap_in)]
    #[pyo3(signature = (entry, nr = None, *, orders = None, cpu = None, memcg = None))]
    fn swap_in(
        &self,
        py: Python<'_>,
        entry: EntryArg<'_>,
        nr: Option<NrSlots>,
        orders: Option<OrdersMask>,
        cpu: Option<Cpu>,
        memcg: Option<&Bound<'_, MemCgroup>>,
    ) -> Result<Folio> {
        let nr_pages = entry.nr_pages(nr);
        let args = self.swapin_args(orders, cpu, memcg)?;
        let entry = entry.entry();
        let (result, raised) = py.detach(|| {
            watched(|| {
                let how = self.swapin(entry, nr_pages, args)?;
                let folio = self.swap.swap_in(entry, nr_pages, &how)?;
                FolioHandle::mapped(&self.swap, folio)
            })
        });
        match raised {
            None => Ok(Folio::new(result?)),
            Some(error) => raise_with(py, error, result.into_iter().map(Folio::new).collect()),
        }
    }

    #[doc = stub!(Swap.swap_out_batch)]
    #[pyo3(signature = (folios, *, cpu = None))]
    fn swap_out_batch(&self, py: Python<'_>, folios: &Bound<'_, PyAny>, cpu: Option<Cpu>) -> Result<Vec<SwpEntry>> {
        let cpu = self.cpu(cpu)?;
        let folios = folios_of(folios)?;
        let shared: Vec<&FolioHandle> =
            folios.iter().map(|folio| Ok(&self.own_folio(folio)?.folio)).collect::<Result<_>>()?;
        let mut entries = Vec::with_capacity(shared.len());
        for_each(py, shared.iter().enumerate(), |(nr_done, folio)| {
            let in_batch = |error| SwapError::InBatch { nr_done, error: Box::new(error) };
            let entry = folio.swap_out(cpu).map_err(in_batch)?;
            entries.push(SwpEntry { entry, order: folio.order() });
            Ok(())
        })?;
        Ok(entries)
    }

    #[doc = stub!(Swap.swap_in_batch)]
    #[pyo3(signature = (entries, *, order = 0, orders = None, cpu = None, memcg = None))]
    fn swap_in_batch(
        &self,
        py: Python<'_>,
        entries: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = number::order)] order: u64,
        orders: Option<OrdersMask>,
        cpu: Option<Cpu>,
        memcg: Option<&Bound<'_, MemCgroup>>,
    ) -> Result<Vec<Folio>> {
        let runs = runs(entries, order)?;
        let args = self.swapin_args(orders, cpu, memcg)?;
        let mut done = Vec::new();
        let result = for_each(py, runs.iter().enumerate(), |(nr_done, &(entry, nr_pages))| {
            let in_batch = |error| SwapError::InBatch { nr_done, error: Box::new(error) };
            let how = self.swapin(entry, nr_pages, args).map_err(in_batch)?;
            Ok(self.swap.swap_in_all(entry, nr_pages, &how, &mut done).map_err(in_batch)?)
        });
        let folios: Vec<Folio> = done
            .into_iter()
            .map(|folio| Ok(Folio::new(FolioHandle::mapped(&self.swap, folio)?)))
            .collect::<Result<_>>()?;
        match result {
            Ok(()) => Ok(folios),
            Err(error) => raise_with(py, error.into(), folios),
        }
    }

    #[doc = stub!(Swap.folio_split)]
    #[pyo3(signature = (folio, order = 0, *, cpu = None))]
    fn folio_split(
        &self,
        py: Python<'_>,
        folio: &Bound<'_, Folio>,
        #[pyo3(from_py_with = number::order)] order: u64,
        cpu: Option<Cpu>,
    ) -> Result<Vec<Folio>> {
        let (order, cpu) = (convert::order(order)?, self.cpu(cpu)?);
        let folio = &self.own_folio(folio)?.folio;
        let (result, raised) = py.detach(|| watched(|| folio.split(order, cpu)));
        match raised {
            None => Ok(result?.into_iter().map(Folio::new).collect()),
            Some(error) => raise_with(py, error, result.into_iter().flatten().map(Folio::new).collect()),
        }
    }

    #[doc = stub!(Swap.locked)]
    fn locked(&self, folio: &Bound<'_, Folio>) -> Result<FolioLock> {
        self.own_folio(folio)?;
        Ok(FolioLock::new(folio.clone().unbind()))
    }

    #[doc = stub!(Swap.folio_migrate)]
    #[pyo3(signature = (folio, *, cpu = None))]
    fn folio_migrate(&self, py: Python<'_>, folio: &Bound<'_, Folio>, cpu: Option<Cpu>) -> Result<Folio> {
        let cpu = self.cpu(cpu)?;
        let folio = &self.own_folio(folio)?.folio;
        let (result, raised) = py.detach(|| watched(|| folio.migrate(cpu)));
        match raised {
            None => Ok(Folio::new(result?)),
            Some(error) => raise_with(py, error, result.into_iter().map(Folio::new).collect()),
        }
    }

    #[setter]
    fn set_page_cluster(&self, page_cluster: PageCluster) -> Result<()> {
        Ok(self.swap.readahead().set_page_cluster(page_cluster.0)?)
    }

    #[doc = stub!(Swap.swap_cluster_readahead)]
    #[pyo3(signature = (entry, *, cpu = None))]
    fn swap_cluster_readahead(&self, py: Python<'_>, entry: EntryArg<'_>, cpu: Option<Cpu>) -> Result<Option<Folio>> {
        let how = Swapin::new(self.cpu(cpu)?, Orders::ZERO);
        let entry = entry.entry();
        let found = detached(py, || {
            let found = self.swap.swap_cluster_readahead(entry, &how)?;
            found.map(|(folio, _)| FolioHandle::unmapped(&self.swap, folio)).transpose()
        })?;
        Ok(found.map(Folio::new))
    }
}
