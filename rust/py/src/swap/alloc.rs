//! Methods of `Swap` that allocate, share and free slots, for one run or for many runs.

use pyo3::prelude::*;
use swapcore::{CpuId, Order};

use super::Swap;
use crate::border::convert;
use crate::border::errors::Result;
use crate::border::number::{self, Cpu, NrRuns, NrSlots};
use crate::device::SwapDevice;
use crate::slots::args::{EntriesArg, EntryArg};
use crate::slots::batch::SwapBatch;
use crate::slots::entry::SwpEntry;

/// A call for a batch of at least this number of slots runs detached from the interpreter. Such a call takes about 50
/// us or more.
pub(crate) const DETACH_SLOTS: usize = 16_384;

/// The number of slots after which a long allocation checks for signals. The allocation of this number of slots takes
/// a few milliseconds.
const SIGNAL_SLOTS: usize = 1 << 20;

impl Swap {
    /// Allocates runs in pieces and returns the number of allocated runs. Between two pieces no lock is held and
    /// signals are checked. If a signal handler raises an exception, the runs that were allocated before it are
    /// freed.
    fn alloc_interruptible(&self, order: Order, cpu: CpuId, out: &mut [swapcore::SwpEntry]) -> Result<usize> {
        let mut taken = 0;
        for piece in out.chunks_mut((SIGNAL_SLOTS >> order.get()).max(1)) {
            let nr = self.swap.alloc_batch(order, cpu, piece)?;
            taken += nr;
            if nr < piece.len() {
                break;
            }
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                self.swap.put_batch(order, &out[..taken], cpu)?;
                return Err(error.into());
            }
        }
        Ok(taken)
    }

    /// Runs a call of the core on the runs of a batch. If the batch is large, the call runs detached from the
    /// interpreter.
    fn on_batch(
        &self,
        py: Python<'_>,
        batch: &EntriesArg<'_>,
        order: u64,
        cpu: Option<Cpu>,
        call: fn(&swapcore::Swap, Order, &[swapcore::SwpEntry], CpuId) -> swapcore::Result<()>,
    ) -> Result<()> {
        let order = batch.order(order)?;
        let cpu = self.cpu(cpu)?;
        let (swap, entries) = (&*self.swap, batch.entries());
        let is_long = entries.len() << order.get() >= DETACH_SLOTS;
        let result =
            if is_long { py.detach(|| call(swap, order, entries, cpu)) } else { call(swap, order, entries, cpu) };
        Ok(result?)
    }
}

#[pymethods]
impl Swap {
    #[doc = stub!(Swap.alloc)]
    #[pyo3(signature = (order = 0, *, cpu = None))]
    fn alloc(&self, #[pyo3(from_py_with = number::order)] order: u64, cpu: Option<Cpu>) -> Result<SwpEntry> {
        let order = convert::order(order)?;
        Ok(SwpEntry { entry: self.on_cpu(cpu)?.alloc(order)?, order })
    }

    #[doc = stub!(Swap.alloc_batch)]
    #[pyo3(signature = (nr, order = 0, *, cpu = None))]
    fn alloc_batch(
        &self,
        py: Python<'_>,
        nr: NrRuns,
        #[pyo3(from_py_with = number::order)] order: u64,
        cpu: Option<Cpu>,
    ) -> Result<SwapBatch> {
        let order = convert::order(order)?;
        let cpu = self.cpu(cpu)?;
        // `nr` is limited to the number of runs that fit in all slots, plus one. With one run more than fit, a request
        // that is too large still fails.
        let nr = nr.0.min((self.swap.total_swap_pages() as usize >> order.get()) + 1);
        let mut entries = vec![swapcore::SwpEntry::NONE; nr];
        let nr_taken = if nr << order.get() < DETACH_SLOTS {
            self.swap.alloc_batch(order, cpu, &mut entries)?
        } else {
            py.detach(|| self.alloc_interruptible(order, cpu, &mut entries))?
        };
        entries.truncate(nr_taken);
        Ok(SwapBatch::new(entries, order))
    }

    #[doc = stub!(Swap.free)]
    #[pyo3(signature = (entry, nr = None, *, cpu = None))]
    fn free(&self, entry: EntryArg<'_>, nr: Option<NrSlots>, cpu: Option<Cpu>) -> Result<()> {
        Ok(self.on_cpu(cpu)?.put(entry.entry(), entry.nr_pages(nr))?)
    }

    #[doc = stub!(Swap.put)]
    #[pyo3(signature = (entry, nr = None, *, cpu = None))]
    fn put(&self, entry: EntryArg<'_>, nr: Option<NrSlots>, cpu: Option<Cpu>) -> Result<()> {
        self.free(entry, nr, cpu)
    }

    #[doc = stub!(Swap.free_batch)]
    #[pyo3(signature = (batch, order = 0, *, cpu = None))]
    fn free_batch(
        &self,
        py: Python<'_>,
        batch: EntriesArg<'_>,
        #[pyo3(from_py_with = number::order)] order: u64,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        self.on_batch(py, &batch, order, cpu, swapcore::Swap::put_batch)
    }

    #[doc = stub!(Swap.put_batch)]
    #[pyo3(signature = (batch, order = 0, *, cpu = None))]
    fn put_batch(
        &self,
        py: Python<'_>,
        batch: EntriesArg<'_>,
        #[pyo3(from_py_with = number::order)] order: u64,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        self.free_batch(py, batch, order, cpu)
    }

    #[doc = stub!(Swap.dup)]
    #[pyo3(signature = (entry, nr = None, *, cpu = None))]
    fn dup(&self, entry: EntryArg<'_>, nr: Option<NrSlots>, cpu: Option<Cpu>) -> Result<()> {
        Ok(self.on_cpu(cpu)?.dup(entry.entry(), entry.nr_pages(nr))?)
    }

    #[doc = stub!(Swap.dup_batch)]
    #[pyo3(signature = (batch, order = 0, *, cpu = None))]
    fn dup_batch(
        &self,
        py: Python<'_>,
        batch: EntriesArg<'_>,
        #[pyo3(from_py_with = number::order)] order: u64,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        self.on_batch(py, &batch, order, cpu, swapcore::Swap::dup_batch)
    }

    #[doc = stub!(Swap.alloc_hibernation)]
    #[pyo3(signature = (device, *, cpu = None))]
    fn alloc_hibernation(&self, device: &Bound<'_, SwapDevice>, cpu: Option<Cpu>) -> Result<SwpEntry> {
        let ty = self.own(device.get())?.ty();
        Ok(SwpEntry::single(self.on_cpu(cpu)?.alloc_hibernation(ty)?))
    }

    #[doc = stub!(Swap.free_hibernation)]
    #[pyo3(signature = (entry, *, cpu = None))]
    fn free_hibernation(&self, entry: EntryArg<'_>, cpu: Option<Cpu>) -> Result<()> {
        Ok(self.on_cpu(cpu)?.free_hibernation(entry.entry())?)
    }
}
