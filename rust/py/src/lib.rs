//! The Python face of swapcore: one file a class; converts, detaches and maps errors, nothing else.

mod accesses;
mod arrays;
mod backing;
mod batch;
mod convert;
mod device;
mod dump;
mod entry;
mod errors;
mod folio;
mod header;
mod memcg;
mod mm;
mod number;
mod policy;
mod storage;
mod strategy;
mod stress;
mod swap;
mod swapping;
mod trace;
mod zswap;

use pyo3::prelude::*;

/// The Rust core of swapcore.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::accesses::Accesses;
    #[pymodule_export]
    use crate::arrays::SwapBatch;
    #[pymodule_export]
    use crate::device::SwapDevice;
    #[pymodule_export]
    use crate::entry::SwpEntry;
    #[pymodule_export]
    use crate::folio::Folio;
    #[pymodule_export]
    use crate::header::{build_swap_header, parse_swap_header};
    #[pymodule_export]
    use crate::memcg::MemCgroup;
    #[pymodule_export]
    use crate::mm::Mm;
    #[pymodule_export]
    use crate::storage::Storage;
    #[pymodule_export]
    use crate::strategy::Strategy;
    #[pymodule_export]
    use crate::stress::stress;
    #[pymodule_export]
    use crate::swap::Swap;
    #[pymodule_export]
    use crate::trace::Trace;
    #[pymodule_export]
    use crate::zswap::ZswapHandle;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("PAGE_SIZE", swapcore::base::limits::PAGE_SIZE)?;
        module.add("SWAPFILE_CLUSTER", swapcore::base::limits::SWAPFILE_CLUSTER)?;
        module.add("MAX_ORDER", swapcore::base::limits::MAX_ORDER)?;
        module.add("MAX_SWAPFILES", swapcore::base::limits::MAX_SWAPFILES)?;
        module.add("is_debug_build", cfg!(debug_assertions))
    }
}
