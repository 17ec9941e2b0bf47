//! The stress run of the core, detached but for a look at signals now and then.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::workload::stress::StressSpec;
use swapcore::{Profile, SwapError};

use crate::border::errors::{Error, Result};
use crate::border::number;

#[doc = stub!(stress)]
#[pyfunction]
#[pyo3(signature = (*, threads, seconds, seed, pages = 262_144, devices = 2, nr_cpus = None, profile = "newest"))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of one call")]
pub(crate) fn stress<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = number::threads)] threads: usize,
    seconds: f64,
    #[pyo3(from_py_with = number::seed)] seed: u64,
    #[pyo3(from_py_with = number::pages)] pages: u32,
    #[pyo3(from_py_with = number::devices)] devices: u32,
    #[pyo3(from_py_with = number::nr_cpus_or_none)] nr_cpus: Option<usize>,
    profile: &str,
) -> Result<Bound<'py, PyDict>> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| SwapError::BadSeconds(seconds.to_string()))?;
    let nr_cpus = nr_cpus.unwrap_or(threads);
    let profile = Profile::from_name(profile)?;
    let spec = StressSpec { threads, duration, seed, pages, devices, nr_cpus, profile };
    let mut interrupted = None;
    let report = py.detach(|| {
        swapcore::workload::stress::stress(&spec, || {
            interrupted = Python::attach(|py| py.check_signals()).err();
            interrupted.is_none()
        })
    })?;
    if let Some(error) = interrupted {
        return Err(Error::Python(error));
    }
    let dict = PyDict::new(py);
    dict.set_item("threads", threads)?;
    dict.set_item("seconds", seconds)?;
    dict.set_item("seed", seed)?;
    dict.set_item("ops", report.ops)?;
    dict.set_item("allocated_runs", report.allocated_runs)?;
    dict.set_item("freed_slots", report.freed_slots)?;
    dict.set_item("failures", report.failures)?;
    dict.set_item("dups", report.dups)?;
    dict.set_item("cached_folios", report.cached_folios)?;
    dict.set_item("inuse_pages_end", report.inuse_pages_end)?;
    dict.set_item("double_handouts", report.double_handouts)?;
    Ok(dict)
}
