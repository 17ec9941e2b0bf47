//! Python buffers. The functions read bytes and numbers from buffers of the Python caller, and give the caller bytes
//! and views of memory.

use std::ffi::{CStr, c_int, c_void};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
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

/// Returns the bytes of 64-bit words in native byte order.
pub(crate) fn bytes_of_words<'py>(py: Python<'py>, words: &[u64]) -> Result<Bound<'py, PyBytes>> {
    Ok(PyBytes::new_with(py, size_of_val(words), |bytes| {
        bytes.chunks_exact_mut(8).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_ne_bytes()));
        Ok(())
    })?)
}

/// Returns a writable buffer view with one dimension. `shape` has the number of items and the number of bytes of an
/// item. `flags` are the fields that the consumer requests. The view has a reference to `owner`. The caller must keep
/// `shape` in place while the view exists, because the view points to `shape`.
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
