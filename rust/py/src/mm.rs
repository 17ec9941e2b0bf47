//! `Mm`: one address space.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::base::types::CssId;
use swapcore::mm::{Access, PTRS_PER_PTE, PageoutReport, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::{CpuId, FolioFlags, Order, Orders, SwapError};

use crate::border::buffer::{bytes_of, page_numbers};
use crate::border::calls::detached;
use crate::border::convert;
use crate::border::errors::{Error, Result};
use crate::border::number;
use crate::border::signals::Signals;
use crate::device::SwapDevice;
use crate::memcg::MemCgroup;
use crate::slots::entry::SwpEntry;

/// Bytes copied between two looks for signals.
const PIECE_BYTES: usize = 1 << 18;

#[doc = stub!(Mm)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Mm {
    pub(crate) mm: swapcore::Mm,
}

impl Mm {
    pub(crate) fn new(swap: &Arc<swapcore::Swap>, css: CssId) -> Result<Self> {
        Ok(Self { mm: swapcore::Mm::in_group(swap.clone(), css)? })
    }

    pub(crate) fn cpu(&self, cpu: Option<usize>) -> Result<CpuId> {
        convert::cpu(cpu, self.mm.swap().nr_cpus())
    }
}

fn pages(first_page: u64, nr_pages: u64) -> std::ops::Range<Vpn> {
    Vpn(first_page)..Vpn(first_page.saturating_add(nr_pages))
}

#[pymethods]
impl Mm {
    #[doc = stub!(Mm.mmap)]
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

    #[doc = stub!(Mm.read)]
    #[pyo3(signature = (address_bytes, nr_bytes, *, cpu = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = number::address_bytes)] address_bytes: u64,
        #[pyo3(from_py_with = number::copy_bytes)] nr_bytes: usize,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Bound<'py, PyBytes>> {
        let cpu = self.cpu(cpu)?;
        self.mm.check_mapped(address_bytes, nr_bytes as u64)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(nr_bytes).map_err(|_| SwapError::NoMemory(nr_bytes as u64))?;
        bytes.resize(nr_bytes, 0);
        let mut signals = Signals::default();
        // A fault may read a device, however few bytes are asked for.
        detached(py, || {
            for (at, piece) in (address_bytes..).step_by(PIECE_BYTES).zip(bytes.chunks_mut(PIECE_BYTES)) {
                signals.check()?;
                self.mm.read(at, piece, cpu)?;
            }
            Ok::<(), Error>(())
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[doc = stub!(Mm.write)]
    #[pyo3(signature = (address_bytes, data, *, cpu = None))]
    fn write(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::address_bytes)] address_bytes: u64,
        data: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        let (cpu, data) = (self.cpu(cpu)?, bytes_of(py, data)?);
        self.mm.check_mapped(address_bytes, data.len() as u64)?;
        let mut signals = Signals::default();
        detached(py, || {
            for (at, piece) in (address_bytes..).step_by(PIECE_BYTES).zip(data.chunks(PIECE_BYTES)) {
                signals.check()?;
                self.mm.write(at, piece, cpu)?;
            }
            Ok::<(), Error>(())
        })
    }

    #[doc = stub!(Mm.touch_pages)]
    #[pyo3(signature = (first_page, pages, writes = None, *, cpu = None))]
    fn touch_pages(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::page_number)] first_page: u64,
        pages: &Bound<'_, PyAny>,
        writes: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        let (cpu, pages) = (self.cpu(cpu)?, page_numbers(pages)?);
        let writes = writes.map_or_else(|| Ok(vec![0; pages.len()]), |writes| bytes_of(py, writes))?;
        if writes.len() != pages.len() {
            let nr = pages.len() as u64;
            let (what, value) = ("number of writes", writes.len() as i128);
            return Err(SwapError::OutOfRange { what, value, low: nr, high: nr }.into());
        }
        let mut signals = Signals::default();
        detached(py, || {
            for (page, is_write) in pages.iter().zip(&writes) {
                signals.check()?;
                let (folio, _) =
                    self.mm.touch(Vpn(first_page.saturating_add(*page)), Access::of(*is_write != 0), cpu)?;
                if *is_write != 0 {
                    folio.set(FolioFlags::DIRTY | FolioFlags::UPTODATE);
                }
            }
            Ok::<(), Error>(())
        })
    }

    #[doc = stub!(Mm.pageout)]
    #[pyo3(signature = (first_page, nr_pages, *, cpu = None))]
    fn pageout<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = number::page_number)] first_page: u64,
        #[pyo3(from_py_with = number::nr_pages)] nr_pages: u64,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<Bound<'py, PyDict>> {
        let cpu = self.cpu(cpu)?;
        let mut report = PageoutReport::default();
        let mut signals = Signals::default();
        detached(py, || {
            let end = first_page.saturating_add(nr_pages);
            let mut at = first_page;
            while at < end {
                signals.check()?;
                // Up to the end of a page table: a folio that would be split by that does not exist.
                let next = (at + 1).next_multiple_of(PTRS_PER_PTE).min(end);
                report.add(self.mm.pageout(Vpn(at)..Vpn(next), cpu)?);
                at = next;
            }
            Ok::<(), Error>(())
        })?;
        let dict = PyDict::new(py);
        dict.set_item("reclaimed_pages", report.reclaimed_pages)?;
        dict.set_item("kept_pages", report.kept_pages)?;
        dict.set_item("split_folios", report.split_folios)?;
        dict.set_item("errno", report.errno)?;
        Ok(dict)
    }

    #[doc = stub!(Mm.zap)]
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

    #[doc = stub!(Mm.fork)]
    #[pyo3(signature = (*, cpu = None))]
    fn fork(&self, py: Python<'_>, #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>) -> Result<Self> {
        let cpu = self.cpu(cpu)?;
        Ok(Self { mm: py.detach(|| self.mm.fork(cpu))? })
    }

    #[doc = stub!(Mm.swap_entry)]
    fn swap_entry(&self, #[pyo3(from_py_with = number::page_number)] page: u64) -> Result<Option<SwpEntry>> {
        let entry = self.mm.swap_entry(Vpn(page))?;
        Ok(entry.map(|entry| SwpEntry { entry, order: Order::ZERO }))
    }

    #[doc = stub!(Mm.unuse)]
    #[pyo3(signature = (device, *, cpu = None))]
    fn unuse(
        &self,
        py: Python<'_>,
        device: &Bound<'_, SwapDevice>,
        #[pyo3(from_py_with = number::cpu_or_none)] cpu: Option<usize>,
    ) -> Result<()> {
        let (cpu, ty) = (self.cpu(cpu)?, device.get().live()?.ty());
        detached(py, || self.mm.unuse(ty, cpu))
    }

    #[doc = stub!(Mm.memcg)]
    #[getter]
    fn memcg(&self) -> Result<MemCgroup> {
        self.mm.swap().memcg_enabled()?;
        Ok(MemCgroup::of(self.mm.swap(), self.mm.css()).expect("its task keeps it"))
    }

    #[doc = stub!(Mm.resident_pages)]
    #[getter]
    fn resident_pages(&self) -> u64 {
        self.mm.nr_pages().0
    }

    #[doc = stub!(Mm.swapped_pages)]
    #[getter]
    fn swapped_pages(&self) -> u64 {
        self.mm.nr_pages().1
    }

    fn __repr__(&self) -> String {
        let (resident, swapped) = self.mm.nr_pages();
        format!("<Mm: {resident} pages resident, {swapped} swapped out>")
    }
}
