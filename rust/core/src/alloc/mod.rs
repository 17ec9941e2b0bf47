//! Handing slots out: the fast path at this CPU's hint, the slow path over the devices, and the calls users make.

mod scan;
mod search;

use std::sync::Arc;

use crate::cluster::ClusterGuard;
use crate::device::{SwapDevice, SwpFlags};
use crate::error::{Result, SwapError};
use crate::folio::Folio;
use crate::limits::SWAPFILE_CLUSTER;
use crate::profile::{Hibernation, RuleU};
use crate::swap::{Cx, Event, OnCpu, Swap};
use crate::table::SwapTableEntry;
use crate::types::{CpuId, Order, SwpEntry, SwpOffset, SwpType};

/// One call's wish: how many runs of which order, what their entries shall hold, and where the answers go.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    order: Order,
    word: SwapTableEntry,
    /// The folio that will own the single run.
    folio: Option<&'r Folio>,
    out: &'r mut [SwpEntry],
    taken: usize,
    /// Where the last scan of a rotational device left off, offset 0 for nowhere.
    position: Option<SwpOffset>,
}

impl<'r> Request<'r> {
    fn new(order: Order, word: SwapTableEntry, out: &'r mut [SwpEntry]) -> Self {
        Self { order, word, folio: None, out, taken: 0, position: None }
    }

    /// Returns the runs still wanted.
    fn wanted(&self) -> usize {
        self.out.len() - self.taken
    }

    fn push(&mut self, entry: SwpEntry) {
        self.out[self.taken] = entry;
        self.taken += 1;
    }
}

impl Cx<'_> {
    /// Serves at least one run of a request, or says that there is none. Kernel: `folio_alloc_swap`, F2 to F5.
    ///
    /// A solid-state cluster serves as many runs as it can in one visit: the next request would come back to it by the
    /// hint and find the same slots.
    pub(crate) fn folio_alloc_swap(&mut self, request: &mut Request<'_>) -> bool {
        loop {
            if self.alloc_fast(request) || self.alloc_slow(request) {
                return true;
            }
            if request.order != Order::ZERO || !self.sync_discard() {
                self.counters.count_failure(request.order);
                return false;
            }
        }
    }

    /// Serves from the cluster of this CPU's hint. Kernel: `swap_alloc_fast`.
    #[inline]
    fn alloc_fast(&mut self, request: &mut Request<'_>) -> bool {
        let hint = self.hints[request.order.index()];
        if hint.offset().0 == 0 {
            return false;
        }
        let Some(device) = self.device(hint.ty()) else { return false };
        let mut ci = device.clusters.lock(hint.offset().cluster());
        self.take_at_hint(device, &mut ci, hint.offset(), request)
            || self.alloc_at(device, ci, hint.offset(), request)
    }

    /// Serves from a cluster that does not become full, as long as the very next run is free: no search.
    ///
    /// Does what [`Cx::scan`] would, or nothing. Most requests end here.
    #[inline]
    fn take_at_hint(
        &mut self,
        device: &SwapDevice,
        ci: &mut ClusterGuard<'_>,
        offset: SwpOffset,
        request: &mut Request<'_>,
    ) -> bool {
        let (order, nr_pages) = (request.order, request.order.nr_pages());
        if ci.count() == 0 || !ci.is_usable(order) || !device.has(SwpFlags::WRITEOK) {
            return false;
        }
        let Some(table) = ci.table() else { return false };
        let first = request.taken;
        let base = device.entry_at(ci.idx().base());
        let mut slot = offset.in_cluster() as u32;
        // The run that fills the cluster may fill the device: not here.
        let mut room = (SWAPFILE_CLUSTER - 1).saturating_sub(ci.count());
        while request.wanted() > 0
            && room >= nr_pages
            && slot + nr_pages <= SWAPFILE_CLUSTER
            && table.is_null_run(slot as usize, nr_pages as usize)
        {
            table.fill(slot as usize, nr_pages as usize, request.word);
            request.push(base.plus(slot));
            slot += nr_pages;
            room -= nr_pages;
        }
        let nr_taken = request.taken - first;
        if nr_taken == 0 {
            return false;
        }
        if let Some(folio) = request.folio {
            folio.set_entry(request.out[first]);
        }
        let nr_slots = nr_taken as u32 * nr_pages;
        ci.add_count(nr_slots);
        self.counters.add_inuse(device.ty(), nr_slots as i64);
        self.counters.count_runs(order, nr_taken);
        if !ci.is_settled() {
            self.relocate(device, ci);
        }
        let next = if slot + nr_pages <= SWAPFILE_CLUSTER { slot } else { 0 };
        self.hints[order.index()] = if next > 0 { base.plus(next) } else { device.entry_at(SwpOffset(0)) };
        true
    }

    /// Serves from a locked cluster, from an offset upwards, unless the cluster cannot serve the order.
    #[inline(never)]
    fn alloc_at<'c>(
        &mut self,
        device: &'c SwapDevice,
        mut ci: ClusterGuard<'c>,
        offset: SwpOffset,
        request: &mut Request<'_>,
    ) -> bool {
        if !ci.is_usable(request.order) {
            if self.swap.switches.rule_u == RuleU::Relocate {
                self.leave_cluster(device, &mut ci, request, None);
            }
            return false;
        }
        let offset = if ci.count() == 0 { ci.idx().base() } else { offset };
        self.scan(device, ci, offset, request)
    }

    /// Locks the cluster of an offset and serves from there.
    fn alloc_at_offset(&mut self, device: &SwapDevice, offset: SwpOffset, request: &mut Request<'_>) -> bool {
        self.alloc_at(device, device.clusters.lock(offset.cluster()), offset, request)
    }

    /// Tries the devices in their order, each at most once. Kernel: `swap_alloc_slow`.
    #[inline(never)]
    fn alloc_slow(&mut self, request: &mut Request<'_>) -> bool {
        self.counters.count(Event::SlowPath, 1);
        let mut visited = 0u32;
        while let Some(ty) = self.next_device(visited) {
            visited |= 1 << ty.0;
            let Some(device) = self.device(ty) else { continue };
            if self.cluster_alloc(device, request) {
                return true;
            }
            if request.order != Order::ZERO {
                return false;
            }
        }
        false
    }

    /// Picks the first device not visited yet and puts it behind its equals.
    fn next_device(&self, visited: u32) -> Option<SwpType> {
        let mut avail = self.swap.avail.lock();
        let ty = avail.list.iter().find(|ty| visited & (1 << ty.0) == 0)?;
        avail.list.requeue(ty);
        Some(ty)
    }

    /// Hands out one slot of one device. Kernel: `swap_alloc_hibernation_slot`.
    fn alloc_hibernation(&mut self, device: &SwapDevice, request: &mut Request<'_>) -> bool {
        let hint = self.hints[Order::ZERO.index()];
        let at_hint =
            self.swap.switches.hibernation == Hibernation::Hint && hint.offset().0 != 0 && hint.ty() == device.ty();
        (at_hint && self.alloc_at_offset(device, hint.offset(), request)) || self.cluster_alloc(device, request)
    }
}

impl OnCpu<'_> {
    /// Hands out one aligned run whose entries say "swapped out, one reference".
    ///
    /// Errors: `NoSpace` (ENOSPC). Locks: one cluster lock at a time, list and avail locks.
    /// Kernel: `folio_alloc_swap`, then unmapping and removal from the swap cache.
    #[inline]
    pub fn alloc(&mut self, order: Order) -> Result<SwpEntry> {
        let mut entry = [SwpEntry::NONE];
        match self.alloc_batch(order, SwapTableEntry::SWAPPED_OUT, &mut entry) {
            0 => Err(SwapError::NoSpace { nr_pages: order.nr_pages() }),
            _ => Ok(entry[0]),
        }
    }

    /// Hands out up to `out.len()` runs, exactly those that so many calls of `alloc` would give; returns how many.
    ///
    /// Entries hold `word`, a swapped-out entry with one reference. Stops at the first failure.
    #[inline]
    pub fn alloc_batch(&mut self, order: Order, word: SwapTableEntry, out: &mut [SwpEntry]) -> usize {
        debug_assert!(word.is_last_swapped_out(), "an entry without reference would never be freed");
        let mut request = Request::new(order, word, out);
        while request.wanted() > 0 && self.cx().folio_alloc_swap(&mut request) {
            self.finish();
        }
        request.taken
    }

    /// Gives a folio its slots: their entries hold the folio, count 0.
    ///
    /// Errors: `NoSpace` (ENOSPC); `AlreadyCached` (EEXIST); `FolioBusy` (EBUSY). Kernel: `folio_alloc_swap`.
    pub fn folio_alloc_swap(&mut self, folio: &Arc<Folio>) -> Result<SwpEntry> {
        if let Some(entry) = folio.entry() {
            return Err(SwapError::AlreadyCached(entry));
        }
        if !folio.try_lock() {
            return Err(SwapError::FolioBusy(SwpEntry::NONE));
        }
        let mut cx = self.cx();
        let word = SwapTableEntry::cached(cx.swap.folios.insert(folio));
        let mut entry = [SwpEntry::NONE];
        let mut request = Request::new(folio.order(), word, &mut entry);
        request.folio = Some(folio);
        let is_served = cx.folio_alloc_swap(&mut request);
        if !is_served {
            cx.swap.folios.remove(folio);
        }
        folio.unlock();
        self.finish();
        if is_served { Ok(entry[0]) } else { Err(SwapError::NoSpace { nr_pages: folio.nr_pages() }) }
    }

    /// Hands out one slot of one device for a hibernation image: empty shadow, one reference.
    ///
    /// Errors: `NoDevice` (ENOENT), `NoSpace` (ENOSPC). Kernel: `swap_alloc_hibernation_slot`.
    pub fn alloc_hibernation(&mut self, ty: SwpType) -> Result<SwpEntry> {
        let mut cx = self.cx();
        let device = cx.device(ty).ok_or(SwapError::NoDevice(SwpEntry::new(ty, SwpOffset(0))))?;
        let mut entry = [SwpEntry::NONE];
        let is_served =
            cx.alloc_hibernation(device, &mut Request::new(Order::ZERO, SwapTableEntry::SWAPPED_OUT, &mut entry));
        if is_served {
            // Relaxed: swapoff reads it under this CPU's lock.
            device.nr_hibernation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        self.finish();
        if is_served { Ok(entry[0]) } else { Err(SwapError::NoSpace { nr_pages: 1 }) }
    }
}

impl Swap {
    /// Hands out one run on a CPU. Errors: `NoSpace` (ENOSPC), `BadCpu` (EINVAL). See [`OnCpu::alloc`].
    #[inline]
    pub fn alloc(&self, order: Order, cpu: CpuId) -> Result<SwpEntry> {
        self.on_cpu(cpu)?.alloc(order)
    }

    /// Hands out runs on a CPU; returns how many. Errors: `BadCpu` (EINVAL). See [`OnCpu::alloc_batch`].
    pub fn alloc_batch(&self, order: Order, cpu: CpuId, out: &mut [SwpEntry]) -> Result<usize> {
        Ok(self.on_cpu(cpu)?.alloc_batch(order, SwapTableEntry::SWAPPED_OUT, out))
    }
}
