//! Functions that read and build the SWAPSPACE2 header page of a swap file.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::storage::header::SwapHeader;

use crate::border::errors::Result;
use crate::border::number::{self, LastPage};

#[doc = stub!(parse_swap_header)]
#[pyfunction]
pub(crate) fn parse_swap_header<'py>(py: Python<'py>, page: PyBuffer<u8>) -> Result<Bound<'py, PyDict>> {
    let header = SwapHeader::parse(&page.to_vec(py)?)?;
    let fields = PyDict::new(py);
    fields.set_item("version", 1)?;
    set_fields!(fields, header: last_page bad_pages);
    fields.set_item("uuid", PyBytes::new(py, &header.uuid))?;
    fields.set_item("label", header.label)?;
    Ok(fields)
}

#[doc = stub!(build_swap_header)]
#[pyfunction]
#[pyo3(signature = (last_page, bad_pages = Vec::new(), uuid = [0; 16], label = String::new()))]
pub(crate) fn build_swap_header(
    py: Python<'_>,
    last_page: LastPage,
    #[pyo3(from_py_with = number::bad_pages)] bad_pages: Vec<u32>,
    uuid: [u8; 16],
    label: String,
) -> Result<Bound<'_, PyBytes>> {
    let page = SwapHeader { last_page: last_page.0, bad_pages, uuid, label }.build()?;
    Ok(PyBytes::new(py, &page))
}
