//! Methods of `Swap` that turn devices on and off, and change the size of a ghost device.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use swapcore::SwapError;

use super::Swap;
use crate::border::calls::detached;
use crate::border::convert;
use crate::border::errors::{Error, Result};
use crate::border::number::{self, Priority};
use crate::device::SwapDevice;
use crate::slots::entry::SwpEntry;
use crate::storage::argument::StorageArg;

getters! {
    Swap(this):
    devices: Vec<SwapDevice> = this.swap.devices().iter().map(|device| this.handle(device)).collect();
    nr_real_swapfiles: u64 = this.swap.nr_real_swapfiles();
}

#[pymethods]
impl Swap {
    #[doc = stub!(Swap.resize)]
    #[pyo3(signature = (device, size = None, *, pages = None))]
    fn resize<'py>(
        &self,
        py: Python<'py>,
        device: &Bound<'py, SwapDevice>,
        size: Option<&Bound<'py, PyAny>>,
        pages: Option<&Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, PyDict>> {
        let live = self.own(device.get())?;
        let pages = number::ghost_pages(py, size, pages)?.0;
        let resize = py.detach(|| self.swap.resize(&live, pages))?;
        Ok([("max_pages", resize.max_pages), ("limit_pages", resize.limit_pages)].into_py_dict(py)?)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        // Hooks refer to the subsystem in most programs, and this circle of references is cut here.
        self.swap.set_policy(None);
        py.detach(|| self.swap.swapoff_all());
    }

    #[doc = stub!(Swap.swapon)]
    #[pyo3(signature = (storage, *, priority = None, discard = None))]
    fn swapon(
        &self,
        py: Python<'_>,
        storage: StorageArg,
        priority: Option<Priority>,
        discard: Option<&str>,
    ) -> Result<SwapDevice> {
        let discard = convert::discard(discard)?;
        let device = py.detach(|| storage.swapon(&self.swap, priority.map(|priority| priority.0), discard))?;
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
                    hook.call1(py, (SwpEntry::single(entry), count)).map(|_| ()).map_err(|error| {
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
