//! Signals and progress in long calls that run detached from the interpreter. Such a call checks for signals from
//! time to time, and calls the progress function if the Python caller passed one.

use std::time::{Duration, Instant};

use pyo3::prelude::*;
use swapcore::SwapError;

use super::calls::{detached, has_raised};
use super::errors::{Error, Result};

/// The number of bytes that are copied between two checks for signals.
pub(crate) const PIECE_BYTES: usize = 1 << 18;

/// Checks for signals during a long call that runs detached from the interpreter. The caller must hold no lock of the
/// core, because a signal handler may call the core.
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
    /// Runs signal handlers if 20 ms have passed since the last check. Errors: the exception of a handler;
    /// `Interrupted` when a hook raised an exception.
    pub(crate) fn check(&mut self) -> Result<()> {
        if has_raised() {
            // The exception of the hook stays in `CALLS`. The method of the binding raises it in place of
            // `Interrupted`.
            return Err(SwapError::Interrupted.into());
        }
        if self.looked.elapsed() < Duration::from_millis(20) {
            return Ok(());
        }
        self.looked = Instant::now();
        Ok(Python::attach(|py| py.check_signals())?)
    }
}

/// Runs a step for each item, detached from the interpreter, and checks for signals before each step.
pub(crate) fn for_each<T>(
    py: Python<'_>,
    items: impl IntoIterator<Item = T> + Send,
    mut step: impl FnMut(T) -> Result<()> + Send,
) -> Result<()> {
    let mut signals = Signals::default();
    detached(py, || {
        for item in items {
            signals.check()?;
            step(item)?;
        }
        Ok::<_, Error>(())
    })
}

/// The progress state of a replay. The method `tick` checks for signals and calls the progress function of the Python
/// caller, if the caller passed one.
#[derive(Debug)]
pub(crate) struct Progress {
    told: Option<Py<PyAny>>,
    raised: Option<PyErr>,
}

impl Progress {
    pub(crate) fn new(told: Option<Py<PyAny>>) -> Self {
        Self { told, raised: None }
    }

    /// Checks for signals and calls the progress function. Errors: `Interrupted` when a signal handler or the
    /// progress function raised an exception. The method `result` returns this exception.
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

    /// Returns the result of a call of `watched`. Errors: the exception of a hook, of a signal handler or of the
    /// progress function.
    pub(crate) fn result<T>(self, (result, raised): (swapcore::Result<T>, Option<PyErr>)) -> Result<T> {
        raised.or(self.raised).map_or(Ok(()), |error| Err(Error::Python(error)))?;
        Ok(result?)
    }
}
