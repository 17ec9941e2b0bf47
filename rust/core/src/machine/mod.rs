//! The state of one machine's swap: devices and their order, per-CPU hints and counters, cached folios.
//!
//! Every operation runs as `OnCpu`: with the local lock of one CPU held. That lock serialises allocation on the CPU as
//! the kernel's does, lets hints and counters be plain words, and is the read side that swapon and swapoff wait for:
//! each CPU has its own table of devices, changed only under its lock, so a device seen in it stays for the whole
//! operation.

pub(crate) mod avail;
mod counters;
pub mod device;
pub mod profile;
mod space;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use crate::base::error::{Result, SwapError};
use crate::base::event::{EventKind, EventRecord, EventRing};
use crate::base::limits::{EVENT_RECORDS_MAX, MAX_SWAPFILES, MEMORY_PAGES_DEFAULT, SWAP_NR_ORDERS};
use crate::base::percpu::PerCpu;
use crate::base::sync::{SpinGuard, SpinMutex};
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset, SwpType};
use crate::folio::{FolioRef, Memory};
use crate::machine::avail::Avail;
use crate::machine::device::SwapDevice;
use crate::machine::profile::{Profile, Switches};
use crate::memcg::{Hierarchy, MemCgroups, OwnerStore, Policies};
use crate::readahead::ClusterReadahead;
use crate::rmap::AnonVmas;
use crate::table::OwnerForm;
use crate::workingset::Workingset;
use crate::zswap::{Zswap, ZswapOptions};

use counters::CpuCounters;
pub(crate) use counters::{Event, OrderEvent};
use space::Space;

/// When queued work (reclaim_work, discard_work) runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Workers {
    /// Right after the operation that queued it, on the same thread.
    #[default]
    Inline,
    /// Only in [`Swap::run_workers`].
    Manual,
}

impl Workers {
    /// Finds a mode by name. Errors: `UnknownName` (EINVAL).
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "inline" => Ok(Self::Inline),
            "manual" => Ok(Self::Manual),
            _ => Err(SwapError::UnknownName { what: "workers", name: name.into(), known: "inline, manual" }),
        }
    }
}

/// Devices as one CPU sees them, by type.
pub(crate) type DeviceTable = [Option<Arc<SwapDevice>>; MAX_SWAPFILES];
/// The next slot by order, offset 0 for none; global across devices. Kernel: `percpu_swap_cluster`.
pub(crate) type Hints = [SwpEntry; SWAP_NR_ORDERS];

/// What the local lock of a CPU protects.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) hints: Hints,
    /// Those of virtual devices.
    pub(crate) virtual_hints: Hints,
    pub(crate) devices: DeviceTable,
    /// Work was queued by the operation that holds the lock.
    pub(crate) is_work_queued: bool,
    /// What happened on this CPU, when somebody wants to know.
    events: EventRing,
}

impl Local {
    /// Forgets hints.
    pub(crate) fn flush_hints(&mut self, is_meant: impl Fn(SwpEntry) -> bool) {
        let hints = self.hints.iter_mut().chain(&mut self.virtual_hints);
        hints.filter(|hint| is_meant(**hint)).for_each(|hint| *hint = SwpEntry::NONE);
    }
}

/// The devices that are on and the order of all; under `swap_lock`.
#[derive(Debug, Default)]
pub(crate) struct Active {
    pub(crate) devices: DeviceTable,
    /// The last automatic priority given out. Kernel: `least_priority`.
    pub(crate) least_priority: i32,
}

/// One machine's swap subsystem.
#[derive(Debug)]
pub struct Swap {
    pub(crate) switches: Switches,
    pub(crate) workers: Workers,
    profile: Profile,
    pub(crate) locals: PerCpu<Local>,
    counters: Box<[CachePadded<CpuCounters>]>,
    pub(crate) avail: SpinMutex<Avail>,
    active: Mutex<Active>,
    space: Space,
    /// Virtual devices that are on.
    pub(crate) nr_virtual: AtomicUsize,
    /// Types ever used; sums look no further.
    pub(crate) nr_types: AtomicUsize,
    /// Devices that seek. Kernel: `nr_rotate_swap`.
    pub(crate) nr_rotational: AtomicUsize,
    memory: Memory,
    pub(crate) zswap: Zswap,
    pub(crate) policies: Policies,
    /// The rule that judges pages that come back.
    pub(crate) workingset: Workingset,
    /// Kernel: `swapin_readahead_hits` and its neighbours.
    pub(crate) readahead: ClusterReadahead,
    /// Which page tables may name a folio.
    pub(crate) anon_vmas: Arc<AnonVmas>,
}

/// Everything that may be chosen when a subsystem is made; `Default` is one CPU of the newest profile.
#[derive(Debug)]
pub struct Config {
    /// CPUs, 1..=[`crate::base::limits::MAX_CPUS`].
    pub nr_cpus: usize,
    /// Name of the kernel meant.
    pub profile: Profile,
    /// Its choices, or others.
    pub switches: Switches,
    /// When queued work runs.
    pub workers: Workers,
    /// Pages of memory that folios may have together.
    pub memory_pages: u64,
    /// The hierarchy of the memory controller; `None` is memcg disabled.
    pub memcg: Option<Hierarchy>,
    /// Working-set rule: `classic` or `mglru`.
    pub workingset: String,
    /// zswap from the start; `None` is zswap that is off until it is turned on.
    pub zswap: Option<ZswapOptions>,
}

impl Config {
    /// The choices of a profile.
    pub fn new(nr_cpus: usize, profile: Profile) -> Self {
        let (switches, workers) = (profile.switches(), Workers::default());
        Self {
            nr_cpus,
            profile,
            switches,
            workers,
            memory_pages: MEMORY_PAGES_DEFAULT,
            memcg: None,
            workingset: "classic".into(),
            zswap: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(1, Profile::default())
    }
}

impl Swap {
    /// Makes a subsystem without devices. Errors: `BadNrCpus` (EINVAL).
    pub fn new(nr_cpus: usize, profile: Profile) -> Result<Self> {
        Self::with_config(Config::new(nr_cpus, profile))
    }

    /// Makes a subsystem with choices of one's own. Errors: `BadNrCpus`, `OutOfRange` memory, `UnknownName` (EINVAL).
    pub fn with_config(config: Config) -> Result<Self> {
        let Config { nr_cpus, profile, switches, workers, memory_pages, memcg, workingset, zswap } = config;
        let memcg = memcg.map(|hierarchy| MemCgroups::new(switches.memcg.resolve(hierarchy)?, nr_cpus)).transpose()?;
        let local = |_| Local {
            hints: [SwpEntry::NONE; SWAP_NR_ORDERS],
            virtual_hints: [SwpEntry::NONE; SWAP_NR_ORDERS],
            devices: Default::default(),
            is_work_queued: false,
            events: EventRing::default(),
        };
        Ok(Self {
            switches,
            workers,
            profile,
            locals: PerCpu::new(nr_cpus, local)?,
            counters: (0..nr_cpus).map(|_| CachePadded::default()).collect(),
            avail: SpinMutex::default(),
            active: Mutex::new(Active { least_priority: -1, ..Active::default() }),
            space: Space::default(),
            nr_virtual: AtomicUsize::new(0),
            nr_types: AtomicUsize::new(0),
            nr_rotational: AtomicUsize::new(0),
            memory: Memory::new(memory_pages, memcg)?,
            zswap: Zswap::new(memory_pages, zswap)?,
            policies: Policies::default(),
            workingset: Workingset::from_name(&workingset, memory_pages)?,
            readahead: ClusterReadahead::default(),
            anon_vmas: Arc::default(),
        })
    }

    /// Returns the number of CPUs.
    pub fn nr_cpus(&self) -> usize {
        self.locals.len()
    }

    /// Returns the profile that was asked for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Returns the choices in force.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Takes the local lock of a CPU for one or many operations; others on that CPU wait. Errors: `BadCpu` (EINVAL).
    ///
    /// While it is held, this thread must not call what takes local locks itself: `on_cpu`, `check`, `swapon`, `swapoff`,
    /// `run_workers` and the calls of `Swap` with a `cpu` argument would wait for ever.
    ///
    /// Kernel: `local_lock(&percpu_swap_cluster.lock)`.
    #[inline]
    pub fn on_cpu(&self, cpu: CpuId) -> Result<OnCpu<'_>> {
        #[cfg(debug_assertions)]
        let depth = Depth::enter(self);
        Ok(OnCpu {
            local: self.locals.lock(cpu)?,
            swap: self,
            counters: &self.counters[cpu.index()],
            cpu,
            #[cfg(debug_assertions)]
            _depth: depth,
        })
    }

    /// Locks the list of devices. Kernel: `swap_lock`. Order: before every other lock.
    pub(crate) fn active(&self) -> MutexGuard<'_, Active> {
        // A panic under it leaves whole entries: each change is one assignment or one list operation.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a device that is on. Errors: `NoDevice` (ENOENT). Locks: `swap_lock`.
    pub fn device(&self, ty: SwpType) -> Result<Arc<SwapDevice>> {
        let active = self.active();
        let device = active.devices.get(ty.index()).and_then(Clone::clone);
        device.ok_or(SwapError::NoDevice(SwpEntry::new(ty, SwpOffset(0))))
    }

    /// Keeps the last `capacity` records of each CPU from now on, without those there were; 0 keeps none.
    ///
    /// Errors: `OutOfRange` (EINVAL) over [`EVENT_RECORDS_MAX`]. Locks: each CPU's local lock in turn.
    pub fn record_events(&self, capacity: usize) -> Result<()> {
        if capacity > EVENT_RECORDS_MAX {
            let (value, high) = (capacity as i128, EVENT_RECORDS_MAX as u64);
            return Err(SwapError::OutOfRange { what: "number of records", value, low: 0, high });
        }
        self.locals.for_each(|local| local.events.restart(capacity));
        Ok(())
    }

    /// Takes the records of all CPUs, by time, and how many were lost for lack of room. Locks: as `record_events`.
    pub fn take_events(&self) -> (Vec<EventRecord>, u64) {
        let (mut records, mut nr_lost) = (Vec::new(), 0);
        self.locals.for_each(|local| {
            let (taken, lost) = local.events.take();
            records.extend(taken);
            nr_lost += lost;
        });
        records.sort_by_key(|record| record.time_ns);
        (records, nr_lost)
    }

    /// Returns the devices that are on: those with room in the order they are tried, then the others by type.
    pub fn devices(&self) -> Vec<Arc<SwapDevice>> {
        let active = self.active();
        let mut types = self.avail.lock().in_order();
        let rest = active.devices.iter().flatten().map(|device| device.ty()).filter(|ty| !types.contains(ty));
        let rest: Vec<_> = rest.collect();
        types.extend(rest);
        types.into_iter().filter_map(|ty| active.devices[ty.index()].clone()).collect()
    }

    /// Returns the slots whose entry is a folio. Kernel: `nr_swapcached`, all nodes together.
    pub fn nr_swapcache_pages(&self) -> u64 {
        // Relaxed: as in `inuse_pages`.
        self.counters.iter().map(|cpu| cpu.cached.load(Ordering::Relaxed)).sum::<i64>().max(0) as u64
    }

    /// Returns the memory that folios come from.
    pub fn memory_of_folios(&self) -> &Memory {
        &self.memory
    }

    /// Says whether a device that seeks is on. Kernel: `nr_rotate_swap`.
    pub(crate) fn has_rotational(&self) -> bool {
        // Relaxed: a choice of how to read ahead, right whatever it sees.
        self.nr_rotational.load(Ordering::Relaxed) > 0
    }

    /// Returns the readahead of neighbouring slots.
    pub fn readahead(&self) -> &ClusterReadahead {
        &self.readahead
    }

    /// Returns where the owners of slots are kept, beside the entries or in them.
    pub(crate) fn owner_form(&self) -> OwnerForm {
        match self.memory.memcg().map(|groups| groups.options().owner_store) {
            None | Some(OwnerStore::Shadow) => OwnerForm::Entry,
            Some(OwnerStore::Array) => OwnerForm::Array,
            Some(OwnerStore::ClusterTable) => OwnerForm::Table,
            Some(OwnerStore::Trampoline) => OwnerForm::Sparse,
        }
    }

    /// Makes a folio whose bytes are whatever was there. Errors: `NoMemory` (ENOMEM). Kernel: `folio_alloc`.
    pub fn folio_alloc(&self, order: Order) -> Result<FolioRef<'_>> {
        self.memory.alloc(order)
    }

    /// Sums one counter over the CPUs.
    fn sum(&self, of: impl Fn(&CpuCounters) -> &AtomicU64) -> u64 {
        self.counters.iter().map(|cpu| of(cpu).load(Ordering::Relaxed)).sum()
    }

    /// Returns the runs handed out, by order.
    pub fn runs(&self, order: Order) -> u64 {
        self.sum(|cpu| &cpu.runs[order.index()])
    }

    /// Returns the requests that found no room, by order.
    pub fn failures(&self, order: Order) -> u64 {
        self.sum(|cpu| &cpu.failures[order.index()])
    }

    pub(crate) fn events(&self, event: Event) -> u64 {
        self.sum(|cpu| &cpu.events[event as usize])
    }

    pub(crate) fn order_events(&self, event: OrderEvent, order: Order) -> u64 {
        self.sum(|cpu| &cpu.order_events[event as usize][order.index()])
    }

    /// Returns the bytes of hints, device tables and counters of all CPUs.
    pub fn percpu_bytes(&self) -> u64 {
        let local = size_of::<CachePadded<SpinMutex<Local>>>() + size_of::<CachePadded<CpuCounters>>();
        (local * self.nr_cpus()) as u64
    }
}

/// Operations on one CPU, whose local lock is held until this is dropped.
#[derive(Debug)]
pub struct OnCpu<'a> {
    local: SpinGuard<'a, Local>,
    swap: &'a Swap,
    counters: &'a CpuCounters,
    cpu: CpuId,
    #[cfg(debug_assertions)]
    _depth: Depth,
}

#[cfg(debug_assertions)]
thread_local!(static HELD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

/// Says that this thread has a local lock: a second one would wait for itself, or for somebody who waits for the first.
#[cfg(debug_assertions)]
#[derive(Debug)]
struct Depth;

#[cfg(debug_assertions)]
impl Depth {
    fn enter(swap: &Swap) -> Self {
        let address = std::ptr::from_ref(swap).addr();
        assert_ne!(HELD.replace(address), address, "this thread has a local lock of this subsystem already");
        Self
    }
}

#[cfg(debug_assertions)]
impl Drop for Depth {
    fn drop(&mut self) {
        HELD.set(0);
    }
}

impl<'a> OnCpu<'a> {
    /// Returns the subsystem.
    pub fn swap(&self) -> &'a Swap {
        self.swap
    }

    /// Returns the device of an entry and the slot on it, slot 0 too, or `None` when there is no such slot.
    #[inline(always)]
    pub(crate) fn slot_of(&self, entry: SwpEntry) -> Option<(&SwapDevice, SwpOffset)> {
        let (ty, offset) = entry.parts()?;
        let device = self.local.devices.get(ty.index())?.as_deref()?;
        (offset.0 < device.max_pages()).then_some((device, offset))
    }

    /// Returns the device of a slot, kept alive beyond this guard. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    ///
    /// Kernel: `get_swap_device`.
    pub(crate) fn device_of(&mut self, entry: SwpEntry) -> Result<Arc<SwapDevice>> {
        let cx = self.cx();
        cx.resolve(entry, 1)?;
        Ok(cx.devices[entry.ty().index()].clone().expect("resolved"))
    }

    /// Notes what happened, if records are wanted.
    #[inline]
    pub(crate) fn note(&mut self, kind: EventKind, entry: SwpEntry, order: Order, errno: i32) {
        if self.local.events.is_on() {
            self.local.events.push(kind, entry, order, self.cpu, errno);
        }
    }

    /// Returns this CPU's counters.
    pub(crate) fn counters(&self) -> &'a CpuCounters {
        self.counters
    }

    /// Splits the guard into what the layers below work with.
    #[inline]
    pub(crate) fn cx(&mut self) -> Cx<'_> {
        let local = &mut *self.local;
        Cx {
            swap: self.swap,
            devices: &local.devices,
            hints: &mut local.hints,
            virtual_hints: &mut local.virtual_hints,
            is_work_queued: &mut local.is_work_queued,
            counters: self.counters,
        }
    }

    /// Says whether the last operation queued work.
    #[inline]
    pub(crate) fn has_queued_work(&self) -> bool {
        self.local.is_work_queued
    }
}

/// The context of one operation: shared state, this CPU's hints and counters.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) swap: &'a Swap,
    pub(crate) devices: &'a DeviceTable,
    pub(crate) hints: &'a mut Hints,
    pub(crate) virtual_hints: &'a mut Hints,
    pub(crate) is_work_queued: &'a mut bool,
    pub(crate) counters: &'a CpuCounters,
}

impl<'a> Cx<'a> {
    /// Returns the device of an entry and the slot on it. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    #[inline]
    pub(crate) fn resolve(&self, entry: SwpEntry, nr_pages: u32) -> Result<(&'a SwapDevice, SwpOffset)> {
        match self.locate(entry) {
            Some((device, offset)) if device.has_range(offset, nr_pages) => Ok((device, offset)),
            _ => Err(self.unresolved(entry, nr_pages)),
        }
    }

    /// Splits an entry into device and slot, if the device is on; whether it has the slot is not looked at.
    #[inline]
    pub(crate) fn locate(&self, entry: SwpEntry) -> Option<(&'a SwapDevice, SwpOffset)> {
        let (ty, offset) = entry.parts()?;
        Some((self.device(ty)?, offset))
    }

    /// Says what is wrong with an entry that names no slots.
    #[cold]
    pub(crate) fn unresolved(&self, entry: SwpEntry, nr_pages: u32) -> SwapError {
        let Some((ty, _)) = entry.parts() else {
            return SwapError::BadRange { entry, nr_pages, max_pages: 0 };
        };
        match self.device(ty) {
            Some(device) => SwapError::BadRange { entry, nr_pages, max_pages: device.max_pages() },
            None => SwapError::NoDevice(entry),
        }
    }

    /// Returns a device by type, if it is on.
    #[inline]
    pub(crate) fn device(&self, ty: SwpType) -> Option<&'a SwapDevice> {
        self.devices.get(ty.index())?.as_deref()
    }
}
