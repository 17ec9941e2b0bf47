//! `Mm`: the address space of a task.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyWeakrefReference};
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::mm::{Access, PTRS_PER_PTE, PageoutReport, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::{CpuId, Orders};

use crate::border::buffer::{WritableBytes, bytes_of, column_of_words, page_numbers, write_flags, zeroed_bytes};
use crate::border::calls::detached;
use crate::border::convert;
use crate::border::errors::Result;
use crate::border::number::{self, AddressBytes, CopyBytes, Cpu, NrVmaPages, OrdersMask, PageNumber};
use crate::border::signals::{PIECE_BYTES, for_each};
use crate::device::SwapDevice;
use crate::memcg::MemCgroup;
use crate::slots::entry::SwpEntry;

/// Every `Mm` object by number, as a weak reference, so that `MemCgroup.tasks` can find the objects. The core does not
/// list its tasks, because no work of the core needs such a list.
static TASKS: Mutex<BTreeMap<u64, Py<PyWeakrefReference>>> = Mutex::new(BTreeMap::new());

/// The number of bytes that `read_into` copies detached before the call attaches and fills the caller's buffer. An
/// attach waits for other Python threads, so this number is larger than `PIECE_BYTES`.
const SCRATCH_BYTES: usize = 1 << 20;

#[doc = stub!(Mm)]
#[pyclass(frozen, weakref, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Mm {
    pub(crate) mm: swapcore::Mm,
    /// The key of the object in `TASKS`. Later objects have higher numbers.
    number: u64,
}

impl Drop for Mm {
    fn drop(&mut self) {
        // The reference is dropped after the lock is released, because the drop may run Python code.
        let _reference = TASKS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Splits a range of pages into pieces, each of which lies in one page table.
fn table_pieces(first_page: PageNumber, nr_pages: NrVmaPages) -> impl Iterator<Item = Range<Vpn>> + Send {
    let end = first_page.0.saturating_add(nr_pages.0);
    let mut at = first_page.0;
    std::iter::from_fn(move || {
        let next = at.saturating_add(1).next_multiple_of(PTRS_PER_PTE).min(end);
        let piece = Vpn(at)..Vpn(next);
        at = next;
        (piece.start < piece.end).then_some(piece)
    })
}

impl Mm {
    /// Makes the Python object of an empty address space of a task in a group. Errors: ENODEV when the group is
    /// removed.
    pub(crate) fn in_group(py: Python<'_>, swap: &Arc<swapcore::Swap>, css: CssId) -> Result<Py<Self>> {
        Self::listed(py, swapcore::Mm::in_group(swap.clone(), css)?)
    }

    /// Makes the Python object of an address space and enters the object in `TASKS`.
    fn listed(py: Python<'_>, mm: swapcore::Mm) -> Result<Py<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed, because no other memory depends on the number.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let object = Bound::new(py, Self { mm, number })?;
        let reference = PyWeakrefReference::new(object.as_any())?.unbind();
        TASKS.lock().unwrap_or_else(PoisonError::into_inner).insert(number, reference);
        Ok(object.unbind())
    }

    pub(crate) fn cpu(&self, cpu: Option<Cpu>) -> Result<CpuId> {
        convert::cpu(cpu, self.mm.swap().nr_cpus())
    }
}

getters! {
    Mm(this):
    memcg: Result<MemCgroup> = {
        this.mm.swap().memcg_enabled()?;
        loop {
            // `of` returns `None` if the task moved to another group after `css` read its group, and the old group
            // was freed. The loop then reads the group of the task again.
            if let Some(group) = MemCgroup::of(this.mm.swap(), this.mm.css()) {
                break Ok(group);
            }
        }
    };
    resident_pages: u64 = this.mm.nr_pages().0;
    swapped_pages: u64 = this.mm.nr_pages().1;
    is_killed: bool = this.mm.is_killed();
}

#[pymethods]
impl Mm {
    #[doc = stub!(Mm.mmap)]
    #[pyo3(signature = (nr_pages, *, orders = None, anon_order = 0, anon_orders = None, is_hugepage = None,
        is_locked = false, is_uffd_armed = false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn mmap(
        &self,
        nr_pages: NrVmaPages,
        orders: Option<OrdersMask>,
        #[pyo3(from_py_with = number::order)] anon_order: u64,
        anon_orders: Option<OrdersMask>,
        is_hugepage: Option<bool>,
        is_locked: bool,
        is_uffd_armed: bool,
    ) -> Result<u64> {
        let mask = |orders: Option<OrdersMask>| Orders::from_bits(orders.map_or(0, |mask| mask.0));
        let (orders, anon_orders) = (mask(orders)?, mask(anon_orders)?);
        let anon_order = convert::order(anon_order)?.get();
        let options = VmaOptions { orders, anon_order, anon_orders, is_hugepage, is_locked, is_uffd_armed };
        let vma = self.mm.mmap(nr_pages.0, options)?;
        Ok(vma.pages().start.0)
    }

    #[doc = stub!(Mm.array)]
    #[pyo3(signature = (shape, dtype = None, *, first_page = None, orders = None, anon_order = 0, cpu = None))]
    fn array<'py>(
        slf: &Bound<'py, Self>,
        shape: &Bound<'py, PyAny>,
        dtype: Option<&Bound<'py, PyAny>>,
        first_page: Option<PageNumber>,
        orders: Option<OrdersMask>,
        #[pyo3(from_py_with = number::order)] anon_order: u64,
        cpu: Option<Cpu>,
    ) -> Result<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let page = first_page.map(|page| page.0);
        let options = [("first_page", page), ("orders", orders.map(|mask| mask.0.into()))];
        let options = options.into_py_dict(py)?;
        options.set_item("anon_order", anon_order)?;
        options.set_item("cpu", cpu.map(|cpu| this.cpu(Some(cpu))).transpose()?.map(|cpu| cpu.0))?;
        // Only the module of arrays imports NumPy, so the extension imports the module at the first array.
        let class = py.import("swapcore.arrays")?.getattr("MmArray")?;
        let array = class.call((slf, shape, dtype), Some(&options))?;
        if let Some(page) = page {
            let nr_bytes = array.getattr("nbytes")?.extract()?;
            this.mm.check_mapped(page.saturating_mul(PAGE_SIZE as u64), nr_bytes)?;
        }
        Ok(array)
    }

    #[doc = stub!(Mm.read)]
    #[pyo3(signature = (address_bytes, nr_bytes, *, cpu = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        address_bytes: AddressBytes,
        nr_bytes: CopyBytes,
        cpu: Option<Cpu>,
    ) -> Result<Bound<'py, PyBytes>> {
        let (cpu, AddressBytes(address), CopyBytes(nr_bytes)) = (self.cpu(cpu)?, address_bytes, nr_bytes);
        self.mm.check_mapped(address, nr_bytes as u64)?;
        let mut bytes = zeroed_bytes(nr_bytes)?;
        // Even a read of one byte runs detached from the interpreter, because a page fault may read a device.
        let pieces = (address..).step_by(PIECE_BYTES).zip(bytes.chunks_mut(PIECE_BYTES));
        for_each(py, pieces, |(at, piece)| Ok(self.mm.read(at, piece, cpu)?))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[doc = stub!(Mm.read_into)]
    #[pyo3(signature = (address_bytes, buffer, *, cpu = None))]
    fn read_into(
        &self,
        py: Python<'_>,
        address_bytes: AddressBytes,
        buffer: &Bound<'_, PyAny>,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        let (cpu, AddressBytes(address), buffer) = (self.cpu(cpu)?, address_bytes, WritableBytes::get(buffer)?);
        let nr_bytes = buffer.len();
        self.mm.check_mapped(address, nr_bytes as u64)?;
        let mut scratch = zeroed_bytes(nr_bytes.min(SCRATCH_BYTES))?;
        for_each(py, (0..nr_bytes).step_by(SCRATCH_BYTES), |start| {
            let piece = &mut scratch[..SCRATCH_BYTES.min(nr_bytes - start)];
            self.mm.read(address + start as u64, piece, cpu)?;
            Ok(Python::attach(|py| buffer.fill(py, start, piece))?)
        })
    }

    #[doc = stub!(Mm.write)]
    #[pyo3(signature = (address_bytes, data, *, cpu = None))]
    fn write(
        &self,
        py: Python<'_>,
        address_bytes: AddressBytes,
        data: &Bound<'_, PyAny>,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        let (cpu, data) = (self.cpu(cpu)?, bytes_of(py, data)?);
        self.mm.check_mapped(address_bytes.0, data.len() as u64)?;
        let pieces = (address_bytes.0..).step_by(PIECE_BYTES).zip(data.chunks(PIECE_BYTES));
        for_each(py, pieces, |(at, piece)| Ok(self.mm.write(at, piece, cpu)?))
    }

    #[doc = stub!(Mm.touch_pages)]
    #[pyo3(signature = (first_page, pages, writes = None, *, cpu = None))]
    fn touch_pages(
        &self,
        py: Python<'_>,
        first_page: PageNumber,
        pages: &Bound<'_, PyAny>,
        writes: Option<&Bound<'_, PyAny>>,
        cpu: Option<Cpu>,
    ) -> Result<()> {
        let (cpu, pages) = (self.cpu(cpu)?, page_numbers(pages)?);
        let writes = write_flags(py, writes, pages.len())?;
        for_each(py, pages.iter().zip(&writes), |(&page, &write)| {
            let is_write = write != 0;
            let (folio, _) = self.mm.touch(Vpn(first_page.0.saturating_add(page)), Access::of(is_write), cpu)?;
            if is_write {
                folio.folio_mark_dirty();
            }
            Ok(())
        })
    }

    #[doc = stub!(Mm.pageout)]
    #[pyo3(signature = (first_page, nr_pages, *, cpu = None))]
    fn pageout<'py>(
        &self,
        py: Python<'py>,
        first_page: PageNumber,
        nr_pages: NrVmaPages,
        cpu: Option<Cpu>,
    ) -> Result<Bound<'py, PyDict>> {
        let cpu = self.cpu(cpu)?;
        let mut report = PageoutReport::default();
        // Each piece is the part of the range in one page table. No folio crosses the end of a page table, so the
        // pieces split no folio.
        for_each(py, table_pieces(first_page, nr_pages), |pages| {
            report.add(self.mm.pageout(pages, cpu)?);
            Ok(())
        })?;
        convert::pageout_dict(py, &report)
    }

    #[doc = stub!(Mm.willneed)]
    #[pyo3(signature = (first_page, nr_pages, *, cpu = None))]
    fn willneed(&self, py: Python<'_>, first_page: PageNumber, nr_pages: NrVmaPages, cpu: Option<Cpu>) -> Result<u64> {
        let cpu = self.cpu(cpu)?;
        let mut nr_read_pages = 0;
        for_each(py, table_pieces(first_page, nr_pages), |pages| {
            nr_read_pages += self.mm.willneed(pages, cpu)?;
            Ok(())
        })?;
        Ok(nr_read_pages)
    }

    #[doc = stub!(Mm.zap)]
    #[pyo3(signature = (first_page, nr_pages, *, cpu = None))]
    fn zap(&self, py: Python<'_>, first_page: PageNumber, nr_pages: NrVmaPages, cpu: Option<Cpu>) -> Result<()> {
        let cpu = self.cpu(cpu)?;
        let pages = Vpn(first_page.0)..Vpn(first_page.0.saturating_add(nr_pages.0));
        Ok(py.detach(|| self.mm.zap(pages, cpu))?)
    }

    #[doc = stub!(Mm.fork)]
    #[pyo3(signature = (*, cpu = None))]
    fn fork(&self, py: Python<'_>, cpu: Option<Cpu>) -> Result<Py<Self>> {
        let cpu = self.cpu(cpu)?;
        let child = py.detach(|| self.mm.fork(cpu))?;
        Self::listed(py, child)
    }

    #[setter]
    fn set_memcg(&self, memcg: &Bound<'_, MemCgroup>) -> Result<()> {
        let swap = self.mm.swap();
        swap.memcg_enabled()?;
        Ok(self.mm.enter_group(MemCgroup::css_of(Some(memcg), swap)?)?)
    }

    #[doc = stub!(Mm.swap_entry)]
    fn swap_entry(&self, page: PageNumber) -> Result<Option<SwpEntry>> {
        let entry = self.mm.swap_entry(Vpn(page.0))?;
        Ok(entry.map(SwpEntry::single))
    }

    #[doc = stub!(Mm.pagemap)]
    fn pagemap<'py>(&self, py: Python<'py>, first_page: PageNumber, nr_pages: NrVmaPages) -> Result<Bound<'py, PyAny>> {
        let pages = Vpn(first_page.0)..Vpn(first_page.0.saturating_add(nr_pages.0));
        column_of_words(py, &py.detach(|| self.mm.pagemap(pages))?)
    }

    #[doc = stub!(Mm.unuse)]
    #[pyo3(signature = (device, *, cpu = None))]
    fn unuse(&self, py: Python<'_>, device: &Bound<'_, SwapDevice>, cpu: Option<Cpu>) -> Result<()> {
        let (cpu, ty) = (self.cpu(cpu)?, device.get().live_in(self.mm.swap())?.ty());
        detached(py, || self.mm.unuse(ty, cpu))
    }

    fn __repr__(&self) -> String {
        let (resident, swapped) = self.mm.nr_pages();
        format!("<Mm: {resident} pages resident, {swapped} swapped out>")
    }
}

#[pymethods]
impl MemCgroup {
    #[doc = stub!(MemCgroup.tasks)]
    #[getter]
    fn tasks(&self, py: Python<'_>) -> Vec<Py<Mm>> {
        let references: Vec<_> = {
            let tasks = TASKS.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.values().map(|reference| reference.clone_ref(py)).collect()
        };
        let tasks = references.into_iter().filter_map(|reference| {
            let task = reference.bind(py).upgrade()?.cast_into::<Mm>().ok()?;
            let mm = &task.get().mm;
            (self.is_group(mm.swap(), mm.css()) && !task.get().mm.is_killed()).then(|| task.unbind())
        });
        tasks.collect()
    }
}
