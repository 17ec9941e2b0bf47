//! One operation on one CPU: the local lock of the CPU, and the hints, device table, counters and event records that
//! the lock protects.

use std::sync::Arc;

use super::Swap;
use super::counters::CpuCounters;
use super::device::SwapDevice;
use crate::base::error::{Result, SwapError};
use crate::base::event::{EventKind, EventRecord, EventRing};
use crate::base::limits::{EVENT_RECORDS_MAX, MAX_SWAPFILES, SWAP_NR_ORDERS};
use crate::base::sync::SpinGuard;
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset, SwpType};
use crate::folio::{Folio, check_home};

/// The devices that are on, by type. Each CPU has its own table.
pub(crate) type DeviceTable = [Option<Arc<SwapDevice>>; MAX_SWAPFILES];
/// The next slot to try for each order, as an entry, so a hint may name any device. An entry with offset 0 means no
/// hint. Kernel: `percpu_swap_cluster`.
pub(crate) type Hints = [SwpEntry; SWAP_NR_ORDERS];

/// The hints of one CPU. A request that names its device has hints of its own. If such a request stored its hint
/// among the ordinary hints, the requests of all other users would use that device.
#[derive(Debug)]
pub(crate) struct CpuHints {
    /// Hints of requests that any ordinary device may serve.
    pub(crate) ordinary: Hints,
    /// Hints of requests that any virtual device may serve.
    pub(crate) virtuals: Hints,
    /// Hints of requests that name their device, by type; `None` until the first such request.
    named: Option<Box<[Hints; MAX_SWAPFILES]>>,
}

impl CpuHints {
    fn new() -> Self {
        Self { ordinary: [SwpEntry::NONE; SWAP_NR_ORDERS], virtuals: [SwpEntry::NONE; SWAP_NR_ORDERS], named: None }
    }

    /// Returns the hints of requests that name the device of a type.
    pub(crate) fn of_named(&mut self, ty: SwpType) -> &mut Hints {
        let named = self.named.get_or_insert_with(|| Box::new([[SwpEntry::NONE; SWAP_NR_ORDERS]; MAX_SWAPFILES]));
        &mut named[ty.index()]
    }

    /// Returns the hints of all requests that name their device, by type. The slice is empty before the first such
    /// request.
    pub(crate) fn named(&self) -> &[Hints] {
        self.named.as_ref().map_or(&[], |named| &named[..])
    }
}

/// The data that the local lock of one CPU protects.
#[derive(Debug)]
pub(crate) struct CpuLocal {
    pub(crate) hints: CpuHints,
    pub(crate) devices: DeviceTable,
    /// The operation that holds the lock has queued work.
    pub(crate) is_work_queued: bool,
    /// Records of events on this CPU. The ring is empty unless recording is on.
    events: EventRing,
}

impl CpuLocal {
    pub(super) fn new() -> Self {
        Self {
            hints: CpuHints::new(),
            devices: Default::default(),
            is_work_queued: false,
            events: EventRing::default(),
        }
    }

    /// Clears the hints for which `is_meant` returns true.
    pub(crate) fn flush_hints(&mut self, is_meant: impl Fn(SwpEntry) -> bool) {
        let CpuHints { ordinary, virtuals, named } = &mut self.hints;
        let named = named.iter_mut().flat_map(|named| named.iter_mut().flatten());
        let hints = ordinary.iter_mut().chain(virtuals).chain(named);
        hints.filter(|hint| is_meant(**hint)).for_each(|hint| *hint = SwpEntry::NONE);
    }
}

impl Swap {
    /// Takes the local lock of a CPU for one or many operations. Other threads on that CPU wait. Errors: `BadCpu`
    /// (EINVAL).
    ///
    /// The thread that holds the lock must not call a function that takes local locks, because the call would wait
    /// for ever. Such functions are `on_cpu`, `check`, `swapon`, `swapoff`, `run_workers`, and every method of `Swap`
    /// with a `cpu` argument.
    ///
    /// Kernel: `local_lock(&percpu_swap_cluster.lock)`.
    #[inline]
    pub fn on_cpu(&self, cpu: CpuId) -> Result<OnCpu<'_>> {
        #[cfg(debug_assertions)]
        let depth = LocalLockHeld::enter(self);
        Ok(OnCpu {
            local: self.locals.lock(cpu)?,
            swap: self,
            counters: &self.counters[cpu.index()],
            cpu,
            #[cfg(debug_assertions)]
            _depth: depth,
        })
    }

    /// Removes all event records. From then on, each CPU keeps its last `capacity` records; a capacity of 0 turns
    /// recording off.
    ///
    /// Errors: `OutOfRange` (EINVAL) for a capacity over [`EVENT_RECORDS_MAX`]. Locks: each CPU's local lock in turn.
    pub fn record_events(&self, capacity: usize) -> Result<()> {
        if capacity > EVENT_RECORDS_MAX {
            let (value, high) = (capacity as i128, EVENT_RECORDS_MAX as u64);
            return Err(SwapError::OutOfRange { what: "number of records", value, low: 0, high });
        }
        self.locals.for_each(|local| local.events.restart(capacity));
        Ok(())
    }

    /// Removes the records of all CPUs. Returns the records, sorted by time, and the number of records that newer
    /// records replaced. Locks: each CPU's local lock in turn.
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
}

/// The local lock of one CPU, held until this value is dropped. The methods are operations under the lock.
#[derive(Debug)]
pub struct OnCpu<'a> {
    local: SpinGuard<'a, CpuLocal>,
    swap: &'a Swap,
    counters: &'a CpuCounters,
    cpu: CpuId,
    #[cfg(debug_assertions)]
    _depth: LocalLockHeld,
}

#[cfg(debug_assertions)]
thread_local!(static HELD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

/// A mark that this thread holds a local lock. A thread that takes a second local lock can deadlock, because the
/// thread waits for itself, or for another thread that waits for the local lock that this thread holds.
#[cfg(debug_assertions)]
#[derive(Debug)]
struct LocalLockHeld;

#[cfg(debug_assertions)]
impl LocalLockHeld {
    fn enter(swap: &Swap) -> Self {
        let address = std::ptr::from_ref(swap).addr();
        assert_ne!(HELD.replace(address), address, "this thread has a local lock of this subsystem already");
        Self
    }
}

#[cfg(debug_assertions)]
impl Drop for LocalLockHeld {
    fn drop(&mut self) {
        HELD.set(0);
    }
}

impl<'a> OnCpu<'a> {
    /// Returns the subsystem.
    pub fn swap(&self) -> &'a Swap {
        self.swap
    }

    /// Returns the device of a slot, with a reference to the device that stays valid after this guard is dropped.
    /// Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    ///
    /// Kernel: `get_swap_device`.
    pub(crate) fn device_of(&mut self, entry: SwpEntry) -> Result<Arc<SwapDevice>> {
        let op = self.operation();
        op.resolve(entry, 1)?;
        Ok(op.devices[entry.ty().index()].clone().expect("resolved"))
    }

    /// Records an event, if recording is on.
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

    /// Returns an [`Operation`], which borrows the device table, the hints and the counters of this guard.
    #[inline]
    pub(crate) fn operation(&mut self) -> Operation<'_> {
        let local = &mut *self.local;
        Operation {
            swap: self.swap,
            devices: &local.devices,
            hints: &mut local.hints,
            is_work_queued: &mut local.is_work_queued,
            counters: self.counters,
        }
    }

    /// Returns whether the last operation queued work.
    #[inline]
    pub(crate) fn has_queued_work(&self) -> bool {
        self.local.is_work_queued
    }
}

/// The context of one operation: the shared state, and this CPU's device table, hints and counters.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) swap: &'a Swap,
    pub(crate) devices: &'a DeviceTable,
    pub(crate) hints: &'a mut CpuHints,
    pub(crate) is_work_queued: &'a mut bool,
    pub(crate) counters: &'a CpuCounters,
}

impl<'a> Operation<'a> {
    /// Returns the device and the first slot of a cached folio. The folio is locked. Errors: `NotCached`,
    /// `ForeignFolio` (EINVAL).
    pub(crate) fn folio_slots(&self, folio: Folio<'_>) -> Result<(&'a SwapDevice, SwpOffset)> {
        check_home(folio, self.swap.memory_of_folios())?;
        let entry = folio.entry().ok_or(SwapError::NotCached)?;
        self.resolve(entry, folio.nr_pages())
    }

    /// Returns the device and the first slot of the `nr_pages` slots that start at an entry. All these slots lie on
    /// the device. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    #[inline]
    pub(crate) fn resolve(&self, entry: SwpEntry, nr_pages: u32) -> Result<(&'a SwapDevice, SwpOffset)> {
        match self.locate(entry) {
            Some((device, offset)) if device.has_range(offset, nr_pages) => Ok((device, offset)),
            _ => Err(self.unresolved(entry, nr_pages)),
        }
    }

    /// Returns the device and the slot of an entry, for functions that only read. Slot 0, the header, is allowed too,
    /// because it has a table entry. Errors: as [`Operation::resolve`].
    #[inline]
    pub(crate) fn resolve_any(&self, entry: SwpEntry) -> Result<(&'a SwapDevice, SwpOffset)> {
        match self.locate(entry) {
            Some((device, offset)) if offset.0 < device.max_pages() => Ok((device, offset)),
            _ => Err(self.unresolved(entry, 1)),
        }
    }

    /// Splits an entry into its device and its slot, or returns `None` when the device is off. The slot may lie
    /// beyond the end of the device.
    #[inline]
    pub(crate) fn locate(&self, entry: SwpEntry) -> Option<(&'a SwapDevice, SwpOffset)> {
        let (ty, offset) = entry.parts()?;
        Some((self.device(ty)?, offset))
    }

    /// Returns the error for an entry that [`Operation::resolve`] refuses.
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

    /// Returns the device of a type, or `None` when no device of the type is on.
    #[inline]
    pub(crate) fn device(&self, ty: SwpType) -> Option<&'a SwapDevice> {
        self.devices.get(ty.index())?.as_deref()
    }
}
