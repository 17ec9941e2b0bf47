//! Allocation of slots: the fast path, which uses this CPU's hint, the slot at which the CPU's next search starts;
//! the slow path, which tries the devices; and the public calls.

mod scan;

use std::sync::atomic::Ordering;

use crate::base::error::{Result, SwapError};
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset, SwpType};
use crate::folio::Folio;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::machine::profile::{Hibernation, RuleU};
use crate::machine::{Event, Hints, OnCpu, Operation, Swap};
use crate::table::SwapTableEntry;

/// One request for runs of one order, with the table entry to write and the buffer for the allocated runs.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    order: Order,
    word: SwapTableEntry,
    /// The folio that will be cached in the run. A request with a folio asks for one run.
    folio: Option<Folio<'r>>,
    /// Whether the run will back slots of a virtual device. Such a run must be on a device with storage, and `word`
    /// is the Pointer entry of the first virtual slot.
    is_backing: bool,
    /// Whether the request names its device. Such a request reads and writes the CPU's hints for that device.
    is_named: bool,
    out: &'r mut [SwpEntry],
    taken: usize,
    /// The offset from which the next scan of a rotational device starts, stored by the last scan; 0 means that the
    /// next scan has no start offset.
    position: Option<SwpOffset>,
}

impl<'r> Request<'r> {
    fn new(order: Order, word: SwapTableEntry, out: &'r mut [SwpEntry]) -> Self {
        Self { order, word, folio: None, out, taken: 0, is_backing: false, is_named: false, position: None }
    }

    /// Returns the number of runs that are still to be allocated.
    fn wanted(&self) -> usize {
        self.out.len() - self.taken
    }

    fn push(&mut self, entry: SwpEntry) {
        self.out[self.taken] = entry;
        self.taken += 1;
    }
}

/// The value of `is_virtual` for the list and the hints of virtual devices.
const VIRTUAL: bool = true;
/// The value of `is_virtual` for the list and the hints of all other devices.
const ORDINARY: bool = false;

impl Operation<'_> {
    /// Allocates at least one run of a request, or returns false when no device has a free run. Kernel:
    /// `folio_alloc_swap`, from its local lock to its synchronous discard.
    fn alloc_run(&mut self, request: &mut Request<'_>) -> bool {
        // Relaxed: a request that reads an old count of virtual devices uses another device.
        if self.swap.nr_virtual.load(Ordering::Relaxed) > 0 && self.alloc_virtual(request) {
            return true;
        }
        loop {
            if self.alloc_fast::<ORDINARY>(request) || self.alloc_slow(ORDINARY, request) {
                return true;
            }
            if request.order != Order::ZERO || !self.sync_discard() {
                self.counters.count_failure(request.order);
                return false;
            }
        }
    }

    /// Tries virtual devices for a request with a folio, and for any other request when no ordinary device has free
    /// slots.
    #[inline(never)]
    fn alloc_virtual(&mut self, request: &mut Request<'_>) -> bool {
        let has_folio = request.folio.is_some();
        if request.is_backing || !(has_folio || self.swap.avail.lock().list.iter().next().is_none()) {
            return false;
        }
        let word = request.word;
        if !has_folio {
            // No folio will be written to these virtual slots, so their data is zeros.
            request.word = word.never_written();
        }
        let is_served = self.alloc_fast::<VIRTUAL>(request) || self.alloc_slow(VIRTUAL, request);
        request.word = word;
        is_served
    }

    /// Returns this CPU's hints for virtual devices, or this CPU's hints for all other devices.
    #[inline(always)]
    fn hints_at(&mut self, is_virtual: bool) -> &mut Hints {
        if is_virtual { &mut self.hints.virtuals } else { &mut self.hints.ordinary }
    }

    /// Returns the hints of this CPU that a request reads and writes on a device.
    fn hints_of(&mut self, device: &SwapDevice, request: &Request<'_>) -> &mut Hints {
        match request.is_named {
            true => self.hints.of_named(device.ty()),
            false => self.hints_at(device.is_virtual()),
        }
    }

    /// Allocates runs of a request from the cluster of this CPU's hint. Kernel: `swap_alloc_fast`.
    fn alloc_fast<const IS_VIRTUAL: bool>(&mut self, request: &mut Request<'_>) -> bool {
        let (order, word) = (request.order, request.word);
        if request.is_backing && self.device(self.hints.ordinary[order.index()].ty()).is_none_or(SwapDevice::is_ghost) {
            return false;
        }
        // A request for slots that will back virtual slots does not use `take_at_hint`, because `take_at_hint` writes
        // the same word to all slots, and the entries of such a request name different virtual slots.
        if !request.is_backing
            && let Some((first, nr_runs)) =
                self.take_at_hint::<IS_VIRTUAL>(order, word, request.folio, request.wanted())
        {
            let out = &mut request.out[request.taken..][..nr_runs as usize];
            for (i, entry) in (0..).zip(out) {
                *entry = first.plus(i << order.get());
            }
            request.taken += nr_runs as usize;
            return true;
        }
        let hint = self.hints_at(IS_VIRTUAL)[order.index()];
        if hint.offset().0 == 0 {
            return false;
        }
        let Some(device) = self.device(hint.ty()) else { return false };
        self.alloc_at(device, hint.offset(), request)
    }

    /// Takes up to `nr_wanted` runs from the cluster of this CPU's hint. The runs start at the hint and lie one after
    /// the other. Returns the entry of the first run and the number of runs, or `None` without a free run at the
    /// hint.
    ///
    /// The runs are those that [`Operation::scan`] would take one by one, up to the run that would fill the cluster.
    /// Most requests are served here. The function is fast, because it searches nothing and usually touches no list.
    /// Each loop does only one thing, so that the compiler can vectorise or unroll the loop.
    #[inline(always)]
    fn take_at_hint<const IS_VIRTUAL: bool>(
        &mut self,
        order: Order,
        word: SwapTableEntry,
        folio: Option<Folio<'_>>,
        nr_wanted: usize,
    ) -> Option<(SwpEntry, u32)> {
        let hint = self.hints_at(IS_VIRTUAL)[order.index()];
        let device = self.device(hint.ty())?;
        let nr_pages = order.nr_pages();
        let slot = hint.offset().in_cluster() as u32;
        // Index 0 in the cluster means that the CPU has no hint. A hint is the slot behind an allocated run in the
        // same cluster, so a hint is never the first slot of a cluster.
        if slot == 0 {
            return None;
        }
        let mut ci = device.clusters.lock(hint.offset().cluster())?;
        let count = ci.count();
        // The run that would fill the cluster is left to `scan`, because this run may also fill the device, and
        // `scan` takes a full device off the avail list.
        let room = (SWAPFILE_CLUSTER - 1).saturating_sub(count);
        if count == 0 || !ci.is_direct() || !ci.is_usable(order) || !device.has(SwpFlags::WRITEOK) {
            return None;
        }
        let table = ci.table()?;
        let base = device.entry_at(ci.idx().base());
        let room = room.min(SWAPFILE_CLUSTER - slot);
        let nr_runs = if nr_wanted == 1 {
            u32::from(nr_pages <= room && table.is_null_run(slot as usize, nr_pages as usize))
        } else {
            let nr_max = (room as usize).min(nr_wanted << order.get());
            table.nr_null_from(slot as usize, nr_max) as u32 >> order.get()
        };
        if nr_runs == 0 {
            return None;
        }
        let nr_taken = nr_runs << order.get();
        if let Some(folio) = folio {
            folio.set_entry(base.plus(slot));
        }
        table.fill(slot as usize, nr_taken as usize, word);
        ci.add_count(nr_taken);
        self.counters.add_inuse(device.ty(), nr_taken.into());
        self.counters.count_runs(order, nr_runs as usize);
        self.relocate(device, &mut ci);
        let end = slot + nr_taken;
        let next = if end + nr_pages <= SWAPFILE_CLUSTER { base.plus(end) } else { device.entry_at(SwpOffset(0)) };
        self.hints_at(IS_VIRTUAL)[order.index()] = next;
        Some((base.plus(slot), nr_runs))
    }

    /// Allocates runs of a request from the cluster of an offset, from that offset upwards. Returns false when the
    /// cluster has no run of the order.
    #[inline(never)]
    fn alloc_at(&mut self, device: &SwapDevice, offset: SwpOffset, request: &mut Request<'_>) -> bool {
        let Some(mut ci) = device.clusters.lock(offset.cluster()) else { return false };
        if !ci.is_usable(request.order) {
            if self.swap.switches.rule_u == RuleU::Relocate {
                self.leave_cluster(device, &mut ci, request, None);
            }
            return false;
        }
        let offset = if ci.count() == 0 { ci.idx().base() } else { offset };
        self.scan(device, ci, offset, request)
    }

    /// Tries the devices in the order of the avail list, each device at most once. Kernel: `swap_alloc_slow`.
    #[inline(never)]
    fn alloc_slow(&mut self, is_virtual: bool, request: &mut Request<'_>) -> bool {
        self.counters.count(Event::SlowPath, 1);
        let mut visited = 0u32;
        while let Some(ty) = self.next_device(is_virtual, visited) {
            visited |= 1 << ty.0;
            let Some(device) = self.device(ty) else { continue };
            if request.is_backing && device.is_ghost() {
                continue;
            }
            if self.cluster_alloc(device, request) {
                return true;
            }
            if request.order != Order::ZERO {
                return false;
            }
        }
        false
    }

    /// Returns the first device on the avail list that is not in the bit mask `visited`, and moves the device behind
    /// the devices of equal priority.
    fn next_device(&self, is_virtual: bool, visited: u32) -> Option<SwpType> {
        let avail = &mut *self.swap.avail.lock();
        let list = if is_virtual { &mut avail.virtuals } else { &mut avail.list };
        let ty = list.iter().find(|ty| visited & (1 << ty.0) == 0)?;
        list.requeue(ty);
        Some(ty)
    }

    /// Allocates runs of a request from one device. With `uses_hint`, this CPU's hint is tried first if the hint is
    /// on the device.
    fn alloc_on(&mut self, device: &SwapDevice, uses_hint: bool, request: &mut Request<'_>) -> bool {
        let hint = self.hints_of(device, request)[request.order.index()];
        let at_hint = uses_hint && hint.offset().0 != 0 && hint.ty() == device.ty();
        (at_hint && self.alloc_at(device, hint.offset(), request)) || self.cluster_alloc(device, request)
    }

    /// Allocates one run of real slots whose Pointer entries name the slots of a virtual device from `owner` on. With
    /// `types`, only devices of these types are tried. Kernel: the allocation in `folio_realloc_swap`.
    pub(crate) fn alloc_backing(
        &mut self,
        owner: SwpEntry,
        order: Order,
        types: Option<&[SwpType]>,
    ) -> Option<SwpEntry> {
        let mut entry = [SwpEntry::NONE];
        let mut request = Request::new(order, SwapTableEntry::pointer(owner), &mut entry);
        request.is_backing = true;
        self.alloc_run_on(types, &mut request).then(|| entry[0])
    }

    /// Allocates one run whose table entries hold a folio, and stores the swap entry of the run in the folio. With
    /// `types`, only devices of these types are tried.
    pub(crate) fn alloc_cached(&mut self, folio: Folio<'_>, types: Option<&[SwpType]>) -> Option<SwpEntry> {
        let mut entry = [SwpEntry::NONE];
        let mut request = Request::new(folio.order(), SwapTableEntry::cached(folio.pfn()), &mut entry);
        request.folio = Some(folio);
        self.alloc_run_on(types, &mut request).then(|| entry[0])
    }

    /// Allocates runs of a request from any device, or from the first device of `types` that has a free run. Differs
    /// from the kernel, which has no list of devices in a request; its tiers are devices of one priority.
    fn alloc_run_on(&mut self, types: Option<&[SwpType]>, request: &mut Request<'_>) -> bool {
        let Some(types) = types else { return self.alloc_run(request) };
        request.is_named = true;
        loop {
            let is_served = types.iter().any(|&ty| {
                let is_suitable =
                    |device: &&SwapDevice| device.has(SwpFlags::WRITEOK) && !(request.is_backing && device.is_ghost());
                let device = self.device(ty).filter(is_suitable);
                device.is_some_and(|device| self.alloc_on(device, true, request))
            });
            // As in `alloc_run`, a request of order 0 that got no slot discards the clusters that wait for a discard,
            // and then tries the devices again.
            if is_served || request.order != Order::ZERO || !self.discard_first(types) {
                return is_served;
            }
        }
    }
}

impl OnCpu<'_> {
    /// Hands out one aligned run whose table entries are "swapped out, one reference".
    ///
    /// Errors: `NoSpace` (ENOSPC). Locks: one cluster lock at a time; list locks; the avail lock. Kernel:
    /// `folio_alloc_swap`, then unmapping and removal from the swap cache.
    #[inline]
    pub fn alloc(&mut self, order: Order) -> Result<SwpEntry> {
        match self.operation().take_at_hint::<ORDINARY>(order, SwapTableEntry::SWAPPED_OUT, None, 1) {
            Some((entry, _)) => Ok(entry),
            None => self.alloc_searching(order),
        }
    }

    #[inline(never)]
    fn alloc_searching(&mut self, order: Order) -> Result<SwpEntry> {
        let mut entry = [SwpEntry::NONE];
        match self.alloc_batch(order, SwapTableEntry::SWAPPED_OUT, &mut entry) {
            0 => Err(SwapError::NoSpace { nr_pages: order.nr_pages() }),
            _ => Ok(entry[0]),
        }
    }

    /// Hands out up to `out.len()` runs and returns their number. The runs are the same as from separate calls of
    /// `alloc`.
    ///
    /// The table entries hold `word`, a swapped-out entry with one reference. The batch ends at the first run that
    /// cannot be allocated.
    #[inline]
    pub fn alloc_batch(&mut self, order: Order, word: SwapTableEntry, out: &mut [SwpEntry]) -> usize {
        debug_assert!(word.is_last_swapped_out(), "an entry without reference would never be freed");
        let mut request = Request::new(order, word, out);
        while request.wanted() > 0 {
            let is_served = self.operation().alloc_run(&mut request);
            // A failed search may have emptied clusters and queued work for them, so `finish` is called after a
            // failure too.
            self.finish();
            if !is_served {
                break;
            }
        }
        request.taken
    }

    /// Hands out one slot of a device for a hibernation image. The table entry has an empty shadow and one reference.
    ///
    /// Errors: `NoDevice` (ENOENT) when the device is turned off; `GhostHibernation` (EINVAL) for a ghost; `NoSpace`
    /// (ENOSPC). Kernel: `swap_alloc_hibernation_slot`.
    pub fn alloc_hibernation(&mut self, ty: SwpType) -> Result<SwpEntry> {
        let mut op = self.operation();
        let device = op.device(ty).ok_or(SwapError::NoDevice(SwpEntry::new(ty, SwpOffset(0))))?;
        if device.is_ghost() {
            return Err(SwapError::GhostHibernation(ty.0));
        }
        let mut entry = [SwpEntry::NONE];
        let uses_hint = op.swap.switches.hibernation == Hibernation::Hint;
        let mut request = Request::new(Order::ZERO, SwapTableEntry::SWAPPED_OUT, &mut entry);
        let is_served = op.alloc_on(device, uses_hint, &mut request);
        if is_served {
            device.hibernation.add(entry[0].offset());
        }
        self.finish();
        if is_served { Ok(entry[0]) } else { Err(SwapError::NoSpace { nr_pages: 1 }) }
    }
}

impl Swap {
    /// Hands out one run in an operation on `cpu`. Errors: `NoSpace` (ENOSPC), `BadCpu` (EINVAL). See
    /// [`OnCpu::alloc`].
    #[inline]
    pub fn alloc(&self, order: Order, cpu: CpuId) -> Result<SwpEntry> {
        self.on_cpu(cpu)?.alloc(order)
    }

    /// Hands out runs in an operation on `cpu` and returns their number. Errors: `BadCpu` (EINVAL). See
    /// [`OnCpu::alloc_batch`].
    pub fn alloc_batch(&self, order: Order, cpu: CpuId, out: &mut [SwpEntry]) -> Result<usize> {
        Ok(self.on_cpu(cpu)?.alloc_batch(order, SwapTableEntry::SWAPPED_OUT, out))
    }
}
