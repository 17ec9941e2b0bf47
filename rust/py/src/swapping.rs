//! What `Swap` does with folios that have data: made, swapped out and in, one or many, with policies' hooks on the way.

use std::sync::Arc;

use pyo3::prelude::*;
use swapcore::base::gfp::Gfp;
use swapcore::base::types::CssId;
use swapcore::{CpuId, FolioHandle, Order, Orders, SwapError, Swapin};

use crate::batch::Signals;
use crate::convert::{self, EntryArg};
use crate::entry::SwpEntry;
use crate::errors::{Error, Result};
use crate::folio::{Folio, bytes_of};
use crate::memcg::MemCgroup;
use crate::policy::{detached, watched};
use crate::swap::Swap;

/// How the arguments of Python say that slots are to be swapped in.
#[derive(Clone, Copy)]
pub(crate) struct How<'a, 'py> {
    pub(crate) orders: Option<u16>,
    pub(crate) cpu: Option<usize>,
    pub(crate) memcg: Option<&'a Bound<'py, MemCgroup>>,
}

/// Raises an error with what was swapped in, whose references nobody else has.
fn raise_with<T>(py: Python<'_>, error: PyErr, folios: Vec<Folio>) -> Result<T> {
    error.value(py).setattr("folios", folios)?;
    Err(error.into())
}

impl Swap {
    /// Returns the class of a folio of this subsystem. Errors: `ForeignFolio` (EINVAL).
    pub(crate) fn own_folio<'f>(&self, folio: &'f Bound<'_, Folio>) -> Result<&'f Folio> {
        let folio = folio.get();
        if !Arc::ptr_eq(folio.folio.swap(), &self.swap) {
            let entry = folio.folio.gone_to().unwrap_or(swapcore::SwpEntry::NONE);
            return Err(SwapError::ForeignFolio(entry).into());
        }
        Ok(folio)
    }

    /// Returns how to swap so many slots in: in one folio if that works, unless a mask says otherwise.
    fn swapin(&self, nr_pages: u32, how: How<'_, '_>) -> Result<Swapin<'_>> {
        let largest =
            u16::try_from(nr_pages.max(1).ilog2()).unwrap_or(u16::MAX).min(swapcore::base::limits::MAX_ORDER.into());
        let orders = Orders::from_bits(how.orders.unwrap_or(1 << largest))?;
        let cpu = convert::cpu(how.cpu, self.swap.nr_cpus())?;
        Ok(Swapin { faulting: MemCgroup::css_of(how.memcg, &self.swap)?, ..Swapin::new(cpu, orders) })
    }

    pub(crate) fn make_folio(
        &self,
        py: Python<'_>,
        order: Order,
        data: Option<&Bound<'_, PyAny>>,
        css: CssId,
        cpu: CpuId,
    ) -> Result<Folio> {
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

    pub(crate) fn swap_out_one(&self, py: Python<'_>, folio: &Bound<'_, Folio>, cpu: CpuId) -> Result<SwpEntry> {
        let folio = &self.own_folio(folio)?.folio;
        let (result, raised) = py.detach(|| watched(|| folio.swap_out(cpu)));
        let entry = result.map(|entry| SwpEntry { entry, order: folio.order() });
        let Some(error) = raised else { return Ok(entry?) };
        // What was done is done: the exception says where the folio is.
        if let Ok(entry) = entry {
            error.value(py).setattr("entry", entry)?;
        }
        Err(Error::Python(error))
    }

    pub(crate) fn swap_out_many(&self, py: Python<'_>, folios: &Bound<'_, PyAny>, cpu: CpuId) -> Result<Vec<SwpEntry>> {
        let folios = convert::folios(folios)?;
        let shared: Vec<&FolioHandle> =
            folios.iter().map(|folio| Ok(&self.own_folio(folio)?.folio)).collect::<Result<_>>()?;
        let mut entries = Vec::with_capacity(shared.len());
        let mut signals = Signals::default();
        detached(py, || {
            for (nr_done, folio) in shared.iter().enumerate() {
                signals.check()?;
                let in_batch = |error| SwapError::InBatch { nr_done, error: Box::new(error) };
                let entry = folio.swap_out(cpu).map_err(in_batch)?;
                entries.push(SwpEntry { entry, order: folio.order() });
            }
            Ok::<_, Error>(entries)
        })
    }

    pub(crate) fn swap_in_one(
        &self,
        py: Python<'_>,
        entry: EntryArg<'_>,
        nr: Option<u32>,
        how: How<'_, '_>,
    ) -> Result<Folio> {
        let nr_pages = entry.nr_pages(nr);
        let how = self.swapin(nr_pages, how)?;
        let entry = entry.entry();
        let (result, raised) = py.detach(|| {
            watched(|| {
                let folio = self.swap.swap_in(entry, nr_pages, &how)?;
                FolioHandle::mapped(&self.swap, folio)
            })
        });
        match raised {
            None => Ok(Folio::new(result?)),
            Some(error) => raise_with(py, error, result.into_iter().map(Folio::new).collect()),
        }
    }

    pub(crate) fn swap_in_many(
        &self,
        py: Python<'_>,
        entries: &Bound<'_, PyAny>,
        order: u64,
        how: How<'_, '_>,
    ) -> Result<Vec<Folio>> {
        let runs = convert::runs(entries, order)?;
        let hows: Vec<_> = runs.iter().map(|&(_, nr)| self.swapin(nr, how)).collect::<Result<_>>()?;
        let mut done = Vec::new();
        let mut signals = Signals::default();
        let result: Result<()> = detached(py, || {
            for (nr_done, (&(entry, nr_pages), how)) in runs.iter().zip(&hows).enumerate() {
                signals.check()?;
                let in_batch = |error| SwapError::InBatch { nr_done, error: Box::new(error) };
                self.swap.swap_in_all(entry, nr_pages, how, &mut done).map_err(in_batch)?;
            }
            Ok::<_, Error>(())
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

    /// Turns a device off, with a function of Python that gives references back.
    pub(crate) fn turn_off(
        &self,
        py: Python<'_>,
        device: &Arc<swapcore::SwapDevice>,
        unuse: Option<&Py<PyAny>>,
    ) -> Result<()> {
        let mut raised = None;
        let result = detached(py, || {
            self.swap.swapoff(device, |entry, count| match unuse {
                // Content that only its holders know how to read back.
                None if device.storage().kind() != "null" => Err(SwapError::StillInUse {
                    ty: device.ty().0,
                    inuse_pages: self.swap.inuse_pages(device.ty()),
                    why: ": swap them in, or give unuse= a function that does",
                }),
                None => (0..count).try_for_each(|_| self.swap.put(entry, 1, CpuId(0))),
                Some(hook) => Python::attach(|py| {
                    let entry = SwpEntry { entry, order: Order::ZERO };
                    hook.call1(py, (entry, count)).map(|_| ()).map_err(|error| {
                        raised = Some(error);
                        SwapError::Interrupted
                    })
                }),
            })
        });
        match raised {
            Some(error) => Err(Error::Python(error)),
            None => result,
        }
    }

    pub(crate) fn read_around(&self, py: Python<'_>, entry: EntryArg<'_>, cpu: Option<usize>) -> Result<Option<Folio>> {
        let how = self.swapin(1, How { orders: Some(0), cpu, memcg: None })?;
        let entry = entry.entry();
        let found = detached(py, || {
            let found = self.swap.swap_cluster_readahead(entry, &how)?;
            found.map(|(folio, _)| FolioHandle::unmapped(&self.swap, folio)).transpose()
        })?;
        Ok(found.map(Folio::new))
    }

    pub(crate) fn give_slots(&self, py: Python<'_>, folio: &Bound<'_, Folio>, cpu: CpuId) -> Result<SwpEntry> {
        let folio = &folio.get().folio;
        let entry = detached(py, || folio.with(|folio| self.swap.folio_alloc_swap(folio, cpu)))?;
        Ok(SwpEntry { entry, order: folio.order() })
    }
}
