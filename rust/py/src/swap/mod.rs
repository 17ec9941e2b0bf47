//! `Swap`: one machine's swap subsystem.

mod alloc;
mod backing;
mod cache;
mod devices;
mod folios;
mod groups;
mod hooks;
mod show;

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::memcg::Hierarchy;
use swapcore::{Config, Profile, SwapError, Workers};

use crate::border::convert;
use crate::border::errors::Result;
use crate::border::number;
use crate::device::SwapDevice;
use crate::folio::Folio;
use crate::memcg::MemCgroup;
use crate::mm::Mm;
use crate::zswap::{ZswapArg, ZswapHandle};

/// One machine's swap subsystem: devices, priorities, per-CPU hints, counters.
///
/// ``profile`` is one of ``v618``, ``p3``, ``series``, ``newest``. ``workers`` is ``inline`` (reclaim_work and discard_work
/// run right after the operation that queued them) or ``manual`` (only in `run_workers`). ``switches`` overrides single
/// choices of the profile by name, see `switches`. ``memory_pages`` (512..=2**31) is what folios may have together, used as it
/// is written; ``workingset`` is ``classic`` or ``mglru``; ``memcg`` is ``v2``, ``v1`` or ``disabled``; ``zswap`` is the name of
/// a compressor, a `swapcore.Zswap`, or None for no zswap until it is turned on. ``cpu`` arguments mean the CPU whose hints and local lock are used;
/// None is this thread's own number.
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Swap {
    pub(crate) swap: Arc<swapcore::Swap>,
}

impl Swap {
    /// Takes the local lock of the CPU meant.
    #[inline]
    fn on_cpu(&self, cpu: Option<usize>) -> Result<swapcore::OnCpu<'_>> {
        Ok(self.swap.on_cpu(self.cpu(cpu)?)?)
    }

    fn cpu(&self, cpu: Option<usize>) -> Result<swapcore::CpuId> {
        convert::cpu(cpu, self.swap.nr_cpus())
    }

    fn handle(&self, device: &Arc<swapcore::SwapDevice>) -> SwapDevice {
        SwapDevice::new(self.swap.clone(), device)
    }

    fn own(&self, device: &SwapDevice) -> Result<Arc<swapcore::SwapDevice>> {
        let live = device.live()?;
        if !Arc::ptr_eq(&device.swap, &self.swap) {
            return Err(SwapError::ForeignDevice(live.ty().0).into());
        }
        Ok(live)
    }

    /// Returns the class of a folio of this subsystem. Errors: `ForeignFolio` (EINVAL).
    fn own_folio<'f>(&self, folio: &'f Bound<'_, Folio>) -> Result<&'f Folio> {
        let folio = folio.get();
        if !Arc::ptr_eq(folio.folio.swap(), &self.swap) {
            let entry = folio.folio.gone_to().unwrap_or(swapcore::SwpEntry::NONE);
            return Err(SwapError::ForeignFolio(entry).into());
        }
        Ok(folio)
    }
}

#[pymethods]
impl Swap {
    #[new]
    #[pyo3(signature = (*, nr_cpus = 1, profile = "newest", workers = "inline", switches = None, memory_pages = 4_194_304,
        workingset = "classic", memcg = "v2", zswap = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        #[pyo3(from_py_with = number::nr_cpus)] nr_cpus: usize,
        profile: &str,
        workers: &str,
        switches: Option<std::collections::BTreeMap<String, String>>,
        #[pyo3(from_py_with = number::memory_pages)] memory_pages: u64,
        workingset: &str,
        memcg: &str,
        zswap: Option<ZswapArg>,
    ) -> Result<Self> {
        let profile = Profile::from_name(profile)?;
        let workers = Workers::from_name(workers)?;
        let mut choices = profile.switches();
        for (name, word) in switches.unwrap_or_default() {
            choices.set(&name, &word)?;
        }
        let config = Config {
            nr_cpus,
            profile,
            switches: choices,
            workers,
            memory_pages,
            memcg: Hierarchy::unless_disabled(memcg)?,
            workingset: workingset.into(),
            zswap: zswap.map(|zswap| zswap.0),
        };
        Ok(Self { swap: Arc::new(swapcore::Swap::with_config(config)?) })
    }

    /// CPUs of the subsystem.
    #[getter]
    fn nr_cpus(&self) -> usize {
        self.swap.nr_cpus()
    }

    /// The profile that was asked for.
    #[getter]
    fn profile(&self) -> &'static str {
        self.swap.profile().name()
    }

    /// Every switch with its value: ``default_priority`` (``minus_one``/``descending``), ``rule_u``
    /// (``leave``/``relocate``), ``sync_discard`` (``avail``/``active``), ``free_order`` (``ascending``/``columns``),
    /// ``first_search`` (``nonfull``/``free``), ``hibernation`` (``hint``/``search``).
    #[getter]
    fn switches<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let words = PyDict::new(py);
        self.swap.switches().words().iter().try_for_each(|(name, word)| words.set_item(name, word))?;
        Ok(words)
    }

    /// Free slots of all enabled devices.
    #[getter]
    fn nr_swap_pages(&self) -> i64 {
        self.swap.nr_swap_pages()
    }

    /// Usable slots of all enabled devices.
    #[getter]
    fn total_swap_pages(&self) -> u64 {
        self.swap.total_swap_pages()
    }

    /// Slots whose table entry is a folio.
    #[getter]
    fn nr_swapcache_pages(&self) -> u64 {
        self.swap.nr_swapcache_pages()
    }

    /// True when less than half of all slots are free: ``nr_swap_pages * 2 < total_swap_pages``.
    #[getter]
    fn vm_swap_full(&self) -> bool {
        self.swap.vm_swap_full()
    }

    /// Compressed memory in front of the devices.
    #[getter]
    fn zswap(&self) -> ZswapHandle {
        ZswapHandle::new(self.swap.clone())
    }

    /// Makes an empty address space of a task in ``memcg`` (None: root).
    #[pyo3(signature = (memcg = None))]
    fn mm(&self, memcg: Option<&Bound<'_, MemCgroup>>) -> Result<Mm> {
        Mm::new(&self.swap, MemCgroup::css_of(memcg, &self.swap)?)
    }

    /// Runs queued reclaim_work and discard_work of all devices; returns the slots and clusters they released.
    fn run_workers(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.swap.run_workers())
    }

    /// Proves every invariant with all CPUs stopped; raises `InvariantError` naming the first broken one.
    fn check(&self, py: Python<'_>) -> Result<()> {
        Ok(py.detach(|| self.swap.check())?)
    }

    fn __repr__(&self) -> String {
        let (free, total) = (self.swap.nr_swap_pages(), self.swap.total_swap_pages());
        format!("<Swap {}: {} devices, {free} of {total} pages free>", self.profile(), self.swap.devices().len())
    }
}
