//! One value per CPU, each behind its own lock. The CPU is an argument of each call, and does not depend on the CPU
//! on which the thread runs.

use crossbeam_utils::CachePadded;

use crate::base::error::{Result, SwapError};
use crate::base::limits::MAX_CPUS;
use crate::base::sync::{SpinGuard, SpinMutex};
use crate::base::types::CpuId;

/// A `T` for each CPU; each `T` has its own cache lines.
#[derive(Debug)]
pub(crate) struct PerCpu<T>(Box<[CachePadded<SpinMutex<T>>]>);

impl<T> PerCpu<T> {
    /// Makes the value of each CPU with `init`. Errors: `BadNrCpus` (EINVAL) when `nr_cpus` is 0 or greater than
    /// [`MAX_CPUS`].
    pub(crate) fn new(nr_cpus: usize, mut init: impl FnMut(CpuId) -> T) -> Result<Self> {
        if nr_cpus == 0 || nr_cpus > MAX_CPUS {
            return Err(SwapError::BadNrCpus(nr_cpus));
        }
        Ok(Self((0..nr_cpus).map(|cpu| CachePadded::new(SpinMutex::new(init(CpuId(cpu as u16))))).collect()))
    }

    /// Returns the number of CPUs.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the local lock of a CPU. Errors: `BadCpu` (EINVAL) when there is no such CPU.
    #[inline]
    pub(crate) fn lock(&self, cpu: CpuId) -> Result<SpinGuard<'_, T>> {
        match self.0.get(cpu.index()) {
            Some(slot) => Ok(slot.lock()),
            None => Err(SwapError::BadCpu { cpu: cpu.index(), nr_cpus: self.len() }),
        }
    }

    /// Takes the locks of all CPUs in ascending order and returns all guards. No operation that needs a local lock
    /// runs while the guards exist.
    pub(crate) fn lock_all(&self) -> Vec<SpinGuard<'_, T>> {
        self.0.iter().map(|slot| slot.lock()).collect()
    }

    /// Calls `visit` with the value of every CPU, in ascending order, under that CPU's lock, one lock at a time. With
    /// a `visit` that does nothing, the call waits until every section under a local lock that was running at the
    /// start of the call has ended (a grace period).
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&mut T)) {
        self.0.iter().for_each(|slot| visit(&mut slot.lock()));
    }
}
