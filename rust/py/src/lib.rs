//! The Python binding of swapcore. The binding only converts values, detaches from the interpreter and maps errors.
//!
//! # Map
//! A room is a file or a folder of this crate. Each Python class has its own room, or a file in a room. A room uses
//! only rooms on the lines above its own line in this list. Rooms on one line do not use each other. A test in
//! `tests/house` checks the list.
//!
//! layers:
//! border
//! memcg slots storage
//! device folio zswap
//! mm shmem
//! swap
//! workload
//! end of layers

/// The macro `stub!`. For example, `stub!(Swap.alloc)` is the docstring of the Python method `Swap.alloc`. `build.rs`
/// reads the docstrings from the stubs `python/swapcore/_core*.pyi`.
#[macro_use]
mod stub {
    include!(concat!(env!("OUT_DIR"), "/stub.rs"));
}

#[macro_use]
mod border;
mod device;
mod folio;
mod memcg;
mod mm;
mod shmem;
mod slots;
mod storage;
mod swap;
mod workload;
mod zswap;

use pyo3::prelude::*;

#[doc = stub!(_core)]
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::device::SwapDevice;
    #[pymodule_export]
    use crate::folio::{Folio, FolioLock};
    #[pymodule_export]
    use crate::memcg::{MemCgroup, MemcgFile};
    #[pymodule_export]
    use crate::mm::Mm;
    #[pymodule_export]
    use crate::shmem::Shmem;
    #[pymodule_export]
    use crate::slots::batch::SwapBatch;
    #[pymodule_export]
    use crate::slots::entry::SwpEntry;
    #[pymodule_export]
    use crate::storage::Storage;
    #[pymodule_export]
    use crate::storage::header::{build_swap_header, parse_swap_header};
    #[pymodule_export]
    use crate::swap::Swap;
    #[pymodule_export]
    use crate::workload::accesses::Accesses;
    #[pymodule_export]
    use crate::workload::strategy::Strategy;
    #[pymodule_export]
    use crate::workload::stress::stress;
    #[pymodule_export]
    use crate::workload::trace::Trace;
    #[pymodule_export]
    use crate::zswap::ZswapHandle;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("PAGE_SIZE", swapcore::base::limits::PAGE_SIZE)?;
        module.add("SWAPFILE_CLUSTER", swapcore::base::limits::SWAPFILE_CLUSTER)?;
        module.add("MAX_ORDER", swapcore::base::limits::MAX_ORDER)?;
        module.add("MAX_SWAPFILES", swapcore::base::limits::MAX_SWAPFILES)?;
        module.add("is_debug_build", cfg!(debug_assertions))?;
        module.add("build_facts", crate::border::build::facts(module.py())?)
    }
}
