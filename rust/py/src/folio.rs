//! `Folio`: a Python handle on a folio, which is one page or several adjacent pages with data.

use std::ffi::{c_int, c_void};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use swapcore::{CpuId, FolioFlags, FolioHandle, FolioViewHandle, SwapError};

use crate::border::buffer::{bytes_of, view_of};
use crate::border::errors::Result;
use crate::border::number::{self, NrBytes};
use crate::memcg::MemCgroup;
use crate::slots::entry::SwpEntry;

#[doc = stub!(Folio)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Folio {
    pub(crate) folio: FolioHandle,
}

#[doc = stub!(FolioLock)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct FolioLock {
    folio: Py<Folio>,
}

impl FolioLock {
    pub(crate) fn new(folio: Py<Folio>) -> Self {
        Self { folio }
    }
}

#[pymethods]
impl FolioLock {
    fn __enter__(&self, py: Python<'_>) -> Result<Py<Folio>> {
        let folio = &self.folio.get().folio;
        py.detach(|| folio.hold_lock())?;
        Ok(self.folio.clone_ref(py))
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>, _traceback: &Bound<'_, PyAny>) {
        self.folio.get().folio.set_locked(false);
    }

    fn __repr__(&self) -> String {
        format!("<FolioLock of {}>", self.folio.get().__repr__())
    }
}

/// The memory to which a Python buffer view points until the view is released: the bytes of the folio through `view`,
/// and `shape`.
struct Export {
    view: FolioViewHandle,
    shape: [ffi::Py_ssize_t; 2],
}

impl Folio {
    pub(crate) fn new(folio: FolioHandle) -> Self {
        Self { folio }
    }

    fn flag(&self, flag: FolioFlags) -> Result<bool> {
        Ok(self.folio.with(|folio| Ok(folio.has(flag)))?)
    }

    fn len_bytes(&self) -> usize {
        self.folio.order().nr_pages() as usize * swapcore::base::limits::PAGE_SIZE
    }

    /// Returns a range of the folio's bytes. Errors: EINVAL when the range ends after the folio.
    fn range(&self, offset_bytes: u64, nr_bytes: u64) -> Result<std::ops::Range<usize>> {
        let high = self.len_bytes() as u64;
        let end = offset_bytes.saturating_add(nr_bytes);
        if end > high {
            return Err(SwapError::OutOfRange { what: "end of the bytes", value: end.into(), low: 0, high }.into());
        }
        Ok(offset_bytes as usize..end as usize)
    }
}

getters! {
    Folio(this):
    pfn: Result<Option<u64>> = Ok(this.folio.with(|folio| Ok(folio.entry().map(|_| folio.pfn().0)))?);
    order: u8 = this.folio.order().get();
    nr_pages: u32 = this.folio.order().nr_pages();
    entry: Result<Option<SwpEntry>> = {
        let entry = match this.folio.gone_to() {
            Some(entry) => Some(entry),
            None if !this.folio.is_resident() => None,
            None => this.folio.with(|folio| Ok(folio.entry()))?,
        };
        Ok(entry.map(|entry| SwpEntry { entry, order: this.folio.order() }))
    };
    is_resident: bool = this.folio.is_resident();
    // 1 is subtracted, because `FolioHandle::with` itself holds a reference to the folio during the call.
    refs: Result<u32> = Ok(this.folio.with(|folio| Ok(folio.refs() - 1))?);
    mapcount: Result<u32> = Ok(this.folio.with(|folio| Ok(folio.mapcount()))?);
    is_locked: Result<bool> = this.flag(FolioFlags::LOCKED);
    is_writeback: Result<bool> = this.flag(FolioFlags::WRITEBACK);
    is_mapped: Result<bool> = Ok(this.folio.with(|folio| Ok(folio.is_mapped()))?);
    is_dirty: Result<bool> = this.flag(FolioFlags::DIRTY);
    is_uptodate: Result<bool> = this.flag(FolioFlags::UPTODATE);
    is_active: Result<bool> = Ok(this.folio.with(|folio| Ok(folio.is_active()))?);
    is_workingset: Result<bool> = this.flag(FolioFlags::WORKINGSET);
    memcg: Result<Option<MemCgroup>> = {
        let css = this.folio.with(|folio| Ok(folio.css()))?;
        Ok(css.and_then(|css| MemCgroup::of(this.folio.swap(), css)))
    };
}

#[pymethods]
impl Folio {
    #[setter]
    fn set_is_locked(&self, is_locked: bool) {
        self.folio.set_locked(is_locked);
    }

    #[setter]
    fn set_is_writeback(&self, is_writeback: bool) -> Result<()> {
        Ok(self.folio.set_writeback(is_writeback)?)
    }

    #[setter]
    fn set_is_mapped(&self, is_mapped: bool) -> Result<()> {
        Ok(self.folio.set_mapped(is_mapped, CpuId(0))?)
    }

    #[setter]
    fn set_is_dirty(&self, is_dirty: bool) -> Result<()> {
        Ok(self.folio.set_dirty(is_dirty)?)
    }

    #[doc = stub!(Folio.read)]
    #[pyo3(signature = (offset_bytes = 0, nr_bytes = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = number::offset_bytes)] offset_bytes: u64,
        nr_bytes: Option<NrBytes>,
    ) -> Result<Bound<'py, PyBytes>> {
        let rest = (self.len_bytes() as u64).saturating_sub(offset_bytes);
        let range = self.range(offset_bytes, nr_bytes.map_or(rest, |nr| nr.0))?;
        Ok(self.folio.with(|folio| Ok(PyBytes::new(py, &folio.bytes()?[range])))?)
    }

    #[doc = stub!(Folio.write)]
    #[pyo3(signature = (data, offset_bytes = 0))]
    fn write(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = number::offset_bytes)] offset_bytes: u64,
    ) -> Result<()> {
        let data = bytes_of(py, data)?;
        let range = self.range(offset_bytes, data.len() as u64)?;
        Ok(self.folio.with(|folio| {
            folio.bytes_mut()?[range].copy_from_slice(&data);
            folio.folio_mark_dirty();
            Ok(())
        })?)
    }

    fn __len__(&self) -> usize {
        self.len_bytes()
    }

    // SAFETY: the caller keeps the contract of the buffer protocol: `view` is null, or a view that CPython owns.
    #[expect(unsafe_code, reason = "the buffer protocol is a C struct that we fill in")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill in"));
        }
        let shared = slf.get().folio.view().map_err(|error| PyErr::from(crate::border::errors::Error::Core(error)))?;
        let (address, len_bytes) = shared.as_raw();
        let export = Box::new(Export { view: shared, shape: [len_bytes as ffi::Py_ssize_t, 1] });
        let filled = view_of(slf.clone().into_any(), address.cast(), &export.shape, c"B", flags);
        let filled = ffi::Py_buffer { internal: Box::into_raw(export).cast::<c_void>(), ..filled };
        // SAFETY: 1. `view` is not null, and CPython passes `view` to this function to fill in. 2. The export lives
        // until `__releasebuffer__`. Until then the bytes stay in place and the core does not use the bytes, because
        // the export has the folio view. Shape and strides stay in place, because the export has the shape. `obj` is
        // a reference to the folio object until then.
        unsafe { view.write(filled) };
        Ok(())
    }

    // SAFETY: the caller keeps the contract of the buffer protocol: `__getbuffer__` filled `view` in, and
    // CPython passes it once.
    #[expect(unsafe_code, reason = "the buffer protocol hands our pointer back")]
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: CPython passes a view that `__getbuffer__` filled in, so `view` is valid.
        let internal = unsafe { (*view).internal };
        // SAFETY: `internal` came from `Box::into_raw` of an `Export`, and CPython releases a view once.
        drop(unsafe { Box::from_raw(internal.cast::<Export>()) }.view);
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.folio.is_same(&other.folio)
    }

    fn __hash__(&self) -> u64 {
        self.folio.pfn().0
    }

    fn __repr__(&self) -> String {
        let order = self.order();
        if let Some(entry) = self.folio.gone_to() {
            return format!("<Folio of order {order}, swapped out to {entry}>");
        }
        match self.folio.with(|folio| Ok(folio.entry())) {
            Ok(Some(entry)) => format!("<Folio of order {order}, {entry}>"),
            Ok(None) => format!("<Folio of order {order}, not cached>"),
            Err(_) => format!("<Folio of order {order}, gone>"),
        }
    }
}
