//! `SwapDevice`: a Python handle on a device. The handle stays valid as a Python object after a swapoff of the
//! device.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::SwapError;
use swapcore::base::limits::SWAPFILE_CLUSTER;
use swapcore::storage::spec::Visibility;

use crate::border::errors::Result;
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
    prio: Result<i32> = Ok(device.live()?.prio());
    pages: Result<u32> = Ok(device.live()?.pages());
    max_pages: Result<u32> = Ok(device.live()?.max_pages());
    limit_pages: Result<u32> = Ok(device.live()?.limit_pages());
    inuse_pages: Result<u64> = Ok(device.swap.inuse_pages(device.live()?.ty()));
    flags: Result<Vec<String>> = Ok(device.live()?.flag_names());
    storage: Result<Option<Storage>> = {
        let storage = device.live()?.storage().clone();
        Ok(storage.keeps_data().then(|| Storage::new(storage)))
    };
    is_on: bool = device.live().is_ok();
}

#[pymethods]
impl SwapDevice {
    #[doc = stub!(SwapDevice.memory)]
    fn memory<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        memory_dict(py, &self.live()?.memory())
    }

    #[doc = stub!(SwapDevice.clusters)]
    fn clusters<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let device = self.live()?;
        let infos: Vec<_> = py.detach(|| device.cluster_infos().collect());
        let counts: Vec<u8> = infos.iter().flat_map(|info| (info.count as u16).to_ne_bytes()).collect();
        let flags: Vec<u8> = infos.iter().map(|info| info.flag as u8).collect();
        let orders: Vec<u8> = infos.iter().map(|info| info.order.get()).collect();
        let indexes: Vec<u8> = infos.iter().flat_map(|info| info.idx.0.to_ne_bytes()).collect();
        let columns = PyDict::new(py);
        columns.set_item("index", PyBytes::new(py, &indexes))?;
        columns.set_item("count", PyBytes::new(py, &counts))?;
        columns.set_item("flags", PyBytes::new(py, &flags))?;
        columns.set_item("order", PyBytes::new(py, &orders))?;
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
        // The bytes start as zeros, and 0 stands for a free slot.
        Ok(PyBytes::new_with(py, nr_shown, |kinds| {
            used.into_iter().for_each(|(offset, kind)| kinds[offset.0 as usize] = kind.code());
            Ok(())
        })?)
    }

    #[doc = stub!(SwapDevice.used_slots)]
    fn used_slots<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let device = self.live()?;
        let used: Vec<_> = py.detach(|| device.slot_kinds().collect());
        let offsets: Vec<u8> = used.iter().flat_map(|(offset, _)| offset.0.to_ne_bytes()).collect();
        let kinds: Vec<u8> = used.iter().map(|(_, kind)| kind.code()).collect();
        let columns = PyDict::new(py);
        columns.set_item("offset", PyBytes::new(py, &offsets))?;
        columns.set_item("kind", PyBytes::new(py, &kinds))?;
        Ok(columns)
    }

    fn __repr__(&self) -> String {
        match self.live() {
            Ok(device) => format!(
                "<SwapDevice type {}, {} of {} pages used, prio {}>",
                self.ty.0,
                self.swap.inuse_pages(self.ty),
                device.pages(),
                device.prio()
            ),
            Err(_) => format!("<SwapDevice type {}, off>", self.ty.0),
        }
    }
}
