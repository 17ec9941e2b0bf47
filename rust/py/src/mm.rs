//! `Mm`: one address space.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::mm::VmaOptions;
use swapcore::readahead::Vpn;
use swapcore::{CpuId, Order, Orders};

use crate::convert;
use crate::device::SwapDevice;
use crate::entry::SwpEntry;
use crate::errors::Result;
use crate::folio::bytes_of;
use crate::number;

/// One address space: pages that fault, are shared after a fork, and go to swap and come back.
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Mm {
    mm: swapcore::Mm,
}

impl Mm {
    pub(crate) fn new(swap: &Arc<swapcore::Swap>) -> Self {
        Self { mm: swapcore::Mm::new(swap.clone()) }
    }

    fn cpu(&self, cpu: Option<usize>) -> Result<CpuId> {
        convert::cpu(cpu, self.mm.swap().nr_cpus())
    }
}

fn pages(first_page: u64, nr_pages: u64) -> std::ops::Range<Vpn> {
    Vpn(first_page)..Vpn(first_page.saturating_add(nr_pages))
}

#[pymethods]
impl Mm {
    /// Maps ``nr_pages`` pages of zeros and returns the number of the first.
    #[pyo3(signature = (nr_pages, *, orders = None, anon_order = 0, is_locked = false, is_uffd_armed = false))]
    fn mmap(
        &self,
        #[pyo3(from_py_with = number::nr_pages)] nr_pages: u64,
        #[pyo3(from_py_with = number::orders_or_none)] orders: Option<u16>,
        #[pyo3(from_py_with = number::order)] anon_order: u64,
        is_locked: bool,
        is_uffd_armed: bool,
    ) -> Result<u64> {
        let orders = Orders::from_bits(orders.unwrap_or(0))?;
        let anon_order = convert::order(anon_order)?.get();
        let vma = self.mm.mmap(nr_pages, VmaOptions { orders, anon_order, is_locked, is_uffd_armed })?;
        Ok(vma.pages().start.0)
    }

    /// Copies bytes out, faulting pages in.
    #[pyo3(signature = (address_bytes, nr_bytes, *, cpu = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = number::address_bytes)] address_bytes: u64,
        #[pyo3(from_py_with = number::copy_bytes)] nr_bytes: usize,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Bound<'py, PyBytes>> {
        let cpu = self.cpu(cpu)?;
        let mut bytes = vec![0; nr_bytes];
        // A fault may read a device, however few bytes are asked for.
        py.detach(|| self.mm.read(address_bytes, &mut bytes, cpu))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Copies bytes in, faulting pages in and copying those that are shared.
    #[pyo3(signature = (address_bytes, data, *, cpu = None))]
    fn write(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::address_bytes)] address_bytes: u64,
        data: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        let (cpu, data) = (self.cpu(cpu)?, bytes_of(py, data)?);
        Ok(py.detach(|| self.mm.write(address_bytes, &data, cpu))?)
    }

    /// Swaps the pages of a range out, those that others map too excepted.
    #[pyo3(signature = (first_page, nr_pages, *, cpu = None))]
    fn pageout<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = number::page_number)] first_page: u64,
        #[pyo3(from_py_with = number::nr_pages)] nr_pages: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Bound<'py, PyDict>> {
        let cpu = self.cpu(cpu)?;
        let report = py.detach(|| self.mm.pageout(pages(first_page, nr_pages), cpu))?;
        let dict = PyDict::new(py);
        dict.set_item("reclaimed_pages", report.reclaimed_pages)?;
        dict.set_item("kept_pages", report.kept_pages)?;
        dict.set_item("split_folios", report.split_folios)?;
        dict.set_item("errno", report.errno)?;
        Ok(dict)
    }

    /// Forgets the pages of a range; they read as zeros from then on.
    #[pyo3(signature = (first_page, nr_pages, *, cpu = None))]
    fn zap(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::page_number)] first_page: u64,
        #[pyo3(from_py_with = number::nr_pages)] nr_pages: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        let cpu = self.cpu(cpu)?;
        Ok(py.detach(|| self.mm.zap(pages(first_page, nr_pages), cpu))?)
    }

    /// Returns a copy that shares every page until one of the two writes it.
    #[pyo3(signature = (*, cpu = None))]
    fn fork(&self, py: Python<'_>, #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>) -> Result<Self> {
        let cpu = self.cpu(cpu)?;
        Ok(Self { mm: py.detach(|| self.mm.fork(cpu))? })
    }

    /// Returns the slot of a page that is swapped out, else None.
    fn swap_entry(&self, #[pyo3(from_py_with = number::page_number)] page: u64) -> Result<Option<SwpEntry>> {
        let entry = self.mm.swap_entry(Vpn(page))?;
        Ok(entry.map(|entry| SwpEntry { entry, order: Order::ZERO }))
    }

    /// Brings every page back that lies on a device, for `Swap.swapoff`.
    #[pyo3(signature = (device, *, cpu = None))]
    fn unuse(
        &self,
        py: Python<'_>,
        device: &Bound<'_, SwapDevice>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        let (cpu, ty) = (self.cpu(cpu)?, device.get().live()?.ty());
        Ok(py.detach(|| self.mm.unuse(ty, cpu))?)
    }

    /// Pages in memory.
    #[getter]
    fn resident_pages(&self) -> u64 {
        self.mm.nr_pages().0
    }

    /// Pages swapped out.
    #[getter]
    fn swapped_pages(&self) -> u64 {
        self.mm.nr_pages().1
    }

    fn __repr__(&self) -> String {
        let (resident, swapped) = self.mm.nr_pages();
        format!("<Mm: {resident} pages resident, {swapped} swapped out>")
    }
}
