//! `SwapDevice`: a handle on a device that is, or was, on.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::SwapError;
use swapcore::storage::spec::Visibility;

use crate::border::errors::Result;
use crate::storage::Storage;

#[doc = stub!(SwapDevice)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct SwapDevice {
    pub(crate) swap: Arc<swapcore::Swap>,
    /// Weak: the memory of a device goes when it is turned off, also while Python has a handle.
    device: Weak<swapcore::SwapDevice>,
    ty: swapcore::SwpType,
}

impl SwapDevice {
    pub(crate) fn new(swap: Arc<swapcore::Swap>, device: &Arc<swapcore::SwapDevice>) -> Self {
        Self { swap, device: Arc::downgrade(device), ty: device.ty() }
    }

    /// Returns the device, if it is still on.
    pub(crate) fn live(&self) -> Result<Arc<swapcore::SwapDevice>> {
        Ok(self.device.upgrade().ok_or(SwapError::DeviceOff(self.ty.0))?)
    }
}

/// Byte counts as a dict.
fn memory_dict<'py>(py: Python<'py>, memory: &swapcore::machine::device::DeviceMemory) -> Result<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    counts.set_item("static_bytes", memory.static_bytes)?;
    counts.set_item("table_bytes", memory.table_bytes)?;
    counts.set_item("extend_bytes", memory.extend_bytes)?;
    counts.set_item("pool_bytes", memory.pool_bytes)?;
    counts.set_item("index_bytes", memory.index_bytes)?;
    counts.set_item("virtual_table_bytes", memory.virtual_table_bytes)?;
    counts.set_item("owner_static_bytes", memory.owner_static_bytes)?;
    counts.set_item("owner_bytes", memory.owner_bytes)?;
    counts.set_item("total_bytes", memory.total_bytes())?;
    Ok(counts)
}

/// Byte counts of all devices together, and of what the subsystem itself has.
pub(crate) fn all_memory_dict<'py>(py: Python<'py>, swap: &swapcore::Swap) -> Result<Bound<'py, PyDict>> {
    let memory = swap.memory();
    let counts = memory_dict(py, &memory)?;
    let others = [
        ("percpu_bytes", swap.percpu_bytes()),
        ("folio_header_bytes", swap.memory_of_folios().header_bytes()),
        ("memcg_bytes", swap.memcg().map_or(0, swapcore::memcg::MemCgroups::bytes)),
        ("zswap_map_bytes", swap.zswap().map_bytes()),
        ("zswap_entry_bytes", swap.zswap().entry_bytes()),
    ];
    others.iter().try_for_each(|(name, bytes)| counts.set_item(name, bytes))?;
    let total_bytes = memory.total_bytes() + others.iter().map(|(_, bytes)| bytes).sum::<u64>();
    counts.set_item("total_bytes", total_bytes)?;
    Ok(counts)
}

#[pymethods]
impl SwapDevice {
    #[doc = stub!(SwapDevice.type)]
    #[getter]
    fn r#type(&self) -> Result<u8> {
        Ok(self.live()?.ty().0)
    }

    #[doc = stub!(SwapDevice.kind)]
    #[getter]
    fn kind(&self) -> Result<&'static str> {
        Ok(self.live()?.kind())
    }

    #[doc = stub!(SwapDevice.visibility)]
    #[getter]
    fn visibility(&self) -> Result<Option<&'static str>> {
        Ok(self.live()?.visibility().map(Visibility::name))
    }

    #[doc = stub!(SwapDevice.is_virtual)]
    #[getter]
    fn is_virtual(&self) -> Result<bool> {
        Ok(self.live()?.is_virtual())
    }

    #[doc = stub!(SwapDevice.prio)]
    #[getter]
    fn prio(&self) -> Result<i32> {
        Ok(self.live()?.prio())
    }

    #[doc = stub!(SwapDevice.pages)]
    #[getter]
    fn pages(&self) -> Result<u32> {
        Ok(self.live()?.pages())
    }

    #[doc = stub!(SwapDevice.max_pages)]
    #[getter]
    fn max_pages(&self) -> Result<u32> {
        Ok(self.live()?.max_pages())
    }

    #[doc = stub!(SwapDevice.inuse_pages)]
    #[getter]
    fn inuse_pages(&self) -> Result<u64> {
        Ok(self.swap.inuse_pages(self.live()?.ty()))
    }

    #[doc = stub!(SwapDevice.flags)]
    #[getter]
    fn flags(&self) -> Result<Vec<String>> {
        Ok(self.live()?.flag_names())
    }

    #[doc = stub!(SwapDevice.storage)]
    #[getter]
    fn storage(&self) -> Result<Option<Storage>> {
        let storage = self.live()?.storage().clone();
        Ok(storage.keeps_data().then(|| Storage::new(storage)))
    }

    #[doc = stub!(SwapDevice.is_on)]
    #[getter]
    fn is_on(&self) -> bool {
        self.live().is_ok()
    }

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
        // Memory of zeros is free slots: what is not written is not touched.
        Ok(PyBytes::new_with(py, device.max_pages() as usize, |kinds| {
            used.into_iter().for_each(|(offset, kind)| kinds[offset.0 as usize] = kind.code());
            Ok(())
        })?)
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
