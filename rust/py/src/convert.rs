//! Arguments as Python gives them, as the core takes them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};
use swapcore::storage::{Algorithm, SwapStorage};
use swapcore::{CpuId, DeviceSpec, Discard, Order, SwapError};

use crate::arrays::EntriesArg;
use crate::entry::SwpEntry;
use crate::errors::{Error, Result};
use crate::folio::Folio;
use crate::number;
use crate::storage::Storage;

/// An entry argument: an `SwpEntry`, or an int.
pub(crate) enum EntryArg<'py> {
    /// The class; it knows its order.
    Entry(Bound<'py, SwpEntry>),
    /// The bare word.
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

    /// Returns the slots meant: `nr`, or the entry's whole run.
    pub(crate) fn nr_pages(&self, nr: Option<u32>) -> u32 {
        nr.unwrap_or_else(|| match self {
            Self::Entry(entry) => entry.get().order.nr_pages(),
            Self::Value(_) => 1,
        })
    }
}

/// What `Swap.swapon` takes: a storage, an object that has one, or the description of a device without data.
pub(crate) enum StorageArg {
    /// With a place for data.
    Storage(Arc<dyn SwapStorage>),
    /// Metadata only.
    Geometry(DeviceSpec),
}

impl<'a, 'py> FromPyObject<'a, 'py> for StorageArg {
    type Error = PyErr;

    fn extract(ob: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if ob.is_instance_of::<PyString>() || ob.is_instance_of::<PyInt>() {
            let given = ob.repr()?;
            return Err(PyTypeError::new_err(format!("give a storage, such as swapcore.Null({given}), not its size")));
        }
        if let Ok(storage) = ob.cast::<Storage>() {
            return Ok(Self::Storage(storage.get().storage.clone()));
        }
        if let Ok(storage) = ob.getattr("storage")
            && let Ok(storage) = storage.cast::<Storage>()
        {
            return Ok(Self::Storage(storage.get().storage.clone()));
        }
        Ok(Self::Geometry(DeviceSpec {
            bad_pages: number::bad_pages(&ob.getattr("bad_pages")?)?,
            is_rotational: ob.getattr("is_rotational")?.extract()?,
            is_block_device: ob.getattr("is_block_device")?.extract()?,
            can_discard: ob.getattr("can_discard")?.extract()?,
            ..DeviceSpec::new(number::pages(&ob.getattr("pages")?)?)
        }))
    }
}

impl StorageArg {
    /// Turns the device on.
    pub(crate) fn swapon(
        self,
        swap: &swapcore::Swap,
        priority: Option<i16>,
        discard: Discard,
    ) -> swapcore::Result<Arc<swapcore::SwapDevice>> {
        match self {
            Self::Storage(storage) => swap.swapon_storage(storage, priority, discard),
            Self::Geometry(spec) => swap.swapon(&DeviceSpec { discard, priority, ..spec }),
        }
    }
}

/// Folios in a list or any other sequence.
pub(crate) fn folios<'py>(ob: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, Folio>>> {
    ob.try_iter()?.map(|folio| Ok(folio?.cast_into::<Folio>()?)).collect()
}

/// Runs to swap in: a batch, a buffer of bare words, or a sequence of entries.
pub(crate) fn runs(ob: &Bound<'_, PyAny>, order: u64) -> Result<Vec<(swapcore::SwpEntry, u32)>> {
    if let Ok(entries) = ob.extract::<EntriesArg<'_>>() {
        let nr_pages = entries.order(order)?.nr_pages();
        return Ok(entries.entries().iter().map(|&entry| (entry, nr_pages)).collect());
    }
    let mut runs = Vec::new();
    for entry in ob.try_iter()? {
        let entry = entry?;
        let entry: EntryArg<'_> = entry.extract()?;
        runs.push((entry.entry(), entry.nr_pages(None)));
    }
    Ok(runs)
}

/// Words as bytes in native order.
pub(crate) fn words<'py>(py: Python<'py>, words: &[u64]) -> Result<Bound<'py, PyBytes>> {
    Ok(PyBytes::new_with(py, size_of_val(words), |bytes| {
        bytes.chunks_exact_mut(8).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_ne_bytes()));
        Ok(())
    })?)
}

/// The compressor of that name, at its default level.
pub(crate) fn compressor(name: &str) -> Result<Algorithm> {
    Ok(Algorithm::from_name(name, None)?)
}

/// The discard policy of that word.
pub(crate) fn discard(word: Option<&str>) -> Result<Discard> {
    Ok(word.map_or(Ok(Discard::None), Discard::from_name)?)
}

/// Checks an order argument.
pub(crate) fn order(order: u64) -> Result<Order> {
    let checked = u8::try_from(order).ok().and_then(Order::new);
    Ok(checked.ok_or(SwapError::OrderTooLarge(order))?)
}

/// Returns the CPU meant: the one given, or this thread's own number.
pub(crate) fn cpu(cpu: Option<usize>, nr_cpus: usize) -> Result<CpuId> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    thread_local!(static STICKY: Cell<u16> = const { Cell::new(u16::MAX) });
    let Some(cpu) = cpu else {
        let sticky = STICKY.with(|sticky| {
            if sticky.get() == u16::MAX {
                // Relaxed: only the numbers matter, and each is handed out once.
                sticky.set(NEXT.fetch_add(1, Ordering::Relaxed) % swapcore::base::limits::MAX_CPUS as u16);
            }
            sticky.get()
        });
        return Ok(CpuId(sticky % nr_cpus as u16));
    };
    let bad = || Error::Core(SwapError::BadCpu { cpu, nr_cpus });
    u16::try_from(cpu).ok().filter(|_| cpu < nr_cpus).map(CpuId).ok_or_else(bad)
}
