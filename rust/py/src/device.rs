//! `SwapDevice`: a handle on a device that is, or was, on.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swapcore::table::EntryKind;
use swapcore::{SwapError, SwpEntry, SwpOffset};

use crate::errors::Result;

/// A device that is turned on. Kernel: `struct swap_info_struct`.
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct SwapDevice {
    pub(crate) swap: Arc<swapcore::Swap>,
    /// Weak: the memory of a device goes when it is turned off, whoever still has a handle.
    device: Weak<swapcore::SwapDevice>,
    ty: swapcore::SwpType,
}

impl SwapDevice {
    pub(crate) fn new(swap: Arc<swapcore::Swap>, device: &Arc<swapcore::SwapDevice>) -> Self {
        Self { swap, device: Arc::downgrade(device), ty: device.ty() }
    }

    /// Returns the device, if it is still on.
    pub(crate) fn live(&self) -> Result<Arc<swapcore::SwapDevice>> {
        let gone = || SwapError::NoDevice(SwpEntry::new(self.ty, SwpOffset(0)));
        Ok(self.device.upgrade().ok_or_else(gone)?)
    }
}

/// Byte counts as a dict.
pub(crate) fn memory_dict<'py>(py: Python<'py>, memory: &swapcore::device::DeviceMemory) -> Result<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    counts.set_item("static_bytes", memory.static_bytes)?;
    counts.set_item("table_bytes", memory.table_bytes)?;
    counts.set_item("extend_bytes", memory.extend_bytes)?;
    counts.set_item("pool_bytes", memory.pool_bytes)?;
    counts.set_item("total_bytes", memory.total_bytes())?;
    Ok(counts)
}

#[pymethods]
impl SwapDevice {
    #[getter]
    fn r#type(&self) -> Result<u8> {
        Ok(self.live()?.ty().0)
    }

    #[getter]
    fn prio(&self) -> Result<i32> {
        Ok(self.live()?.prio())
    }

    #[getter]
    fn pages(&self) -> Result<u32> {
        Ok(self.live()?.pages())
    }

    #[getter]
    fn max_pages(&self) -> Result<u32> {
        Ok(self.live()?.max_pages())
    }

    #[getter]
    fn inuse_pages(&self) -> Result<u64> {
        Ok(self.swap.inuse_pages(self.live()?.ty()))
    }

    #[getter]
    fn flags(&self) -> Result<Vec<String>> {
        Ok(self.live()?.flags().iter_names().map(|(name, _)| format!("SWP_{name}")).collect())
    }

    #[getter]
    fn is_on(&self) -> bool {
        self.live().is_ok()
    }

    fn memory<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        memory_dict(py, &self.live()?.memory())
    }

    fn clusters<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let device = self.live()?;
        let infos: Vec<_> = py.detach(|| device.cluster_infos().collect());
        let counts: Vec<u8> = infos.iter().flat_map(|info| (info.count as u16).to_ne_bytes()).collect();
        let flags: Vec<u8> = infos.iter().map(|info| info.flag as u8).collect();
        let orders: Vec<u8> = infos.iter().map(|info| info.order.get()).collect();
        let columns = PyDict::new(py);
        columns.set_item("count", PyBytes::new(py, &counts))?;
        columns.set_item("flags", PyBytes::new(py, &flags))?;
        columns.set_item("order", PyBytes::new(py, &orders))?;
        Ok(columns)
    }

    fn slots<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let device = self.live()?;
        let kinds: Vec<u8> = py.detach(|| device.slot_kinds().map(code).collect());
        Ok(PyBytes::new(py, &kinds))
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

/// The byte that `slots` gives a kind.
fn code(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Null => 0,
        EntryKind::Shadow => 1,
        EntryKind::Pfn => 2,
        EntryKind::Bad => 3,
        EntryKind::Pointer => 4,
    }
}
