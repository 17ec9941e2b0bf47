//! Methods of `Swap` for memory cgroups: the root group, the hooks, the owner of a slot, and the ages of a group's
//! slots.

use std::sync::Arc;

use pyo3::prelude::*;
use swapcore::memcg::MemcgPolicy;

use super::Swap;
use super::hooks::Hooks;
use crate::border::buffer::column_of_words;
use crate::border::errors::Result;
use crate::border::number::{Cpu, NrUpdates, RootFilePages, Swappiness};
use crate::memcg::MemCgroup;
use crate::slots::args::EntryArg;

getters! {
    Swap(this):
    memcg: Result<MemCgroup> = MemCgroup::root(&this.swap);
    swappiness: Result<u8> = Ok(this.swap.swappiness()?);
    memcg_flush_updates: Result<u64> = Ok(this.swap.memcg_flush_updates()?);
    root_file_pages: u64 = this.swap.root_file_pages();
}

#[pymethods]
impl Swap {
    #[setter]
    fn set_swappiness(&self, swappiness: Swappiness) -> Result<()> {
        Ok(self.swap.set_swappiness(swappiness.0)?)
    }

    #[setter]
    fn set_memcg_flush_updates(&self, nr_updates: NrUpdates) -> Result<()> {
        Ok(self.swap.set_memcg_flush_updates(nr_updates.0)?)
    }

    #[setter]
    fn set_root_file_pages(&self, nr_pages: RootFilePages) {
        self.swap.set_root_file_pages(nr_pages.0);
    }

    #[doc = stub!(Swap.mem_cgroup_flush_stats)]
    fn mem_cgroup_flush_stats(&self) -> Result<()> {
        Ok(self.swap.mem_cgroup_flush_stats()?)
    }

    #[doc = stub!(Swap.lru_add_drain)]
    #[pyo3(signature = (*, cpu = None))]
    fn lru_add_drain(&self, cpu: Option<Cpu>) -> Result<()> {
        Ok(self.swap.lru_add_drain(self.cpu(cpu)?)?)
    }

    #[doc = stub!(Swap.set_memcg_policy)]
    fn set_memcg_policy(&self, policy: Option<&Bound<'_, PyAny>>) -> Result<()> {
        let hooks = policy.map(|policy| Hooks::new(&self.swap, policy)).transpose()?;
        self.swap.set_policy(hooks.map(|hooks| Arc::new(hooks) as Arc<dyn MemcgPolicy>));
        Ok(())
    }

    #[doc = stub!(Swap.slot_owner)]
    fn slot_owner(&self, entry: EntryArg<'_>) -> Result<u16> {
        Ok(self.swap.slot_owner_id(entry.entry())?.0)
    }

    #[doc = stub!(Swap.swap_ages)]
    #[pyo3(signature = (*, memcg = None))]
    fn swap_ages<'py>(&self, py: Python<'py>, memcg: Option<&Bound<'_, MemCgroup>>) -> Result<Bound<'py, PyAny>> {
        let css = MemCgroup::css_of(memcg, &self.swap)?;
        column_of_words(py, &py.detach(|| self.swap.swap_ages(css))?)
    }
}
