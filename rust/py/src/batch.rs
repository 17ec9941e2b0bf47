//! Long batches: let other Python threads run, and look for signals on the way.

use std::time::{Duration, Instant};

use pyo3::prelude::*;
use swapcore::{CpuId, Order, SwapError};

use crate::arrays::EntriesArg;
use crate::convert;
use crate::errors::{Error, Result};
use crate::policy::has_raised;
use crate::swap::Swap;

/// Slots from which on a batch is worth letting other Python threads run: about 50 us of work.
pub(crate) const DETACH_SLOTS: usize = 16_384;

/// Slots a long allocation takes between two looks for signals: a few milliseconds.
const SIGNAL_SLOTS: usize = 1 << 20;

impl Swap {
    /// Takes runs in pieces, looking for signals between them with no lock held; gives all back when one raises.
    pub(crate) fn alloc_interruptible(
        &self,
        order: Order,
        cpu: CpuId,
        out: &mut [swapcore::SwpEntry],
    ) -> Result<usize> {
        let mut taken = 0;
        for piece in out.chunks_mut((SIGNAL_SLOTS >> order.get()).max(1)) {
            let nr = self.swap.alloc_batch(order, cpu, piece)?;
            taken += nr;
            if nr < piece.len() {
                break;
            }
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                self.swap.put_batch(order, &out[..taken], cpu)?;
                return Err(error.into());
            }
        }
        Ok(taken)
    }

    /// Runs a call of the core on the runs of a batch, detached if they are many.
    pub(crate) fn on_batch(
        &self,
        py: Python<'_>,
        batch: &EntriesArg<'_>,
        order: u64,
        cpu: Option<usize>,
        call: fn(&swapcore::Swap, Order, &[swapcore::SwpEntry], CpuId) -> swapcore::Result<()>,
    ) -> Result<()> {
        let order = batch.order(order)?;
        let cpu = convert::cpu(cpu, self.swap.nr_cpus())?;
        let (swap, entries) = (&*self.swap, batch.entries());
        let is_long = entries.len() << order.get() >= DETACH_SLOTS;
        let result =
            if is_long { py.detach(|| call(swap, order, entries, cpu)) } else { call(swap, order, entries, cpu) };
        Ok(result?)
    }
}

/// Looks for signals now and then in a long call that runs detached, with no lock held.
#[derive(Debug)]
pub(crate) struct Signals {
    looked: Instant,
}

impl Default for Signals {
    fn default() -> Self {
        Self { looked: Instant::now() }
    }
}

impl Signals {
    /// Raises what a signal handler raised, if it is time to look: every 20 ms.
    pub(crate) fn check(&mut self) -> Result<()> {
        if has_raised() {
            // A hook did, and it may have been a signal's: who called has it.
            return Err(SwapError::Interrupted.into());
        }
        if self.looked.elapsed() < Duration::from_millis(20) {
            return Ok(());
        }
        self.looked = Instant::now();
        Ok(Python::attach(|py| py.check_signals())?)
    }
}

/// Tells a function of the caller's how far a long call is, and looks for signals: the `tick` of a replay.
#[derive(Debug)]
pub(crate) struct Progress {
    told: Option<Py<PyAny>>,
    raised: Option<PyErr>,
}

impl Progress {
    pub(crate) fn new(told: Option<Py<PyAny>>) -> Self {
        Self { told, raised: None }
    }

    /// Ends the call with `Interrupted` when a signal handler or the function raises.
    pub(crate) fn tick(&mut self, nr_done: usize) -> swapcore::Result<()> {
        let told = Python::attach(|py| {
            py.check_signals()?;
            self.told.as_ref().map(|told| told.call1(py, (nr_done,))).transpose()
        });
        told.map(|_| ()).map_err(|error| {
            self.raised = Some(error);
            SwapError::Interrupted
        })
    }

    /// Returns the result of a watched call, or what a hook, a signal handler or the function raised on the way.
    pub(crate) fn result<T>(self, (result, raised): (swapcore::Result<T>, Option<PyErr>)) -> Result<T> {
        raised.or(self.raised).map_or(Ok(()), |error| Err(Error::Python(error)))?;
        Ok(result?)
    }
}
