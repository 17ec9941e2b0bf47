//! The state of one machine's swap: the devices and their order, the hints and counters of each CPU, and the memory
//! of folios.
//!
//! Each operation runs through an [`OnCpu`], which holds the local lock of one CPU. The local lock serialises
//! allocation on its CPU, as the kernel's local lock does, so hints and counters are plain words. Swapon and swapoff
//! wait for the holders of local locks: each CPU has its own table of devices, and the table changes only under that
//! CPU's lock. So a device found in the table stays on for the whole operation.

mod counters;
pub mod device;
mod memcg;
mod on_cpu;
pub mod profile;
mod space;
mod thp;
pub(crate) mod writeback;

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use crate::base::error::{Result, SwapError};
use crate::base::sync::SpinMutex;
use crate::base::types::{CpuId, CssId, Order, SwpEntry, SwpOffset, SwpType};
use crate::containers::percpu::PerCpu;
use crate::folio::{Active, Memory};
use crate::machine::device::SwapDevice;
use crate::machine::profile::{Profile, Switches};
use crate::machine::space::Avail;
use crate::memcg::{MemCgroups, OwnerStore, Policies};
use crate::readahead::ClusterReadahead;
use crate::rmap::{AnonVmas, FileMappings, Tasks};
use crate::table::OwnerForm;
use crate::workingset::Workingset;
use crate::zswap::Zswap;

use counters::CpuCounters;
pub(crate) use counters::{Event, OrderEvent};
pub use on_cpu::OnCpu;
pub(crate) use on_cpu::{CpuLocal, DeviceTable, Hints, Operation};
pub use profile::{Config, Workers};
use space::SpaceTotals;
use thp::Defrag;
pub use thp::ThpDefrag;
pub use writeback::Writeback;
use writeback::WritebackQueue;

/// Writeback of zswap pages, for callers in folders of a lower layer than `swapping`. This trait is the only way to
/// call a folder of a higher layer. Writeback allocates a folio, charges the folio and may reclaim, so its code is in
/// a higher layer than `datapath` and `reclaim`, although these folders request writeback. The trait breaks this
/// dependency cycle: `lifecycle` passes an implementation when it makes a `Swap`, and the `Swap` stores the
/// implementation. Kernel: the shrinker that zswap registers, and `shrink_memcg`.
pub(crate) trait ZswapShrinker: Debug + Send + Sync {
    /// Writes back a batch of the oldest zswap pages of one group. Returns the number of pages that were written
    /// back. Errors: as [`Swap::shrink_memcg`].
    fn make_room(&self, swap: &Swap, css: CssId, cpu: CpuId) -> Result<u64>;

    /// Writes back the number of zswap pages of a group that reclaim with the scan priority `priority` asks for.
    /// Returns the number of pages that were written back. `css` is `None` while memcg is disabled.
    fn shrink_for_reclaim(&self, swap: &Swap, css: Option<CssId>, priority: u8, cpu: CpuId) -> u64;
}

/// The devices that are on, and the last automatic priority. Protected by `swap_lock`.
#[derive(Debug, Default)]
pub(crate) struct ActiveDevices {
    pub(crate) devices: DeviceTable,
    /// The last automatic priority that a device received. Kernel: `least_priority`.
    pub(crate) least_priority: i32,
}

/// The swap subsystem of one machine.
#[derive(Debug)]
pub struct Swap {
    pub(crate) switches: Switches,
    pub(crate) workers: Workers,
    profile: Profile,
    pub(crate) locals: PerCpu<CpuLocal>,
    counters: Box<[CachePadded<CpuCounters>]>,
    pub(crate) avail: SpinMutex<Avail>,
    active: Mutex<ActiveDevices>,
    space: SpaceTotals,
    /// Number of virtual devices that are on.
    pub(crate) nr_virtual: AtomicUsize,
    /// One more than the highest swap type ever used. Sums over types end before this type.
    pub(crate) nr_types: AtomicUsize,
    /// Number of rotational devices that are on. Kernel: `nr_rotate_swap`.
    pub(crate) nr_rotational: AtomicUsize,
    memory: Memory,
    pub(crate) zswap: Zswap,
    /// Writeback of zswap pages. The implementation is in `swapping`, a folder of a higher layer.
    pub(crate) zswap_shrinker: &'static dyn ZswapShrinker,
    pub(crate) policies: Policies,
    /// The rule that decides whether a refaulted page belongs to the working set.
    pub(crate) workingset: Workingset,
    /// State of the readahead of neighbouring slots. Kernel: `swapin_readahead_hits` and the variables beside
    /// `swapin_readahead_hits`.
    pub(crate) readahead: ClusterReadahead,
    /// The writes to devices that are not over.
    pub(crate) writes: Arc<WritebackQueue>,
    /// The rule for reclaim in the allocation of large folios.
    defrag: Defrag,
    /// The mappings whose page tables may map a folio.
    pub(crate) anon_vmas: Arc<AnonVmas>,
    /// The files in memory.
    pub(crate) file_mappings: Arc<FileMappings>,
    /// The tasks, among which the OOM killer chooses.
    pub(crate) tasks: Arc<Tasks>,
}

impl Swap {
    /// Builds a subsystem from its configuration and an implementation of the writeback of zswap pages. Errors: as
    /// [`Swap::with_config`].
    pub(crate) fn assemble(config: Config, zswap_shrinker: &'static dyn ZswapShrinker) -> Result<Self> {
        let Config {
            nr_cpus,
            profile,
            switches,
            workers,
            writeback,
            memory_pages,
            memcg,
            workingset,
            zswap,
            virtual_pages: _,
        } = config;
        let memcg = memcg.map(|hierarchy| MemCgroups::new(switches.memcg.resolve(hierarchy)?, nr_cpus)).transpose()?;
        let workingset = Workingset::from_name(&workingset, memory_pages)?;
        let mut memory = Memory::new(memory_pages, memcg)?.with_lists_of(workingset);
        if switches.lru_add_batch {
            memory = memory.with_lru_batches(nr_cpus)?;
        }
        Ok(Self {
            switches,
            workers,
            profile,
            locals: PerCpu::new(nr_cpus, |_| CpuLocal::new())?,
            counters: (0..nr_cpus).map(|_| CachePadded::default()).collect(),
            avail: SpinMutex::default(),
            active: Mutex::new(ActiveDevices { least_priority: -1, ..ActiveDevices::default() }),
            space: SpaceTotals::default(),
            nr_virtual: AtomicUsize::new(0),
            nr_types: AtomicUsize::new(0),
            nr_rotational: AtomicUsize::new(0),
            memory,
            zswap: Zswap::new(memory_pages, zswap)?,
            zswap_shrinker,
            policies: Policies::default(),
            workingset,
            readahead: ClusterReadahead::default(),
            writes: Arc::new(WritebackQueue::new(writeback)),
            defrag: Defrag::default(),
            anon_vmas: Arc::default(),
            file_mappings: Arc::default(),
            tasks: Arc::default(),
        })
    }

    /// Returns zswap, the compressed cache in front of the devices.
    pub fn zswap(&self) -> &Zswap {
        &self.zswap
    }

    /// Returns the number of CPUs.
    pub fn nr_cpus(&self) -> usize {
        self.locals.len()
    }

    /// Returns the profile that the subsystem was made with.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Returns the value of each switch.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Locks the list of devices. `swap_lock` is taken before every other lock. Kernel: `swap_lock`.
    pub(crate) fn active(&self) -> MutexGuard<'_, ActiveDevices> {
        // A panic under the lock leaves the list consistent, because each change is one assignment or one list
        // operation.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the device of a type that is on. Errors: `NoDevice` (ENOENT). Locks: `swap_lock`.
    pub fn device(&self, ty: SwpType) -> Result<Arc<SwapDevice>> {
        let active = self.active();
        let device = active.devices.get(ty.index()).and_then(Clone::clone);
        device.ok_or(SwapError::NoDevice(SwpEntry::new(ty, SwpOffset(0))))
    }

    /// Returns the devices that are on: first the devices with free slots, in the order in which allocation tries
    /// devices, then all other devices, by type.
    pub fn devices(&self) -> Vec<Arc<SwapDevice>> {
        let active = self.active();
        let mut types = self.avail.lock().in_order();
        let rest = active.devices.iter().flatten().map(|device| device.ty()).filter(|ty| !types.contains(ty));
        let rest: Vec<_> = rest.collect();
        types.extend(rest);
        types.into_iter().filter_map(|ty| active.devices[ty.index()].clone()).collect()
    }

    /// Returns the number of slots whose table entry holds a folio. Kernel: `nr_swapcached`, summed over nodes.
    pub fn nr_swapcache_pages(&self) -> u64 {
        // Relaxed: as in `inuse_pages`.
        self.counters.iter().map(|cpu| cpu.cached.load(Ordering::Relaxed)).sum::<i64>().max(0) as u64
    }

    /// Begins an operation that changes state in several steps, which [`Swap::check`] waits for. The operation ends
    /// when the returned guard is dropped. Waits while a check runs, unless this thread runs an operation already.
    /// The caller holds no lock except folio locks.
    #[inline]
    pub(crate) fn begin_activity(&self) -> Active<'_> {
        self.memory.activity().enter()
    }

    /// Returns the memory that folios are allocated from.
    pub fn memory_of_folios(&self) -> &Memory {
        &self.memory
    }

    /// Returns whether a fault reads the neighbouring pages of its mapping ahead, and not the neighbouring slots: no
    /// rotational device is on, and readahead over pages is enabled. Kernel: `swap_use_vma_readahead`.
    pub(crate) fn swap_use_vma_readahead(&self) -> bool {
        // Relaxed: the result selects the kind of readahead, and either kind gives correct results.
        self.readahead.vma_ra_enabled() && self.nr_rotational.load(Ordering::Relaxed) == 0
    }

    /// Returns the state of the readahead of neighbouring slots.
    pub fn readahead(&self) -> &ClusterReadahead {
        &self.readahead
    }

    /// Returns the form in which the owners of slots are stored: in the table entries, or beside the table entries.
    pub(crate) fn owner_form(&self) -> OwnerForm {
        match self.memory.memcg().map(|groups| groups.options().owner_store) {
            None | Some(OwnerStore::Shadow) => OwnerForm::Entry,
            Some(OwnerStore::Array) => OwnerForm::Array,
            Some(OwnerStore::ClusterTable) => OwnerForm::Table,
            Some(OwnerStore::Trampoline) => OwnerForm::Sparse,
        }
    }

    /// Sums one counter over all CPUs.
    fn sum_of_cpus(&self, of: impl Fn(&CpuCounters) -> &AtomicU64) -> u64 {
        self.counters.iter().map(|cpu| of(cpu).load(Ordering::Relaxed)).sum()
    }

    /// Returns the number of runs of slots of an order that were handed out.
    pub fn runs(&self, order: Order) -> u64 {
        self.sum_of_cpus(|cpu| &cpu.runs[order.index()])
    }

    /// Returns the number of requests for slots of an order that failed.
    pub fn failures(&self, order: Order) -> u64 {
        self.sum_of_cpus(|cpu| &cpu.failures[order.index()])
    }

    pub(crate) fn events(&self, event: Event) -> u64 {
        self.sum_of_cpus(|cpu| &cpu.events[event as usize])
    }

    pub(crate) fn order_events(&self, event: OrderEvent, order: Order) -> u64 {
        self.sum_of_cpus(|cpu| &cpu.order_events[event as usize][order.index()])
    }

    /// Returns the number of bytes that the hints, device tables and counters of all CPUs take. Locks: each CPU's
    /// local lock in turn.
    pub fn percpu_bytes(&self) -> u64 {
        let local = size_of::<CachePadded<SpinMutex<CpuLocal>>>() + size_of::<CachePadded<CpuCounters>>();
        let mut bytes = local * self.nr_cpus();
        self.locals.for_each(|local| bytes += size_of_val(local.hints.named()));
        bytes as u64
    }
}
