//! The stress run of the core. The run is detached from the interpreter, and attaches only to check for signals.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::workload::stress::StressSpec;
use swapcore::{Profile, SwapError};

use crate::border::errors::{Error, Result};
use crate::border::number::{self, NrCpus, Threads};

#[doc = stub!(stress)]
#[pyfunction]
#[pyo3(signature = (*, threads, seconds, seed, pages = 262_144, devices = 2, nr_cpus = None, profile = "newest"))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of one call")]
pub(crate) fn stress<'py>(
    py: Python<'py>,
    threads: Threads,
    seconds: f64,
    #[pyo3(from_py_with = number::seed)] seed: u64,
    #[pyo3(from_py_with = number::pages)] pages: u32,
    #[pyo3(from_py_with = number::devices)] devices: u32,
    nr_cpus: Option<NrCpus>,
    profile: &str,
) -> Result<Bound<'py, PyDict>> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| SwapError::BadSeconds(seconds.to_string()))?;
    let nr_cpus = nr_cpus.map_or(threads.0, |nr| nr.0);
    let profile = Profile::from_name(profile)?;
    let spec = StressSpec { threads: threads.0, duration, seed, pages, devices, nr_cpus, profile };
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
    set_fields!(dict, spec: threads);
    dict.set_item("seconds", seconds)?;
    set_fields!(dict, spec: seed);
    set_fields!(dict, report: ops allocated_runs freed_slots failures dups cached_folios);
    set_fields!(dict, report: inuse_pages_end double_handouts);
    Ok(dict)
}
