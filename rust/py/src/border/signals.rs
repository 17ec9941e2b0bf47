//! Long calls that run detached: looks for signals on the way, and the progress function.

use std::time::{Duration, Instant};

use pyo3::prelude::*;
use swapcore::SwapError;

use super::calls::{detached, has_raised};
use super::errors::{Error, Result};

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
    /// Looks for signals, every 20 ms, and returns the exception of a signal handler.
    pub(crate) fn check(&mut self) -> Result<()> {
        if has_raised() {
            // The exception of a hook may be that of a signal handler. The call of the binding raises it.
            return Err(SwapError::Interrupted.into());
        }
        if self.looked.elapsed() < Duration::from_millis(20) {
            return Ok(());
        }
        self.looked = Instant::now();
        Ok(Python::attach(|py| py.check_signals())?)
    }
}

/// Runs a step for each item, detached, and looks for signals before each.
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
