//! `Swap`: the swap subsystem of one machine.

mod alloc;
mod backing;
mod cache;
mod devices;
mod folios;
mod groups;
mod hooks;
mod show;
mod thp;

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use swapcore::memcg::Hierarchy;
use swapcore::{Config, Profile, SwapError, Workers, Writeback};

use crate::border::calls::detached;
use crate::border::convert;
use crate::border::errors::Result;
use crate::border::number::{self, Cpu, NrFilePages, NrWrites, VirtualPages};
use crate::device::SwapDevice;
use crate::folio::Folio;
use crate::memcg::MemCgroup;
use crate::mm::Mm;
use crate::shmem::Shmem;
use crate::zswap::{ZswapArg, ZswapHandle};

#[doc = stub!(Swap)]
#[pyclass(frozen, module = "swapcore")]
#[derive(Debug)]
pub(crate) struct Swap {
    pub(crate) swap: Arc<swapcore::Swap>,
}

impl Swap {
    /// Takes the local lock of the CPU that the argument `cpu` selects.
    #[inline]
    fn on_cpu(&self, cpu: Option<Cpu>) -> Result<swapcore::OnCpu<'_>> {
        Ok(self.swap.on_cpu(self.cpu(cpu)?)?)
    }

    fn cpu(&self, cpu: Option<Cpu>) -> Result<swapcore::CpuId> {
        convert::cpu(cpu, self.swap.nr_cpus())
    }

    fn handle(&self, device: &Arc<swapcore::SwapDevice>) -> SwapDevice {
        SwapDevice::new(self.swap.clone(), device)
    }

    fn own(&self, device: &SwapDevice) -> Result<Arc<swapcore::SwapDevice>> {
        device.live_in(&self.swap)
    }

    /// Returns the Rust value of a Python `Folio`. Errors: `ForeignFolio` (EINVAL) when the folio belongs to another
    /// subsystem.
    fn own_folio<'f>(&self, folio: &'f Bound<'_, Folio>) -> Result<&'f Folio> {
        let folio = folio.get();
        if !Arc::ptr_eq(folio.folio.swap(), &self.swap) {
            let entry = folio.folio.gone_to().unwrap_or(swapcore::SwpEntry::NONE);
            return Err(SwapError::ForeignFolio(entry).into());
        }
        Ok(folio)
    }
}

getters! {
    Swap(this):
    nr_cpus: usize = this.swap.nr_cpus();
    profile: &'static str = this.swap.profile().name();
    nr_swap_pages: i64 = this.swap.nr_swap_pages();
    total_swap_pages: u64 = this.swap.total_swap_pages();
    nr_swapcache_pages: u64 = this.swap.nr_swapcache_pages();
    nr_queued_writes: u64 = this.swap.nr_queued_writes();
    vm_swap_full: bool = this.swap.vm_swap_full();
    zswap: ZswapHandle = ZswapHandle::new(this.swap.clone());
}

#[pymethods]
impl Swap {
    #[new]
    #[pyo3(signature = (*, nr_cpus = 1, profile = "newest", workers = "inline", switches = None, memory_pages = 4_194_304,
        workingset = "classic", memcg = "v2", zswap = None, r#virtual = None, writeback = "sync"))]
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
        r#virtual: Option<VirtualPages>,
        writeback: &str,
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
            writeback: Writeback::from_name(writeback)?,
            memory_pages,
            memcg: Hierarchy::unless_disabled(memcg)?,
            workingset: workingset.into(),
            zswap: zswap.map(|zswap| zswap.0),
            virtual_pages: r#virtual.and_then(|pages| pages.0),
        };
        let swap = Arc::new(swapcore::Swap::with_config(config)?);
        swap.start_writeback();
        Ok(Self { swap })
    }

    #[doc = stub!(Swap.switches)]
    #[getter]
    fn switches<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        Ok(self.swap.switches().words().into_py_dict(py)?)
    }

    #[doc = stub!(Swap.mm)]
    #[pyo3(signature = (memcg = None))]
    fn mm(&self, py: Python<'_>, memcg: Option<&Bound<'_, MemCgroup>>) -> Result<Py<Mm>> {
        Mm::in_group(py, &self.swap, MemCgroup::css_of(memcg, &self.swap)?)
    }

    #[doc = stub!(Swap.shmem)]
    #[pyo3(signature = (nr_pages, order = 0))]
    fn shmem(&self, nr_pages: NrFilePages, #[pyo3(from_py_with = number::order)] order: u64) -> Result<Shmem> {
        Shmem::new(&self.swap, nr_pages.0, convert::order(order)?)
    }

    #[doc = stub!(Swap.run_workers)]
    fn run_workers(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.swap.run_workers())
    }

    #[doc = stub!(Swap.complete_writeback)]
    #[pyo3(signature = (nr = None, *, cpu = None))]
    fn complete_writeback(&self, py: Python<'_>, nr: Option<NrWrites>, cpu: Option<Cpu>) -> Result<u64> {
        let (nr, cpu) = (nr.map_or(u64::MAX, |nr| nr.0), self.cpu(cpu)?);
        detached(py, || self.swap.complete_writeback(nr, cpu))
    }

    #[doc = stub!(Swap.check)]
    fn check(&self, py: Python<'_>) -> Result<()> {
        Ok(py.detach(|| self.swap.check())?)
    }

    fn __repr__(&self) -> String {
        let (free, total) = (self.swap.nr_swap_pages(), self.swap.total_swap_pages());
        format!("<Swap {}: {} devices, {free} of {total} pages free>", self.profile(), self.swap.devices().len())
    }
}
