//! Calls of the core that may run hooks written in Python. This file keeps the exception of a hook until the call of
//! the core returns. The method of the binding then raises the exception.

use std::cell::RefCell;

use pyo3::prelude::*;

use super::errors::{Error, Result};

thread_local! {
    /// One element for each call of the binding that runs on this thread. The last element belongs to the innermost
    /// call. An element has the exception that a hook raised during the call, because a hook runs on the thread of
    /// the call that caused it.
    static CALLS: RefCell<Vec<Option<PyErr>>> = const { RefCell::new(Vec::new()) };
}

/// A call of the binding that may run hooks. A `Call` has an element in `CALLS` until the `Call` is dropped.
struct Call;

impl Call {
    fn enter() -> Self {
        CALLS.with_borrow_mut(|calls| calls.push(None));
        Self
    }

    fn raised(&self) -> Option<PyErr> {
        CALLS.with_borrow_mut(|calls| calls.last_mut().and_then(Option::take))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        CALLS.with_borrow_mut(Vec::pop);
    }
}

/// Returns whether a hook raised an exception during the innermost call on this thread. A long call of the core asks
/// this function from time to time, and ends early if the result is true.
pub(crate) fn has_raised() -> bool {
    CALLS.with_borrow(|calls| calls.last().is_some_and(Option::is_some))
}

/// Stores the first exception of the innermost call. Later exceptions are dropped, because most of them repeat the
/// first exception.
pub(crate) fn keep(py: Python<'_>, error: PyErr) {
    let left = CALLS.with_borrow_mut(|calls| match calls.last_mut() {
        Some(raised) => {
            raised.get_or_insert(error);
            None
        }
        None => Some(error),
    });
    // No call of the binding runs on this thread: the hook ran because a handle was dropped. No caller can get the
    // exception, so Python prints it as unraisable.
    if let Some(error) = left {
        error.write_unraisable(py, None);
    }
}

/// Runs a call of the core. Returns the result, and the exception that a hook raised during the call.
pub(crate) fn watched<T>(work: impl FnOnce() -> T) -> (T, Option<PyErr>) {
    let call = Call::enter();
    let result = work();
    (result, call.raised())
}

/// Runs [`watched`] detached from the interpreter, so that other Python threads can run. If a hook raised an
/// exception, the function returns the exception in place of the result.
pub(crate) fn detached<T: Send, E: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> std::result::Result<T, E> + Send,
) -> Result<T>
where
    Error: From<E>,
{
    match py.detach(|| watched(work)) {
        (_, Some(raised)) => Err(Error::Python(raised)),
        (result, None) => Ok(result?),
    }
}
