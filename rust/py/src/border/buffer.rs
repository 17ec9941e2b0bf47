//! Functions for Python buffers: they read bytes and numbers from buffers of the Python caller, and make bytes
//! objects and buffer views for the caller.

use std::ffi::{CStr, c_int, c_void};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};
use swapcore::SwapError;

use super::errors::Result;

/// Returns an error if a buffer has the other byte order than the machine. PyO3 does not check the byte order,
/// because the type code of the items is the same in both byte orders.
pub(crate) fn native<T: pyo3::buffer::Element>(buffer: &PyBuffer<T>) -> PyResult<&PyBuffer<T>> {
    let foreign = if cfg!(target_endian = "little") { b">!".as_slice() } else { b"<".as_slice() };
    match buffer.format().to_bytes().first() {
        Some(mark) if size_of::<T>() > 1 && foreign.contains(mark) => {
            Err(PyBufferError::new_err("the buffer is of the other byte order"))
        }
        _ => Ok(buffer),
    }
}

/// Copies page numbers from a C-contiguous buffer of uint32 or uint64. Errors: TypeError when the items have another
/// type.
pub(crate) fn page_numbers(ob: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    if let Ok(buffer) = PyBuffer::<u64>::get(ob) {
        return native(&buffer)?.to_vec(ob.py());
    }
    let Ok(buffer) = PyBuffer::<u32>::get(ob) else {
        let kind = ob.get_type().name()?;
        return Err(PyTypeError::new_err(format!("pages come as a buffer of uint32 or uint64, not as {kind}")));
    };
    Ok(native(&buffer)?.to_vec(ob.py())?.into_iter().map(u64::from).collect())
}

/// Returns a byte of each of `nr_pages` pages that is not 0 when the access to the page is a write. Without `writes` no
/// access is a write. Errors: EINVAL when the lengths differ.
pub(crate) fn write_flags(py: Python<'_>, writes: Option<&Bound<'_, PyAny>>, nr_pages: usize) -> Result<Vec<u8>> {
    let writes = writes.map_or_else(|| Ok(vec![0; nr_pages]), |writes| bytes_of(py, writes))?;
    if writes.len() != nr_pages {
        let (what, value, nr) = ("number of writes", writes.len() as i128, nr_pages as u64);
        return Err(SwapError::OutOfRange { what, value, low: nr, high: nr }.into());
    }
    Ok(writes)
}

/// Returns bytes of zeros for a read to fill in. Errors: `NoMemory` (ENOMEM).
pub(crate) fn zeroed_bytes(nr_bytes: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(nr_bytes).map_err(|_| SwapError::NoMemory(nr_bytes as u64))?;
    bytes.resize(nr_bytes, 0);
    Ok(bytes)
}

/// Copies the bytes of a buffer. The items of the buffer can have any type.
pub(crate) fn bytes_of(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(buffer) = PyBuffer::<u8>::get(data) {
        return buffer.to_vec(py);
    }
    // The items are not bytes, so a `memoryview` casts the buffer to bytes in the order of memory.
    let bytes = data.py().get_type::<pyo3::types::PyMemoryView>().call1((data,))?.call_method1("cast", ("B",))?;
    PyBuffer::<u8>::get(&bytes)?.to_vec(py)
}

/// A writable buffer of the Python caller, as bytes in the order of memory. The items of the buffer can have any type.
pub(crate) struct WritableBytes {
    /// A `memoryview` of bytes.
    view: Py<PyAny>,
    nr_bytes: usize,
}

impl WritableBytes {
    /// Takes a view of a buffer. Errors: TypeError when the object has no buffer, or its buffer is read-only or is not
    /// C-contiguous.
    pub(crate) fn get(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let view = PyMemoryView::from(data)?.into_any();
        if view.getattr("readonly")?.is_truthy()? {
            let kind = data.get_type().name()?;
            return Err(PyTypeError::new_err(format!("the buffer must be writable, and {kind} is read-only")));
        }
        let nr_bytes: usize = view.getattr("nbytes")?.extract()?;
        // `cast` refuses a view without items, and no byte of such a view is ever written.
        let view = if nr_bytes == 0 { view } else { view.call_method1("cast", ("B",))? };
        Ok(Self { view: view.unbind(), nr_bytes })
    }

    pub(crate) fn len(&self) -> usize {
        self.nr_bytes
    }

    /// Copies `bytes` to the buffer, from byte `start` on. Errors: IndexError or BufferError when the buffer has
    /// become shorter.
    pub(crate) fn fill(&self, py: Python<'_>, start: usize, bytes: &[u8]) -> PyResult<()> {
        let end = start + bytes.len();
        let part = self.view.bind(py).get_item(PySlice::new(py, start as isize, end as isize, 1))?;
        PyBuffer::<u8>::get(&part)?.copy_from_slice(py, bytes)
    }
}

/// Returns a read-only `memoryview` with one item for each value. NumPy and pandas take the type of the items from the
/// view. `N` is the size of an item, and `format` is the code of its type in the module `struct`.
pub(crate) fn column<'py, const N: usize>(
    py: Python<'py>,
    format: &str,
    items: impl ExactSizeIterator<Item = [u8; N]>,
) -> Result<Bound<'py, PyAny>> {
    let bytes = PyBytes::new_with(py, items.len() * N, |bytes| {
        bytes.chunks_exact_mut(N).zip(items).for_each(|(to, item)| to.copy_from_slice(&item));
        Ok(())
    })?;
    Ok(PyMemoryView::from(&bytes)?.call_method1("cast", (format,))?)
}

/// Returns a read-only `memoryview` of uint64.
pub(crate) fn column_of_words<'py>(py: Python<'py>, words: &[u64]) -> Result<Bound<'py, PyAny>> {
    column(py, "Q", words.iter().map(|word| word.to_ne_bytes()))
}

/// Returns a writable buffer view with one dimension. `shape` has the number of items and the number of bytes of an
/// item. `flags` are the flags with which the consumer of the view requests fields. The view has a reference to
/// `owner`. The caller must keep `shape` in place while the view exists, because the view points to `shape`.
pub(crate) fn view_of(
    owner: Bound<'_, PyAny>,
    address: *mut c_void,
    shape: &[ffi::Py_ssize_t; 2],
    format: &'static CStr,
    flags: c_int,
) -> ffi::Py_buffer {
    let [len, item_bytes] = *shape;
    let shape = shape.as_ptr().cast_mut();
    let wants = |flag: c_int| flags & flag == flag;
    ffi::Py_buffer {
        buf: address,
        len: len * item_bytes,
        readonly: 0,
        itemsize: item_bytes,
        format: if wants(ffi::PyBUF_FORMAT) { format.as_ptr().cast_mut() } else { std::ptr::null_mut() },
        ndim: 1,
        shape: if wants(ffi::PyBUF_ND) { shape } else { std::ptr::null_mut() },
        strides: if wants(ffi::PyBUF_STRIDES) { shape.wrapping_add(1) } else { std::ptr::null_mut() },
        suboffsets: std::ptr::null_mut(),
        internal: std::ptr::null_mut(),
        obj: owner.into_ptr(),
    }
}
