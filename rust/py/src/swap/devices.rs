//! Devices turned on and off, and the size of those without pages.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::{Order, SwapError};

use super::Swap;
use crate::border::calls::detached;
use crate::border::convert;
use crate::border::errors::{Error, Result};
use crate::border::number;
use crate::device::SwapDevice;
use crate::slots::entry::SwpEntry;
use crate::storage::argument::StorageArg;

#[pymethods]
impl Swap {
    #[doc = stub!(Swap.devices)]
    #[getter]
    fn devices(&self) -> Vec<SwapDevice> {
        self.swap.devices().iter().map(|device| self.handle(device)).collect()
    }

    #[doc = stub!(Swap.nr_real_swapfiles)]
    #[getter]
    fn nr_real_swapfiles(&self) -> u64 {
        self.swap.nr_real_swapfiles()
    }

    #[doc = stub!(Swap.resize)]
    fn resize<'py>(
        &self,
        py: Python<'py>,
        device: &Bound<'py, SwapDevice>,
        #[pyo3(from_py_with = number::slots_or_size)] size: u32,
    ) -> Result<Bound<'py, PyDict>> {
        let live = self.own(device.get())?;
        let resize = py.detach(|| self.swap.resize(&live, size))?;
        let sizes = PyDict::new(py);
        sizes.set_item("max_pages", resize.max_pages)?;
        sizes.set_item("limit_pages", resize.limit_pages)?;
        Ok(sizes)
    }

    #[doc = stub!(Swap.swapon)]
    #[pyo3(signature = (storage, *, priority = None, discard = None))]
    fn swapon(
        &self,
        py: Python<'_>,
        storage: StorageArg,
        #[pyo3(from_py_with = number::priority_or_none)] priority: Option<i16>,
        discard: Option<&str>,
    ) -> Result<SwapDevice> {
        let discard = convert::discard(discard)?;
        let device = py.detach(|| storage.swapon(&self.swap, priority, discard))?;
        Ok(self.handle(&device))
    }

    #[doc = stub!(Swap.swapoff)]
    #[pyo3(signature = (device, unuse = None))]
    fn swapoff(&self, py: Python<'_>, device: &Bound<'_, SwapDevice>, unuse: Option<Py<PyAny>>) -> Result<()> {
        let device = self.own(device.get())?;
        let Some(hook) = unuse else {
            return detached(py, || self.swap.swapoff_without_hook(&device));
        };
        let mut raised = None;
        let result = detached(py, || {
            self.swap.swapoff(&device, |entry, count| {
                Python::attach(|py| {
                    let entry = SwpEntry { entry, order: Order::ZERO };
                    hook.call1(py, (entry, count)).map(|_| ()).map_err(|error| {
                        raised = Some(error);
                        SwapError::Interrupted
                    })
                })
            })
        });
        match raised {
            Some(error) => Err(Error::Python(error)),
            None => result,
        }
    }
}
