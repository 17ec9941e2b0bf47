//! Integer arguments. The caller can pass a Python int of any size. If the Rust type cannot hold the int, or the int
//! is below the least value, the error is EINVAL with the name, value and limits of the argument. The core itself
//! refuses an int that is above the greatest value and fits the Rust type.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};
use swapcore::SwapError;

use super::errors::Error;

/// Converts an int to a number of type `T`. `what` is the name of the argument in the error message. Errors: EINVAL
/// when `T` cannot hold the int or the int is below `low`; TypeError when the object is not an int.
fn number<T: TryFrom<i128>>(ob: &Bound<'_, PyAny>, what: &'static str, low: u64, high: u64) -> PyResult<T> {
    let value = match ob.extract::<i64>() {
        Ok(value) => value.into(),
        // The object is an int that does not fit 64 bits, or it is not an int.
        Err(_) => match ob.extract::<i128>() {
            Ok(value) => value,
            Err(_) if !ob.is_instance_of::<PyInt>() => {
                let kind = ob.get_type().name()?;
                return Err(PyTypeError::new_err(format!("{what} must be an int, not {kind}")));
            }
            Err(_) if ob.lt(0)? => i128::MIN,
            Err(_) => i128::MAX,
        },
    };
    let bad = || Error::Core(SwapError::OutOfRange { what, value, low, high }).into();
    T::try_from(value).ok().filter(|_| value >= low.into()).ok_or_else(bad)
}

/// Defines an integer argument with its limits and its name in error messages.
///
/// The form `Name(type)` defines a type for a parameter that has no default, or the default None. The form `name:
/// type` defines a function for `from_py_with`, for a parameter with a number as default. Such a parameter must have
/// a number type, because PyO3 shows the default in the signature only if the default is a literal.
macro_rules! argument {
    ($name:ident($kind:ty) = $what:literal in $low:expr, $high:expr) => {
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(pub(crate) $kind);

        impl<'a, 'py> FromPyObject<'a, 'py> for $name {
            type Error = PyErr;

            fn extract(ob: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
                number(&ob, $what, $low, $high).map(Self)
            }
        }
    };
    ($name:ident: $kind:ty = $what:literal in $low:expr, $high:expr) => {
        pub(crate) fn $name(ob: &Bound<'_, PyAny>) -> PyResult<$kind> {
            number(ob, $what, $low, $high)
        }
    };
}

const MOST: u64 = u64::MAX;
const MOST_U32: u64 = u32::MAX as u64;
const MOST_CPU: u64 = swapcore::base::limits::MAX_CPUS as u64 - 1;

argument!(AcceptThresholdPercent(u32) = "accept_threshold_percent" in 0, 100);
argument!(AddressBytes(u64) = "address" in 0, i64::MAX as u64);
argument!(CopyBytes(usize) = "number of bytes" in 0, i64::MAX as u64);
argument!(Cpu(usize) = "cpu" in 0, MOST_CPU);
argument!(FailingCall(u64) = "number of the call that fails" in 1, MOST);
argument!(LastPage(u32) = "last page" in 1, MOST_U32);
argument!(MaxPoolPercent(u32) = "max_pool_percent" in 0, 100);
argument!(MemLimitBytes(u64) = "mem_limit_bytes" in 0, MOST);
argument!(NrBytes(u64) = "number of bytes" in 0, MOST);
argument!(NrCpus(usize) = "nr_cpus" in 1, MOST_CPU + 1);
argument!(NrFilePages(u64) = "number of pages" in 1, swapcore::mm::FILE_PAGES_MAX);
argument!(NrPages(u64) = "number of pages" in 1, MOST);
argument!(NrRecords(usize) = "number of records" in 0, swapcore::base::limits::EVENT_RECORDS_MAX as u64);
argument!(NrRuns(usize) = "number of runs" in 0, MOST);
argument!(NrSlots(u32) = "number of slots" in 1, MOST_U32);
argument!(NrUpdates(u64) = "number of updates" in 0, MOST);
argument!(NrWrites(u64) = "number of writes" in 0, MOST);
argument!(NrVmaPages(u64) = "number of pages" in 1, swapcore::mm::MMAP_PAGES_MAX);
argument!(OrdersMask(u16) = "orders mask" in 0, 1023);
argument!(Page(u32) = "page" in 0, 511);
argument!(PageCluster(u32) = "page_cluster" in 0, 31);
argument!(PageNumber(u64) = "page number" in 0, 1 << 52);
argument!(Priority(i16) = "priority" in 0, swapcore::base::limits::MAX_PRIORITY as u64);
argument!(RamPages(u64) = "pages of memory" in 1, MOST);
argument!(RootFilePages(u64) = "root_file_pages" in 0, MOST);
argument!(SizePages(u32) = "size in pages" in 2, MOST_U32);
argument!(Slot(u64) = "slot" in 1, MOST_U32);
argument!(Stop(usize) = "stop" in 0, MOST);
argument!(Swappiness(u8) = "swappiness" in 0, swapcore::base::limits::MAX_SWAPPINESS.into());
argument!(Threads(usize) = "threads" in 1, 1024);
argument!(TornPages(u32) = "pages of a torn write" in 0, MOST_U32);

argument!(cpu: usize = "cpu" in 0, MOST_CPU);
argument!(delay_ns: u64 = "delay in ns" in 0, MOST);
argument!(devices: u32 = "devices" in 1, 8);
argument!(errno: i32 = "errno" in 1, 4095);
argument!(memory_pages: u64 = "memory pages" in 512, 1 << 31);
argument!(nr_cpus: usize = "nr_cpus" in 1, MOST_CPU + 1);
argument!(nr_slots: u32 = "number of slots" in 1, MOST_U32);
argument!(offset_bytes: u64 = "offset in bytes" in 0, MOST);
argument!(order: u64 = "order" in 0, swapcore::base::limits::MAX_ORDER.into());
argument!(pages: u32 = "pages" in 1, MOST_U32);
argument!(samples: usize = "samples" in 0, MOST);
argument!(seed: u64 = "seed" in 0, MOST);
argument!(start: usize = "start" in 0, MOST);

/// Converts the size of a ghost, of which the caller passes one form: `size`, a text or a number of bytes, or `pages`.
///
/// The Python module `swapcore.size` does the conversion, because the storages of the Python package accept the same
/// sizes.
pub(crate) fn ghost_pages<'py>(
    py: Python<'py>,
    size: Option<&Bound<'py, PyAny>>,
    pages: Option<&Bound<'py, PyAny>>,
) -> PyResult<SizePages> {
    py.import("swapcore.size")?.getattr("ghost_pages")?.call1((size, pages))?.extract()
}

/// Size in slots of the ghost that a new `Swap` turns on at once; `None` if it turns no ghost on.
pub(crate) struct VirtualPages(pub(crate) Option<u32>);

impl<'a, 'py> FromPyObject<'a, 'py> for VirtualPages {
    type Error = PyErr;

    /// Converts True (the largest size), False, or a size as a text or a number of bytes.
    fn extract(ob: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(is_on) = ob.cast::<PyBool>() {
            return Ok(Self(is_on.is_true().then_some(u32::MAX)));
        }
        Ok(Self(Some(ghost_pages(ob.py(), Some(&ob), None)?.0)))
    }
}

/// Converts a Python iterable of bad pages.
pub(crate) fn bad_pages(ob: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    ob.try_iter()?.map(|page| number(&page?, "bad page", 0, MOST_U32)).collect()
}
