//! Facts about the build of the extension, which a report of a fault or of a measurement needs.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use swapcore::storage::Algorithm;

/// Returns each fact about the build by its name.
pub(crate) fn facts(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    [
        ("build", if cfg!(debug_assertions) { "debug" } else { "release" }),
        ("opt-level", env!("SWAPCORE_OPT_LEVEL")),
        ("target", env!("SWAPCORE_TARGET")),
        ("rustc", env!("SWAPCORE_RUSTC")),
        ("abi3", if cfg!(feature = "abi3") { "yes" } else { "no" }),
        ("zstd", if Algorithm::from_name("zstd", None).is_ok() { "yes" } else { "no" }),
    ]
    .into_py_dict(py)
}
