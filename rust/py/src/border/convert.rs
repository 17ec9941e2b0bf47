//! Converts strings and numbers of the Python caller to types of the core, and the report of a pageout to a dict.

use std::cell::Cell;
use std::sync::atomic::{AtomicU16, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use swapcore::mm::PageoutReport;
use swapcore::storage::Algorithm;
use swapcore::{CpuId, Discard, Order, SwapError};

use super::errors::{Error, Result};
use super::number::Cpu;

/// Returns the compressor with the name `name`, at the default level of the compressor.
pub(crate) fn compressor(name: &str) -> Result<Algorithm> {
    Ok(Algorithm::from_name(name, None)?)
}

/// Returns the discard policy with the name `word`. If `word` is `None`, the result is [`Discard::None`].
pub(crate) fn discard(word: Option<&str>) -> Result<Discard> {
    Ok(word.map_or(Ok(Discard::None), Discard::from_name)?)
}

/// Converts a number to an order. Errors: EINVAL when the number is over the largest order.
pub(crate) fn order(order: u64) -> Result<Order> {
    let checked = u8::try_from(order).ok().and_then(Order::new);
    Ok(checked.ok_or(SwapError::OrderTooLarge(order))?)
}

/// Returns the CPU that the argument `cpu` names. If the caller passed no CPU, the result depends on the thread: at
/// its first call each thread gets the next CPU number in turn. Errors: EINVAL when the subsystem has no CPU with the
/// number of the argument.
pub(crate) fn cpu(cpu: Option<Cpu>, nr_cpus: usize) -> Result<CpuId> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    thread_local!(static STICKY: Cell<u16> = const { Cell::new(u16::MAX) });
    let Some(Cpu(cpu)) = cpu else {
        let sticky = STICKY.with(|sticky| {
            if sticky.get() == u16::MAX {
                // Relaxed is enough, because the counter guards no other data.
                sticky.set(NEXT.fetch_add(1, Ordering::Relaxed) % swapcore::base::limits::MAX_CPUS as u16);
            }
            sticky.get()
        });
        return Ok(CpuId(sticky % nr_cpus as u16));
    };
    let bad = || Error::Core(SwapError::BadCpu { cpu, nr_cpus });
    u16::try_from(cpu).ok().filter(|_| cpu < nr_cpus).map(CpuId).ok_or_else(bad)
}

/// Returns the dict of a pageout.
pub(crate) fn pageout_dict<'py>(py: Python<'py>, report: &PageoutReport) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    set_fields!(dict, report: reclaimed_pages kept_pages split_folios errno);
    Ok(dict)
}
