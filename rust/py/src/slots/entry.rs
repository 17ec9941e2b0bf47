//! `SwpEntry`: an immutable Python value, similar to an int, that names one slot or the first slot of a run.

use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use swapcore::Order;

use crate::border::convert;
use crate::border::errors::Result;
use crate::border::number;

#[doc = stub!(SwpEntry)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct SwpEntry {
    pub(crate) entry: swapcore::SwpEntry,
    pub(crate) order: Order,
}

getters! {
    SwpEntry(this):
    value: u64 = this.entry.value();
    r#type: u8 = this.entry.ty().0;
    offset: u32 = this.entry.offset().0;
    order: u8 = this.order.get();
    nr_pages: u32 = this.order.nr_pages();
}

impl SwpEntry {
    /// Returns the Python object of one slot.
    pub(crate) fn single(entry: swapcore::SwpEntry) -> Self {
        Self { entry, order: Order::ZERO }
    }
}

#[pymethods]
impl SwpEntry {
    #[new]
    #[pyo3(signature = (value, order = 0))]
    fn new(value: u64, #[pyo3(from_py_with = number::order)] order: u64) -> Result<Self> {
        Ok(Self { entry: swapcore::SwpEntry::from_value(value), order: convert::order(order)? })
    }

    fn __int__(&self) -> u64 {
        self.entry.value()
    }

    fn __index__(&self) -> u64 {
        self.entry.value()
    }

    fn __hash__(&self) -> u64 {
        self.entry.value()
    }

    fn __richcmp__(&self, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let value = match other.cast::<Self>() {
            Ok(other) => Some(other.get().entry.value()),
            // An entry equals the int of its value. `<` and `>` between an entry and an int are not supported.
            Err(_) if matches!(op, CompareOp::Eq | CompareOp::Ne) && other.is_instance_of::<PyInt>() => {
                other.extract().ok()
            }
            Err(_) => None,
        };
        match value {
            Some(value) => {
                Ok(op.matches(self.entry.value().cmp(&value)).into_pyobject(py)?.to_owned().unbind().into_any())
            }
            None => Ok(py.NotImplemented()),
        }
    }

    fn __repr__(&self) -> String {
        let order = if self.order == Order::ZERO { String::new() } else { self.order.to_string() };
        format!("{}{order}", self.entry)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, (u64, u8)) {
        let this = slf.get();
        (slf.get_type().into_any(), (this.entry.value(), this.order.get()))
    }
}
