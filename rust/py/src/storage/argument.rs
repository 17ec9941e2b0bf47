//! The first argument of `Swap.swapon`.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};
use swapcore::storage::SwapStorage;
use swapcore::{DeviceSpec, Discard};

use super::Storage;
use crate::border::number;

/// The first argument of `Swap.swapon`: a `Storage`, an object with an attribute `storage`, or a description of a
/// device that stores no data, such as `swapcore.Null`.
pub(crate) enum StorageArg {
    /// A storage.
    Storage(Arc<dyn SwapStorage>),
    /// The description of a device that stores no data.
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
