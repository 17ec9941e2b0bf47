//! `ZswapHandle`: the Python class for the zswap of a subsystem, and the argument `zswap` of the Python class `Swap`.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyString};
use swapcore::zswap::{ZswapFaults, ZswapOptions};

use crate::border::calls::detached;
use crate::border::convert;
use crate::border::errors::Result;
use crate::border::number::{self, AcceptThresholdPercent, Cpu, MaxPoolPercent};
use crate::memcg::MemCgroup;
use crate::slots::args::EntryArg;

/// The argument `zswap` of `Swap`: the name of a compressor, or an object with every parameter, such as
/// `swapcore.Zswap`.
pub(crate) struct ZswapArg(pub(crate) ZswapOptions);

impl<'a, 'py> FromPyObject<'a, 'py> for ZswapArg {
    type Error = PyErr;

    fn extract(ob: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if ob.is_instance_of::<PyString>() {
            let compressor = convert::compressor(ob.extract()?)?;
            return Ok(Self(ZswapOptions { compressor, ..ZswapOptions::default() }));
        }
        if !ob.hasattr("compressor")? {
            let kind = ob.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "zswap is the name of a compressor, a swapcore.Zswap, or None for off, not {kind}"
            )));
        }
        Ok(Self(ZswapOptions {
            is_enabled: ob.getattr("enabled")?.extract()?,
            compressor: convert::compressor(ob.getattr("compressor")?.extract()?)?,
            max_pool_percent: ob.getattr("max_pool_percent")?.extract::<MaxPoolPercent>()?.0,
            accept_threshold_percent: ob.getattr("accept_threshold_percent")?.extract::<AcceptThresholdPercent>()?.0,
            is_shrinker_enabled: ob.getattr("shrinker_enabled")?.extract()?,
        }))
    }
}

#[doc = stub!(ZswapHandle)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct ZswapHandle {
    swap: Arc<swapcore::Swap>,
}

/// The lock that a thread holds while it changes one parameter. A change of one parameter reads and writes all
/// parameters. Without the lock, a thread could therefore write back an old value of a parameter that another thread
/// has just set.
static SETTING: Mutex<()> = Mutex::new(());

impl ZswapHandle {
    pub(crate) fn new(swap: Arc<swapcore::Swap>) -> Self {
        Self { swap }
    }

    fn options(&self) -> ZswapOptions {
        self.swap.zswap().options()
    }

    fn set(&self, change: impl FnOnce(&mut ZswapOptions)) -> Result<()> {
        // A poisoned lock is used like any other lock, because the lock guards no data that a panic could leave half
        // changed.
        let _one = SETTING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut options = self.options();
        change(&mut options);
        Ok(self.swap.zswap().set_options(options)?)
    }

    fn cpu(&self, cpu: Option<Cpu>) -> Result<swapcore::CpuId> {
        convert::cpu(cpu, self.swap.nr_cpus())
    }
}

getters! {
    ZswapHandle(zswap):
    enabled: bool = zswap.options().is_enabled;
    compressor: &'static str = zswap.options().compressor.name();
    max_pool_percent: u32 = zswap.options().max_pool_percent;
    accept_threshold_percent: u32 = zswap.options().accept_threshold_percent;
    shrinker_enabled: bool = zswap.options().is_shrinker_enabled;
}

#[pymethods]
impl ZswapHandle {
    #[setter]
    fn set_enabled(&self, enabled: bool) -> Result<()> {
        self.set(|options| options.is_enabled = enabled)
    }

    #[setter]
    fn set_compressor(&self, compressor: &str) -> Result<()> {
        let compressor = convert::compressor(compressor)?;
        self.set(|options| options.compressor = compressor)
    }

    #[setter]
    fn set_max_pool_percent(&self, percent: MaxPoolPercent) -> Result<()> {
        self.set(|options| options.max_pool_percent = percent.0)
    }

    #[setter]
    fn set_accept_threshold_percent(&self, percent: AcceptThresholdPercent) -> Result<()> {
        self.set(|options| options.accept_threshold_percent = percent.0)
    }

    #[setter]
    fn set_shrinker_enabled(&self, enabled: bool) -> Result<()> {
        self.set(|options| options.is_shrinker_enabled = enabled)
    }

    #[doc = stub!(ZswapHandle.stats)]
    fn stats<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        Ok(self.swap.zswap().stats().into_py_dict(py)?)
    }

    #[doc = stub!(ZswapHandle.pools)]
    fn pools<'py>(&self, py: Python<'py>) -> Result<Vec<Bound<'py, PyDict>>> {
        let pools = self.swap.zswap().pools();
        pools
            .iter()
            .map(|pool| {
                let dict = PyDict::new(py);
                dict.set_item("compressor", pool.compressor.name())?;
                set_fields!(dict, pool: stored_pages pool_bytes compressed_bytes);
                Ok(dict)
            })
            .collect()
    }

    #[doc = stub!(ZswapHandle.set_faults)]
    #[pyo3(signature = (*, entry_alloc = 0.0, pool_alloc = 0.0, compress = 0.0, decompress = 0.0, seed = 0))]
    fn set_faults(
        &self,
        entry_alloc: f64,
        pool_alloc: f64,
        compress: f64,
        decompress: f64,
        #[pyo3(from_py_with = number::seed)] seed: u64,
    ) -> Result<()> {
        Ok(self.swap.zswap().set_faults(ZswapFaults { entry_alloc, pool_alloc, compress, decompress, seed })?)
    }

    #[doc = stub!(ZswapHandle.writeback)]
    #[pyo3(signature = (entry, *, cpu = None))]
    fn writeback(&self, py: Python<'_>, entry: EntryArg<'_>, cpu: Option<Cpu>) -> Result<()> {
        let (entry, cpu) = (entry.entry(), self.cpu(cpu)?);
        detached(py, || self.swap.zswap_writeback_entry(entry, cpu))
    }

    #[doc = stub!(ZswapHandle.shrink)]
    #[pyo3(signature = (*, memcg = None, cpu = None))]
    fn shrink(&self, py: Python<'_>, memcg: Option<&Bound<'_, MemCgroup>>, cpu: Option<Cpu>) -> Result<u64> {
        let (css, cpu) = (MemCgroup::css_of(memcg, &self.swap)?, self.cpu(cpu)?);
        detached(py, || self.swap.shrink_memcg(css, cpu))
    }

    #[doc = stub!(ZswapHandle.shrink_worker)]
    #[pyo3(signature = (*, cpu = None))]
    fn shrink_worker(&self, py: Python<'_>, cpu: Option<Cpu>) -> Result<u64> {
        let cpu = self.cpu(cpu)?;
        detached(py, || self.swap.zswap_shrink_worker(cpu))
    }

    fn __repr__(&self) -> String {
        let options = self.options();
        let state = if options.is_enabled { "enabled" } else { "disabled" };
        format!("<ZswapHandle {}, {state}>", options.compressor.name())
    }
}
