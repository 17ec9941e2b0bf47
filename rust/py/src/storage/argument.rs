//! The first argument of `Swap.swapon`.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyType};
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
        if let Some(problem) = not_a_storage(&ob)? {
            return Err(PyTypeError::new_err(problem));
        }
        if let Ok(storage) = ob.cast::<Storage>() {
            return Ok(Self::Storage(storage.get().storage.clone()));
        }
        if let Ok(storage) = ob.getattr("storage")
            && let Ok(storage) = storage.cast::<Storage>()
        {
            return Ok(Self::Storage(storage.get().storage.clone()));
        }
        if !ob.hasattr("bad_pages")? {
            let kind = ob.get_type().name()?;
            return Err(PyTypeError::new_err(format!("give a storage, such as swapcore.Zram(\"1G\"), not a {kind}")));
        }
        Ok(Self::Geometry(DeviceSpec {
            bad_pages: number::bad_pages(&ob.getattr("bad_pages")?)?,
            is_rotational: ob.getattr("is_rotational")?.extract()?,
            is_block_device: ob.getattr("is_block_device")?.extract()?,
            can_discard: ob.getattr("is_discardable")?.extract()?,
            ..DeviceSpec::new(number::pages(&ob.getattr("pages")?)?)
        }))
    }
}

/// Returns the message for an argument that names or measures a storage and is no storage: a class, a name, a size.
fn not_a_storage(ob: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if let Ok(class) = ob.cast::<PyType>() {
        let name = class.name()?;
        return Ok(Some(format!("give an object, such as swapcore.Zram(\"1G\"), not the class {name}")));
    }
    if let Ok(text) = ob.cast::<PyString>()
        && !text.to_cow()?.trim_start().starts_with(|letter: char| letter.is_ascii_digit())
    {
        let given = ob.repr()?;
        return Ok(Some(format!("give a storage, such as swapcore.Zram(\"1G\"), not the text {given}")));
    }
    if ob.is_instance_of::<PyString>() || ob.is_instance_of::<PyInt>() {
        let given = ob.repr()?;
        return Ok(Some(format!("give a storage, such as swapcore.Null({given}), not its size")));
    }
    Ok(None)
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
