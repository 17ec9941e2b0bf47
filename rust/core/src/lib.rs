//! Linux's swap slot allocator in user space: the same structures, the same decisions, slot for slot.
//!
//! # Map
//! Folder order is dependency order: a module uses only those above it. Modules of one line are independent.
//!
//! layers:
//! limits
//! types
//! error
//! sync mapped spec gfp zero readahead event orders
//! percpu
//! table
//! cluster workingset
//! memcg
//! profile folio header plist
//! zsmalloc compress
//! zswap
//! storage rmap
//! device
//! avail
//! swap
//! charge
//! free
//! slots
//! reclaim
//! alloc
//! refs cache
//! replace
//! zstore
//! io
//! policies
//! vmscan
//! shrink memcharge
//! reparent
//! cgroupfs
//! swapin
//! realloc zshrink
//! swapout
//! shared mm swapon swapoff resize stats
//! check dump
//! strategy
//! replay stress
//! races
//! end of layers
//!
//! # Locks, outer to inner
//! `swap_lock` ([`swap::Swap`]'s list of devices) > a CPU's local lock > a rotational device's positions > one cluster
//! lock > one of { list lock, avail lock, pool, extend, free pages, LRU lists, reverse map, a storage's own }. Folio locks
//! come before all of these and are slept for; under a local lock one is only tried. Page table locks are between.
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

mod alloc;
mod avail;
mod cache;
pub mod cgroupfs;
mod charge;
pub mod check;
pub mod cluster;
mod compress;
pub mod device;
pub mod dump;
pub mod error;
pub mod event;
pub mod folio;
mod free;
pub mod gfp;
pub mod header;
mod io;
pub mod limits;
mod mapped;
pub mod memcg;
mod memcharge;
pub mod mm;
mod orders;
mod percpu;
mod plist;
mod policies;
pub mod profile;
#[cfg(test)]
mod races;
pub mod readahead;
mod realloc;
mod reclaim;
mod refs;
mod reparent;
mod replace;
pub mod replay;
mod resize;
pub mod rmap;
pub mod shared;
mod shrink;
mod slots;
pub mod spec;
mod stats;
pub mod storage;
pub mod strategy;
pub mod stress;
pub mod swap;
pub mod swapin;
mod swapoff;
mod swapon;
pub mod swapout;
mod sync;
pub mod table;
pub mod types;
mod vmscan;
pub mod workingset;
pub mod zero;
mod zshrink;
mod zsmalloc;
mod zstore;
pub mod zswap;

pub use cgroupfs::GroupHandle;
pub use device::SwapDevice;
pub use error::{Result, SwapError};
pub use folio::{Folio, FolioFlags, FolioRef, Memory};
pub use mm::Mm;
pub use orders::Orders;
pub use profile::{Profile, Switches};
pub use realloc::Moved;
pub use resize::Resize;
pub use shared::{SharedFolio, SharedView};
pub use spec::{DeviceSpec, Discard, GhostSpec, Visibility};
pub use swap::{Config, OnCpu, Swap, Workers};
pub use swapin::Swapin;
pub use swapout::{Kept, MappedFolio};
pub use types::{CpuId, MemcgId, Order, SwpEntry, SwpOffset, SwpType};
