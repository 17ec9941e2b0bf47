//! Arguments that are entries or runs of entries.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use swapcore::{Order, SwapError};

use super::batch::SwapBatch;
use super::entry::SwpEntry;
use crate::border::buffer::native;
use crate::border::convert;
use crate::border::errors::{Error, Result};
use crate::border::number::NrSlots;

/// An argument that is one entry: an `SwpEntry`, or an int.
pub(crate) enum EntryArg<'py> {
    /// An `SwpEntry`, which has its order.
    Entry(Bound<'py, SwpEntry>),
    /// An int, which is the value of an entry and has no order.
    Value(u64),
}

impl<'a, 'py> FromPyObject<'a, 'py> for EntryArg<'py> {
    type Error = PyErr;

    fn extract(ob: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(entry) = ob.cast::<SwpEntry>() {
            return Ok(Self::Entry(entry.to_owned()));
        }
        if let Ok(value) = ob.extract() {
            return Ok(Self::Value(value));
        }
        if ob.is_instance_of::<PyInt>() {
            return Err(Error::Core(SwapError::NotAWord(ob.to_string())).into());
        }
        let kind = ob.get_type().name()?.to_string();
        Err(PyTypeError::new_err(format!("an entry is an SwpEntry or an int, not {kind}")))
    }
}

impl EntryArg<'_> {
    pub(crate) fn entry(&self) -> swapcore::SwpEntry {
        match self {
            Self::Entry(entry) => entry.get().entry,
            Self::Value(value) => swapcore::SwpEntry::from_value(*value),
        }
    }

    /// Returns the number of slots: `nr` if the caller passed `nr`, else the number of slots of the entry's run.
    pub(crate) fn nr_pages(&self, nr: Option<NrSlots>) -> u32 {
        match (nr, self) {
            (Some(NrSlots(nr)), _) => nr,
            (None, Self::Entry(entry)) => entry.get().order.nr_pages(),
            (None, Self::Value(_)) => 1,
        }
    }
}

/// An argument of many entries: a `SwapBatch`, or a C-contiguous buffer of uint64.
pub(crate) enum EntriesArg<'py> {
    /// A `SwapBatch`. The entries of the batch are not copied, because a batch never changes.
    Batch(Bound<'py, SwapBatch>),
    /// A copy of the entries of a buffer. The entries are copied, because the owner of the buffer may change the
    /// buffer during the call.
    Copied(Vec<swapcore::SwpEntry>),
}

impl EntriesArg<'_> {
    pub(crate) fn entries(&self) -> &[swapcore::SwpEntry] {
        match self {
            Self::Batch(batch) => &batch.get().entries,
            Self::Copied(entries) => entries,
        }
    }

    /// Returns the order of the runs. A batch stores its order. For a buffer the order is the argument `order`.
    pub(crate) fn order(&self, order: u64) -> Result<Order> {
        match self {
            Self::Batch(batch) => Ok(batch.get().order),
            Self::Copied(_) => convert::order(order),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for EntriesArg<'py> {
    type Error = PyErr;

    fn extract(ob: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(batch) = ob.cast::<SwapBatch>() {
            return Ok(Self::Batch(batch.to_owned()));
        }
        let Ok(buffer) = PyBuffer::<u64>::get(&ob) else {
            let kind = ob.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "entries come as a SwapBatch or as a buffer of uint64, such as np.array(entries, np.uint64), not as {kind}"
            )));
        };
        let entries = native(&buffer)?.to_vec(ob.py())?;
        Ok(Self::Copied(entries.into_iter().map(swapcore::SwpEntry::from_value).collect()))
    }
}

/// Returns the first entry and the length of each run. The argument is a batch, a buffer of uint64, or a sequence of
/// entries.
pub(crate) fn runs(ob: &Bound<'_, PyAny>, order: u64) -> Result<Vec<(swapcore::SwpEntry, u32)>> {
    if let Ok(entries) = ob.extract::<EntriesArg<'_>>() {
        let nr_pages = entries.order(order)?.nr_pages();
        return Ok(entries.entries().iter().map(|&entry| (entry, nr_pages)).collect());
    }
    let run_of = |entry: PyResult<Bound<'_, PyAny>>| {
        let entry = entry?;
        let entry: EntryArg<'_> = entry.extract()?;
        Ok((entry.entry(), entry.nr_pages(None)))
    };
    ob.try_iter()?.map(run_of).collect()
}
