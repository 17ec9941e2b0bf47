//! `Shmem`: a file in memory, which tasks of several groups can share.

use std::ops::Range;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::base::types::CssId;
use swapcore::mm::PageoutReport;
use swapcore::{CpuId, Order};

use crate::border::buffer::{bytes_of, page_numbers, write_flags, zeroed_bytes};
use crate::border::calls::detached;
use crate::border::convert;
use crate::border::errors::Result;
use crate::border::number::{self, CopyBytes, Cpu, NrFilePages, PageNumber};
use crate::border::signals::{PIECE_BYTES, for_each};
use crate::device::SwapDevice;
use crate::memcg::MemCgroup;
use crate::slots::entry::SwpEntry;

/// The largest number of pages that one call of the core handles between two checks for signals. A folio has at most
/// so many pages, and starts at a multiple of its size, so no folio lies in two pieces.
const PIECE_PAGES: u64 = 1 << swapcore::base::limits::MAX_ORDER;

#[doc = stub!(Shmem)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Shmem {
    file: swapcore::mm::Shmem,
}

/// Cuts a range of pages at multiples of the largest folio.
fn pieces(first_page: PageNumber, nr_pages: NrFilePages) -> impl Iterator<Item = Range<u64>> + Send {
    let end = first_page.0.saturating_add(nr_pages.0);
    let mut at = first_page.0;
    std::iter::from_fn(move || {
        let piece = at..at.saturating_add(1).next_multiple_of(PIECE_PAGES).min(end);
        at = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

impl Shmem {
    pub(crate) fn new(swap: &Arc<swapcore::Swap>, nr_pages: u64, order: Order) -> Result<Self> {
        Ok(Self { file: swapcore::mm::Shmem::new(swap.clone(), nr_pages, order)? })
    }

    /// Returns the CPU and the group of a task in the arguments of a call.
    fn task(&self, memcg: Option<&Bound<'_, MemCgroup>>, cpu: Option<Cpu>) -> Result<(CssId, CpuId)> {
        let swap = self.file.swap();
        Ok((MemCgroup::css_of(memcg, swap)?, convert::cpu(cpu, swap.nr_cpus())?))
    }
}

getters! {
    Shmem(this):
    nr_pages: u64 = this.file.size_pages();
    order: u8 = this.file.touch_order().get();
    resident_pages: u64 = this.file.nr_pages().0;
    swapped_pages: u64 = this.file.nr_pages().1;
}

#[pymethods]
impl Shmem {
    #[doc = stub!(Shmem.read)]
    #[pyo3(signature = (offset_bytes, nr_bytes, *, memcg = None, cpu = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = number::offset_bytes)] offset_bytes: u64,
        nr_bytes: CopyBytes,
        memcg: Option<&Bound<'_, MemCgroup>>,
        cpu: Option<Cpu>,
    ) -> Result<Bound<'py, PyBytes>> {
        let (css, cpu) = self.task(memcg, cpu)?;
        self.file.check_range(offset_bytes, nr_bytes.0 as u64)?;
        let mut bytes = zeroed_bytes(nr_bytes.0)?;
        let pieces = (offset_bytes..).step_by(PIECE_BYTES).zip(bytes.chunks_mut(PIECE_BYTES));
        for_each(py, pieces, |(at, piece)| Ok(self.file.read(at, piece, css, cpu)?))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[doc = stub!(Shmem.write)]
    #[pyo3(signature = (offset_bytes, data, *, memcg = None, cpu = None))]
    fn write(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::offset_bytes)] offset_bytes: u64,
        data: &Bound<'_, PyAny>,
        memcg: Option<&Bound<'_, MemCgroup>>,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        let ((css, cpu), data) = (self.task(memcg, cpu)?, bytes_of(py, data)?);
        self.file.check_range(offset_bytes, data.len() as u64)?;
        let pieces = (offset_bytes..).step_by(PIECE_BYTES).zip(data.chunks(PIECE_BYTES));
        for_each(py, pieces, |(at, piece)| Ok(self.file.write(at, piece, css, cpu)?))
    }

    #[doc = stub!(Shmem.touch_pages)]
    #[pyo3(signature = (first_page, pages, writes = None, *, memcg = None, cpu = None))]
    fn touch_pages(
        &self,
        py: Python<'_>,
        first_page: PageNumber,
        pages: &Bound<'_, PyAny>,
        writes: Option<&Bound<'_, PyAny>>,
        memcg: Option<&Bound<'_, MemCgroup>>,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        let ((css, cpu), pages) = (self.task(memcg, cpu)?, page_numbers(pages)?);
        let writes = write_flags(py, writes, pages.len())?;
        for_each(py, pages.iter().zip(&writes), |(&page, &write)| {
            let (folio, _) = self.file.get_folio(first_page.0.saturating_add(page), css, cpu)?;
            if write != 0 {
                folio.folio_mark_dirty();
            }
            Ok(())
        })
    }

    #[doc = stub!(Shmem.pageout)]
    #[pyo3(signature = (first_page, nr_pages, *, cpu = None))]
    fn pageout<'py>(
        &self,
        py: Python<'py>,
        first_page: PageNumber,
        nr_pages: NrFilePages,
        cpu: Option<Cpu>,
    ) -> Result<Bound<'py, PyDict>> {
        let (_, cpu) = self.task(None, cpu)?;
        let mut report = PageoutReport::default();
        for_each(py, pieces(first_page, nr_pages), |pages| {
            report.add(self.file.pageout(pages, cpu)?);
            Ok(())
        })?;
        convert::pageout_dict(py, &report)
    }

    #[doc = stub!(Shmem.willneed)]
    #[pyo3(signature = (first_page, nr_pages, *, memcg = None, cpu = None))]
    fn willneed(
        &self,
        py: Python<'_>,
        first_page: PageNumber,
        nr_pages: NrFilePages,
        memcg: Option<&Bound<'_, MemCgroup>>,
        cpu: Option<Cpu>,
    ) -> Result<u64> {
        let (css, cpu) = self.task(memcg, cpu)?;
        let mut nr_read_pages = 0;
        for_each(py, pieces(first_page, nr_pages), |pages| {
            nr_read_pages += self.file.willneed(pages, css, cpu)?;
            Ok(())
        })?;
        Ok(nr_read_pages)
    }

    #[doc = stub!(Shmem.truncate)]
    #[pyo3(signature = (first_page, nr_pages, *, cpu = None))]
    fn truncate(&self, py: Python<'_>, first_page: PageNumber, nr_pages: NrFilePages, cpu: Option<Cpu>) -> Result<()> {
        let (_, cpu) = self.task(None, cpu)?;
        let pages = first_page.0..first_page.0.saturating_add(nr_pages.0);
        detached(py, || self.file.truncate(pages, cpu))
    }

    #[doc = stub!(Shmem.swap_entry)]
    fn swap_entry(&self, page: PageNumber) -> Result<Option<SwpEntry>> {
        Ok(self.file.entry(page.0)?.swapped().map(|(entry, _)| SwpEntry::single(entry)))
    }

    #[doc = stub!(Shmem.unuse)]
    #[pyo3(signature = (device, *, memcg = None, cpu = None))]
    fn unuse(
        &self,
        py: Python<'_>,
        device: &Bound<'_, SwapDevice>,
        memcg: Option<&Bound<'_, MemCgroup>>,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        let ((css, cpu), ty) = (self.task(memcg, cpu)?, device.get().live_in(self.file.swap())?.ty());
        detached(py, || self.file.unuse(ty, css, cpu))
    }

    fn __repr__(&self) -> String {
        let (resident, swapped) = self.file.nr_pages();
        format!("<Shmem of {} pages: {resident} resident, {swapped} swapped out>", self.file.size_pages())
    }
}
