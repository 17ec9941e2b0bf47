//! Linux's swap slot allocator in user space: the same structures, the same decisions, slot for slot.
//!
//! # Map
//! Each folder has one duty. The list has the lowest folders first: a folder calls only folders on the lines above
//! its own line. Folders on one line do not call each other. The test `tests/house/test_layers.py` checks that the
//! code follows the list.
//!
//! layers:
//! base
//! containers
//! compress table
//! cluster storage workingset
//! zswap
//! memcg
//! folio
//! readahead
//! rmap
//! machine
//! slots
//! show cache
//! datapath
//! reclaim
//! swapping
//! cgroupfs handles lifecycle mm
//! workload
//! races
//! end of layers
//!
//! # Locks, outer to inner
//!
//! A thread takes locks in this order: folio locks; page table locks; `swap_lock`, which protects the list of devices
//! in [`machine::Swap`]; a CPU's local lock; the lock of a rotational device's next slots, at which its allocations
//! start; one cluster lock, or the lock of a virtual device's cluster and then the lock of a cluster that backs it;
//! and at last one of these locks: list lock, avail lock, lock of the table pool, of the extend tables, of the free
//! pages, of the LRU lists, of the reverse map, or a lock of a storage.
//!
//! A thread that waits for a folio lock sleeps. A thread that holds a local lock only tries to take a folio lock.
//!
//! # One swap-out
//! ```
//! use swapcore::{CpuId, DeviceSpec, Order, Profile, Swap};
//!
//! let swap = Swap::new(1, Profile::Newest)?;
//! swap.swapon(&DeviceSpec::new(4096).priority(10))?;
//! let mut cpu = swap.on_cpu(CpuId(0))?;
//! let run = cpu.alloc(Order::new(4).expect("an order"))?;   // slots 512..528: cluster 0 has the header
//! cpu.put(run, 16)?;                                         // the last reference: the run is free again
//! drop(cpu);
//! swap.check()?;
//! # Ok::<(), swapcore::SwapError>(())
//! ```

pub mod base;
mod cache;
pub mod cgroupfs;
pub mod cluster;
mod compress;
mod containers;
mod datapath;
pub mod folio;
pub mod handles;
mod lifecycle;
pub mod machine;
pub mod memcg;
pub mod mm;
#[cfg(test)]
mod races;
pub mod readahead;
mod reclaim;
pub mod rmap;
pub mod show;
mod slots;
pub mod storage;
pub mod swapping;
pub mod table;
pub mod workingset;
pub mod workload;
pub mod zswap;

pub use base::error::{Result, SwapError};
pub use base::types::{CpuId, MemcgId, Order, SwpEntry, SwpOffset, SwpType};
pub use containers::orders::Orders;
pub use folio::{Folio, FolioFlags, FolioRef, Memory};
pub use handles::GroupHandle;
pub use handles::folio::{FolioHandle, FolioViewHandle};
pub use lifecycle::resize::Resize;
pub use machine::device::SwapDevice;
pub use machine::profile::{Profile, Switches};
pub use machine::{Config, OnCpu, Swap, Workers, Writeback};
pub use mm::Mm;
pub use storage::spec::{DeviceSpec, Discard, GhostSpec, Visibility};
pub use swapping::move_backing::Moved;
pub use swapping::swapin::Swapin;
pub use swapping::swapout::{KeptFolio, MappedFolio};
