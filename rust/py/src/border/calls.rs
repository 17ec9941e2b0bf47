//! Calls of the core that may run hooks written in Python. An exception that a hook raises is kept here until the
//! call of the core returns, and then the call of the binding raises it.

use std::cell::RefCell;

use pyo3::prelude::*;

use super::errors::{Error, Result};

thread_local! {
    /// One element for each call of the binding that runs on this thread, the innermost call last: the exception of a
    /// hook, if a hook raised one. A hook runs on the thread of the call that caused it.
    static CALLS: RefCell<Vec<Option<PyErr>>> = const { RefCell::new(Vec::new()) };
}

/// A call of the binding that may run hooks: it has an element in `CALLS` until it is dropped.
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

/// Returns whether a hook raised during the innermost call on this thread. A long call then ends early.
pub(crate) fn has_raised() -> bool {
    CALLS.with_borrow(|calls| calls.last().is_some_and(Option::is_some))
}

/// Keeps the first exception of a call. Later exceptions are dropped, because most repeat the first.
pub(crate) fn keep(py: Python<'_>, error: PyErr) {
    let left = CALLS.with_borrow_mut(|calls| match calls.last_mut() {
        Some(raised) => {
            raised.get_or_insert(error);
            None
        }
        None => Some(error),
    });
    // The hook ran because a handle was dropped, so there is no call that could raise the exception.
    if let Some(error) = left {
        error.write_unraisable(py, None);
    }
}

/// Runs a call of the core. Returns the result, and the exception that a hook raised meanwhile.
pub(crate) fn watched<T>(work: impl FnOnce() -> T) -> (T, Option<PyErr>) {
    let call = Call::enter();
    let result = work();
    (result, call.raised())
}

/// Runs [`watched`] while other Python threads run. An exception of a hook is returned in place of the result.
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
