//! `SwapBatch`: the entries that one call of `Swap.alloc_batch` allocated. Python reads the entries as a buffer of
//! uint64.

use std::ffi::c_int;

use pyo3::exceptions::{PyBufferError, PyIndexError};
use pyo3::ffi;
use pyo3::prelude::*;
use swapcore::Order;

use super::entry::SwpEntry;
use crate::border::buffer::view_of;

#[doc = stub!(SwapBatch)]
#[pyclass(frozen, sequence, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct SwapBatch {
    pub(crate) entries: Box<[swapcore::SwpEntry]>,
    pub(crate) order: Order,
    /// The number of entries, and the number of bytes of an entry. Buffer views point to this field as their shape
    /// and strides.
    shape: [ffi::Py_ssize_t; 2],
}

impl SwapBatch {
    pub(crate) fn new(entries: Vec<swapcore::SwpEntry>, order: Order) -> Self {
        let shape = [entries.len() as ffi::Py_ssize_t, size_of::<u64>() as ffi::Py_ssize_t];
        Self { entries: entries.into_boxed_slice(), order, shape }
    }
}

getters! {
    SwapBatch(batch):
    order: u8 = batch.order.get();
    nr_pages: u64 = batch.entries.len() as u64 * batch.order.nr_pages() as u64;
}

#[pymethods]
impl SwapBatch {
    fn __len__(&self) -> usize {
        self.entries.len()
    }

    fn __getitem__(&self, index: isize) -> PyResult<SwpEntry> {
        let len = self.entries.len() as isize;
        let at = if index < 0 { index + len } else { index };
        let entry = usize::try_from(at).ok().and_then(|at| self.entries.get(at));
        let missing = || PyIndexError::new_err(format!("index {index} is not in a batch of {len}"));
        entry.map(|&entry| SwpEntry { entry, order: self.order }).ok_or_else(missing)
    }

    fn __iter__(slf: Bound<'_, Self>) -> BatchIter {
        BatchIter { batch: slf.unbind(), at: std::sync::atomic::AtomicUsize::new(0) }
    }

    fn __repr__(&self) -> String {
        format!("<SwapBatch of {} runs of order {}>", self.entries.len(), self.order.get())
    }

    // SAFETY: the caller keeps the contract of the buffer protocol: `view` is null, or a view that CPython owns.
    #[expect(unsafe_code, reason = "the buffer protocol is a C struct that we fill in")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill in"));
        }
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("a batch is read-only"));
        }
        let this = slf.get();
        let address = this.entries.as_ptr().cast_mut().cast();
        let filled = view_of(slf.clone().into_any(), address, &this.shape, c"Q", flags);
        let filled = ffi::Py_buffer { readonly: 1, ..filled };
        // SAFETY: 1. `view` is not null, and CPython passes `view` to this function to fill in. 2. Entries, shape and
        // format stay in place while the batch lives, because the class is frozen. The batch lives until the view is
        // released, because `obj` is a reference to the batch.
        unsafe { view.write(filled) };
        Ok(())
    }
}

/// The iterator over the entries of a batch.
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct BatchIter {
    batch: Py<SwapBatch>,
    at: std::sync::atomic::AtomicUsize,
}

#[pymethods]
impl BatchIter {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self) -> Option<SwpEntry> {
        let batch = self.batch.get();
        // Relaxed is enough, because the addition is atomic, so threads that share an iterator get different entries.
        // The order in which the threads get the entries is undefined.
        let at = self.at.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        batch.entries.get(at).map(|&entry| SwpEntry { entry, order: batch.order })
    }
}
