//! Memory cgroups of a subsystem: their root, their hooks, and what is charged to them.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use swapcore::memcg::MemcgPolicy;

use super::Swap;
use super::hooks::Hooks;
use crate::border::buffer::bytes_of_words;
use crate::border::errors::Result;
use crate::border::number;
use crate::memcg::MemCgroup;
use crate::slots::args::EntryArg;

#[pymethods]
impl Swap {
    /// The root of the memory cgroups; EINVAL while memcg is disabled.
    #[getter]
    fn memcg(&self) -> Result<MemCgroup> {
        MemCgroup::root(&self.swap)
    }

    /// How readily anonymous pages are reclaimed, 0..=200; on v1 root's. Kernel: ``vm.swappiness``.
    #[getter]
    fn swappiness(&self) -> Result<u8> {
        Ok(self.swap.swappiness()?)
    }

    #[setter]
    fn set_swappiness(&self, #[pyo3(from_py_with = number::swappiness)] swappiness: u8) -> Result<()> {
        Ok(self.swap.set_swappiness(swappiness)?)
    }

    /// Hangs the hooks of an object in, in the place of those there are; None takes them away.
    fn set_memcg_policy(&self, policy: Option<&Bound<'_, PyAny>>) -> Result<()> {
        let hooks = policy.map(|policy| Hooks::new(&self.swap, policy)).transpose()?;
        self.swap.set_policy(hooks.map(|hooks| Arc::new(hooks) as Arc<dyn MemcgPolicy>));
        Ok(())
    }

    /// Returns the private id of who is charged for a slot, 0 for nobody; of a slot that a folio caches only where the owner
    /// store keeps it beside the entry.
    fn slot_owner(&self, entry: EntryArg<'_>) -> Result<u16> {
        Ok(self.swap.slot_owner_id(entry.entry())?.0)
    }

    /// Returns, for each slot of a group that is swapped out, the pages evicted or activated since it went (uint64, native
    /// order, for ``np.frombuffer``).
    fn swap_ages<'py>(&self, py: Python<'py>, group: &Bound<'_, MemCgroup>) -> Result<Bound<'py, PyBytes>> {
        let css = MemCgroup::css_of(Some(group), &self.swap)?;
        bytes_of_words(py, &py.detach(|| self.swap.swap_ages(css))?)
    }
}
