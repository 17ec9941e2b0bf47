//! Calls of the core in which hooks written in Python may be called, and the way of what a hook raises to its call.

use std::cell::RefCell;

use pyo3::prelude::*;

use super::errors::{Error, Result};

thread_local! {
    /// The exception of a hook, for each call of the binding that this thread is in, the innermost last. A hook runs on the
    /// thread of the call that led to it, so every exception here belongs to this thread.
    static CALLS: RefCell<Vec<Option<PyErr>>> = const { RefCell::new(Vec::new()) };
}

/// One call of the binding in which hooks may be called.
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

/// Says whether a hook raised in the call that this thread is in: there is no use in going on.
pub(crate) fn has_raised() -> bool {
    CALLS.with_borrow(|calls| calls.last().is_some_and(Option::is_some))
}

/// Keeps the first exception of a call; later ones are most often the same again.
pub(crate) fn keep(py: Python<'_>, error: PyErr) {
    let left = CALLS.with_borrow_mut(|calls| match calls.last_mut() {
        Some(raised) => {
            raised.get_or_insert(error);
            None
        }
        None => Some(error),
    });
    // No call can raise the exception: the hook ran because a handle was dropped.
    if let Some(error) = left {
        error.write_unraisable(py, None);
    }
}

/// Calls the core where hooks may be called, and returns what they raised besides.
pub(crate) fn watched<T>(work: impl FnOnce() -> T) -> (T, Option<PyErr>) {
    let call = Call::enter();
    let result = work();
    (result, call.raised())
}

/// [`watched`], detached; what a hook raised comes before what the core says.
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
