//! Converts errors of the core to Python exceptions. The exceptions are subclasses of OSError with an errno, and are
//! defined in `swapcore.exceptions`.

use pyo3::PyErr;
use rustix::io::Errno;
use swapcore::SwapError;

mod py {
    #![allow(missing_docs, reason = "the classes are documented where they are defined")]
    pyo3::import_exception!(swapcore.exceptions, AlreadyCachedError);
    pyo3::import_exception!(swapcore.exceptions, EntryGoneError);
    pyo3::import_exception!(swapcore.exceptions, GroupExistsError);
    pyo3::import_exception!(swapcore.exceptions, InvalidArgumentError);
    pyo3::import_exception!(swapcore.exceptions, InvariantError);
    pyo3::import_exception!(swapcore.exceptions, RefOverflowError);
    pyo3::import_exception!(swapcore.exceptions, SwapBusyError);
    pyo3::import_exception!(swapcore.exceptions, SwapFullError);
    pyo3::import_exception!(swapcore.exceptions, SwapIOError);
    pyo3::import_exception!(swapcore.exceptions, SwapMemoryError);
    pyo3::import_exception!(swapcore.exceptions, TaskKilledError);
    pyo3::import_exception!(swapcore.exceptions, TooManySwapfilesError);
}

/// The error type of the binding's functions. PyO3 converts an error of this type to a Python exception.
#[derive(Debug)]
pub(crate) enum Error {
    /// An error that the core returned.
    Core(SwapError),
    /// An exception that Python code raised, or that a conversion of a value raised.
    Python(PyErr),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl From<SwapError> for Error {
    fn from(error: SwapError) -> Self {
        Self::Core(error)
    }
}

impl From<PyErr> for Error {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Error> for PyErr {
    #[cold]
    fn from(error: Error) -> Self {
        let error = match error {
            Error::Python(error) => return error,
            Error::Core(error) => error,
        };
        let (errno, args) = (error.named_errno(), (error.errno(), error.to_string()));
        let root = match &error {
            SwapError::InBatch { error, .. } => &**error,
            error => error,
        };
        match (root, errno) {
            (SwapError::Invariant(what), _) => py::InvariantError::new_err(what.clone()),
            (SwapError::NoMemory(_) | SwapError::OverLimit { .. } | SwapError::PolicyRefused { .. }, _) => {
                py::SwapMemoryError::new_err(args)
            }
            (SwapError::Io { .. }, _) => py::SwapIOError::new_err(args),
            (SwapError::Cgroup { .. }, Some(Errno::EXIST)) => py::GroupExistsError::new_err(args),
            (_, Some(Errno::NOSPC)) => py::SwapFullError::new_err(args),
            (_, Some(Errno::NOENT)) => py::EntryGoneError::new_err(args),
            (_, Some(Errno::EXIST)) => py::AlreadyCachedError::new_err(args),
            (_, Some(Errno::BUSY)) => py::SwapBusyError::new_err(args),
            (_, Some(Errno::PERM)) => py::TooManySwapfilesError::new_err(args),
            (_, Some(Errno::SRCH)) => py::TaskKilledError::new_err(args),
            (_, Some(Errno::OVERFLOW)) => py::RefOverflowError::new_err(args),
            _ => py::InvalidArgumentError::new_err(args),
        }
    }
}
