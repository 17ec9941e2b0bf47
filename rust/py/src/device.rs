//! `SwapDevice`: a Python handle on a device. After a swapoff of the device the handle still exists, but its methods
//! that need the device raise an error.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::SwapError;
use swapcore::base::limits::SWAPFILE_CLUSTER;
use swapcore::storage::spec::Visibility;

use crate::border::buffer::column;
use crate::border::calls::detached;
use crate::border::errors::{Error, Result};
use crate::storage::Storage;

#[doc = stub!(SwapDevice)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct SwapDevice {
    pub(crate) swap: Arc<swapcore::Swap>,
    /// The reference is weak, so that a swapoff frees the memory of the device even while Python has a handle.
    device: Weak<swapcore::SwapDevice>,
    ty: swapcore::SwpType,
}

impl SwapDevice {
    pub(crate) fn new(swap: Arc<swapcore::Swap>, device: &Arc<swapcore::SwapDevice>) -> Self {
        Self { swap, device: Arc::downgrade(device), ty: device.ty() }
    }

    /// Returns the device. Errors: `DeviceOff` (ENOENT) when the device was turned off.
    pub(crate) fn live(&self) -> Result<Arc<swapcore::SwapDevice>> {
        Ok(self.device.upgrade().ok_or(SwapError::DeviceOff(self.ty.0))?)
    }

    /// Returns the device as one of the subsystem `swap`. Errors: as [`SwapDevice::live`]; `ForeignDevice` (ENOENT)
    /// when the device belongs to another subsystem.
    pub(crate) fn live_in(&self, swap: &Arc<swapcore::Swap>) -> Result<Arc<swapcore::SwapDevice>> {
        let live = self.live()?;
        if !Arc::ptr_eq(&self.swap, swap) {
            return Err(SwapError::ForeignDevice(live.ty().0).into());
        }
        Ok(live)
    }
}

/// Returns a dict with the bytes of each part of a device's memory, and the sum of these bytes.
fn memory_dict<'py>(py: Python<'py>, memory: &swapcore::machine::device::DeviceMemory) -> Result<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    set_fields!(counts, memory: static_bytes table_bytes extend_bytes pool_bytes index_bytes virtual_table_bytes);
    set_fields!(counts, memory: owner_static_bytes owner_bytes);
    counts.set_item("total_bytes", memory.total_bytes())?;
    Ok(counts)
}

/// Returns a dict with the bytes of all devices together, the bytes of the subsystem's other parts, and the sum of
/// all bytes.
pub(crate) fn all_memory_dict<'py>(py: Python<'py>, swap: &swapcore::Swap) -> Result<Bound<'py, PyDict>> {
    let memory = swap.memory();
    let counts = memory_dict(py, &memory)?;
    let others = [
        ("percpu_bytes", swap.percpu_bytes()),
        ("folio_header_bytes", swap.memory_of_folios().header_bytes()),
        ("memcg_bytes", swap.memcg().map_or(0, swapcore::memcg::MemCgroups::bytes)),
        ("zswap_map_bytes", swap.zswap().map_bytes()),
        ("zswap_entry_bytes", swap.zswap().entry_bytes()),
        ("zswap_kept_bytes", swap.zswap().kept_bytes()),
    ];
    others.iter().try_for_each(|(name, bytes)| counts.set_item(name, bytes))?;
    let total_bytes = memory.total_bytes() + others.iter().map(|(_, bytes)| bytes).sum::<u64>();
    counts.set_item("total_bytes", total_bytes)?;
    Ok(counts)
}

getters! {
    SwapDevice(device):
    r#type: Result<u8> = Ok(device.live()?.ty().0);
    kind: Result<&'static str> = Ok(device.live()?.kind());
    visibility: Result<Option<&'static str>> = Ok(device.live()?.visibility().map(Visibility::name));
    is_virtual: Result<bool> = Ok(device.live()?.is_virtual());
    priority: Result<i32> = Ok(device.live()?.prio());
    pages: Result<u32> = Ok(device.live()?.pages());
    max_pages: Result<u32> = Ok(device.live()?.max_pages());
    limit_pages: Result<u32> = Ok(device.live()?.limit_pages());
    inuse_pages: Result<u64> = Ok(device.swap.inuse_pages(device.live()?.ty()));
    storage: Result<Option<Storage>> = {
        let storage = device.live()?.storage().clone();
        Ok(storage.keeps_data().then(|| Storage::new(storage)))
    };
    is_on: bool = device.live().is_ok();
}

#[pymethods]
impl SwapDevice {
    #[doc = stub!(SwapDevice.flags)]
    #[getter]
    fn flags<'py>(&self, py: Python<'py>) -> Result<Vec<Bound<'py, PyAny>>> {
        let names = self.live()?.flag_names();
        let class = py.import("swapcore.kinds")?.getattr("SwpFlag")?;
        names.iter().map(|name| Ok(class.call1((name,))?)).collect()
    }

    #[doc = stub!(SwapDevice.memory)]
    fn memory<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        memory_dict(py, &self.live()?.memory())
    }

    #[doc = stub!(SwapDevice.clusters)]
    fn clusters<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let device = self.live()?;
        let infos: Vec<_> = py.detach(|| device.cluster_infos().collect());
        let rows = || infos.iter();
        let columns = PyDict::new(py);
        columns.set_item("index", column(py, "I", rows().map(|row| row.idx.0.to_ne_bytes()))?)?;
        columns.set_item("count", column(py, "H", rows().map(|row| (row.count as u16).to_ne_bytes()))?)?;
        columns.set_item("flags", column(py, "B", rows().map(|row| [row.flag as u8]))?)?;
        columns.set_item("order", column(py, "B", rows().map(|row| [row.order.get()]))?)?;
        Ok(columns)
    }

    #[doc = stub!(SwapDevice.slots)]
    fn slots<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let device = self.live()?;
        let used: Vec<_> = py.detach(|| device.slot_kinds().collect());
        // The bytes of a ghost end with its last cluster that has a used slot, because a ghost of 15 TiB has 4 billion
        // slots. All clusters of any other device exist.
        let max_pages = device.max_pages() as usize;
        let cluster = SWAPFILE_CLUSTER as usize;
        let nr_shown = match device.is_ghost() {
            true => used.last().map_or(0, |(last, _)| (last.0 as usize + 1).next_multiple_of(cluster)).min(max_pages),
            false => max_pages,
        };
        // The bytes object starts with zeros, and 0 stands for a free slot. The code writes only the bytes of slots
        // in use, so that pages with only zeros take no memory.
        Ok(PyBytes::new_with(py, nr_shown, |kinds| {
            used.into_iter().for_each(|(offset, kind)| kinds[offset.0 as usize] = kind.code());
            Ok(())
        })?)
    }

    #[doc = stub!(SwapDevice.used_slots)]
    fn used_slots<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let device = self.live()?;
        let used: Vec<_> = py.detach(|| device.slot_kinds().collect());
        let columns = PyDict::new(py);
        columns.set_item("offset", column(py, "I", used.iter().map(|(offset, _)| offset.0.to_ne_bytes()))?)?;
        columns.set_item("kind", column(py, "B", used.iter().map(|(_, kind)| [kind.code()]))?)?;
        Ok(columns)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> Result<()> {
        let Ok(device) = self.live() else { return Ok(()) };
        match detached(py, || self.swap.swapoff_without_hook(&device)) {
            Err(Error::Core(SwapError::NoDevice(_))) => Ok(()),
            // The exception of the block says more than the swapoff that failed because the block ended early.
            Err(Error::Core(error)) if !value.is_none() => {
                value.call_method1("add_note", (format!("swapoff at the end of the block: {error}"),))?;
                Ok(())
            }
            result => result,
        }
    }

    fn __repr__(&self) -> String {
        match self.live() {
            Ok(device) => format!(
                "<SwapDevice type {}, {} of {} pages used, priority {}>",
                self.ty.0,
                self.swap.inuse_pages(self.ty),
                device.pages(),
                device.prio()
            ),
            Err(_) => format!("<SwapDevice type {}, off>", self.ty.0),
        }
    }
}
