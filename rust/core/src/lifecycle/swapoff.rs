//! The swapoff of a device: allocation ends, every page is read back, and the device is removed from all CPUs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::error::{Result, SwapError};
use crate::base::limits::{SWAPFILE_CLUSTER, UNUSE_PASSES_MAX};
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset, SwpType};
use crate::cluster::ListId;
use crate::folio::FolioFlags;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::machine::profile::DefaultPriority;
use crate::machine::{ActiveDevices, Event, Swap};
use crate::swapping::swapin::{Orders, Swapin};
use crate::table::EntryKind;

impl Swap {
    /// Turns a device off. Kernel: `swapoff` with `try_to_unuse`.
    ///
    /// `swapoff` calls `unuse` for every slot with references and passes the number of references. No lock is held
    /// during the call. `unuse` drops the references with [`Swap::put`], or fails. Errors: `NoDevice` (ENOENT);
    /// `StillInUse` (EBUSY) when slots stay in use or slots contain a hibernation image; any error of `unuse`. After
    /// an error the device is on again, and the allocator tries it after the devices of equal priority.
    ///
    /// Differs: the function `unuse` replaces the kernel's walk over page tables. Taking every CPU's local lock once
    /// replaces the kernel's wait for the allocators that run.
    pub fn swapoff(&self, device: &Arc<SwapDevice>, mut unuse: impl FnMut(SwpEntry, u32) -> Result<()>) -> Result<()> {
        let ty = device.ty();
        self.disable(device)?;
        if let Err(error) = self.try_to_unuse(device, &mut unuse) {
            let _active = self.active();
            self.enable(device);
            return Err(error);
        }
        let mut active = self.active();
        active.devices[ty.index()] = None;
        // After this loop, no CPU has the device in its device table, and no CPU has a hint (the slot at which its
        // next search starts) on the device.
        self.locals.for_each(|local| {
            local.devices[ty.index()] = None;
            local.flush_hints(|hint| hint.ty() == ty);
        });
        // Relaxed: see `swap_use_vma_readahead`.
        self.nr_rotational.fetch_sub(usize::from(!device.has(SwpFlags::SOLIDSTATE)), Ordering::Relaxed);
        self.nr_virtual.fetch_sub(usize::from(device.is_virtual()), Ordering::Relaxed);
        self.raise_automatic(&mut active, device.prio());
        // No read or write of the storage is under way, because each transfer needs a slot in use. From this line on
        // another device may use the storage, even if a caller still has an `Arc` of this device.
        device.release_claim();
        self.zswap.release_spare();
        Ok(())
    }

    /// Turns a device off without a function `unuse`. If the device keeps no data, this function drops the references
    /// to the slots of the device. If the device keeps data, a slot with references keeps the device on.
    ///
    /// Errors: as [`Swap::swapoff`]; `StillInUse` (EBUSY), with the device still on, when a slot with data has
    /// references.
    pub fn swapoff_without_hook(&self, device: &Arc<SwapDevice>) -> Result<()> {
        self.swapoff(device, |entry, count| {
            if device.storage().keeps_data() {
                // The swapoff fails, because only the holder of the references can read the data back.
                let (ty, why) = (device.ty(), ": swap them in, or pass a function unuse= that swaps them in");
                return Err(SwapError::StillInUse { ty: ty.0, inuse_pages: self.inuse_pages(ty), why });
            }
            (0..count).try_for_each(|_| self.put(entry, 1, CpuId(0)))
        })
    }

    /// Turns off each device that no slot in use keeps on, the last device first, and returns the number of devices
    /// that stay on.
    ///
    /// A device stays on when [`Swap::swapoff_without_hook`] fails for the device. Kernel: `swapoff --all` of
    /// util-linux.
    pub fn swapoff_all(&self) -> usize {
        let mut nr_on = usize::MAX;
        loop {
            let devices = self.devices();
            // A device behind a ghost can empty the ghost's slots, so the other devices are tried again after a
            // success.
            if devices.len() >= nr_on || devices.is_empty() {
                return devices.len();
            }
            nr_on = devices.len();
            for device in devices.iter().rev() {
                // The error is ignored, because the device then stays on.
                let _ = self.swapoff_without_hook(device);
            }
        }
    }

    /// Stops allocation on a device, and waits for allocations that are under way. Kernel: `del_from_avail_list`,
    /// `wait_for_allocation`.
    fn disable(&self, device: &Arc<SwapDevice>) -> Result<()> {
        let active = self.active();
        let ty = device.ty();
        // The device may already be off, and another device may have its swap type.
        if !active.devices[ty.index()].as_ref().is_some_and(|on| Arc::ptr_eq(on, device)) {
            return Err(SwapError::NoDevice(device.entry_at(SwpOffset(0))));
        }
        let busy = |why| SwapError::StillInUse { ty: ty.0, inuse_pages: self.inuse_pages(ty), why };
        if device.hibernation.pins() {
            return Err(busy(": hibernation pins the device"));
        }
        {
            let mut avail = self.avail.lock();
            if !avail.active.remove(ty) {
                return Err(busy(": another swapoff of the device is under way"));
            }
            device.set_writeok(false);
            avail.remove(device);
        }
        self.uncount_pages(device);
        drop(active);
        // This thread takes the lock of every CPU once and so waits for all allocators. An allocator that read
        // WRITEOK as set holds the lock of its CPU until its slots are counted.
        self.locals.for_each(|_| {});
        Ok(())
    }

    /// Reads every page back, in at most `UNUSE_PASSES_MAX` passes over the slots in use. Kernel: `try_to_unuse`;
    /// differs: the number of passes is limited.
    fn try_to_unuse(&self, device: &SwapDevice, unuse: &mut impl FnMut(SwpEntry, u32) -> Result<()>) -> Result<()> {
        for _ in 0..UNUSE_PASSES_MAX {
            if self.inuse_pages(device.ty()) == 0 {
                break;
            }
            for offset in device.in_use() {
                let entry = device.entry_at(offset);
                if device.get(offset).kind() == EntryKind::Pointer {
                    self.unuse_backing(device, offset)?;
                    continue;
                }
                let count = self.on_cpu(CpuId(0))?.swap_count(entry)?;
                if count > 0 {
                    unuse(entry, count)?;
                    self.free_cached(entry)?;
                }
            }
            // The next line frees the slots that only the swap cache holds.
            device.in_use().try_for_each(|offset| self.free_cached(device.entry_at(offset)))?;
        }
        match self.inuse_pages(device.ty()) {
            0 => self.finish_work(device),
            inuse_pages => Err(SwapError::StillInUse { ty: device.ty().0, inuse_pages, why: "" }),
        }
    }

    /// Reads the data of a real slot that backs a virtual slot into memory, together with the other pages of the
    /// folio, and frees the real slots of the folio. No page table is walked, because page tables name the virtual
    /// slot and do not change. Kernel: the fast half of `try_to_unuse` under vswap.
    fn unuse_backing(&self, device: &SwapDevice, offset: SwpOffset) -> Result<()> {
        let _active = self.begin_activity();
        let cpu = CpuId(0);
        let real = device.entry_at(offset);
        // Another thread may free or move the slot, or give the slot to another owner, while this loop runs. The next
        // pass of `try_to_unuse` handles a slot that is still in use.
        while let Some(owner) = device.get(offset).owner() {
            let folio = match self.swapin_entry(owner, &Swapin::new(cpu, self.orders_of_run(device, offset))) {
                Ok(folio) => folio,
                Err(SwapError::NotInUse(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            if folio.has(FolioFlags::HELD) {
                return Ok(());
            }
            // The lock waits for a read under way. The next lines end a queued write, and wait for a write under way.
            let locked = folio.folio().lock();
            self.folio_wait_writeback(folio.folio(), cpu)?;
            folio.wait_writeback();
            let mut on_cpu = self.on_cpu(cpu)?;
            if !folio.covers(owner) || !on_cpu.operation().is_backed_by(owner, real) {
                continue;
            }
            if !locked.has(FolioFlags::UPTODATE) {
                // The read of the folio failed. The thread that read the folio reports the error to its caller.
                drop((on_cpu, locked));
                self.drop_unread(&folio, cpu)?;
                continue;
            }
            // The folio is marked dirty, because the next line frees the copy of its data on the device.
            locked.set(FolioFlags::DIRTY);
            on_cpu.release_folio_backing(&locked)?;
            on_cpu.counters().count(Event::SwapoffRmap, locked.nr_pages().into());
            on_cpu.finish();
            return Ok(());
        }
        Ok(())
    }

    /// Returns the order of the folio with which `unuse_backing` reads a real slot back, as a set of one order. The
    /// order is at most the order of the slot's cluster. The virtual slots of the folio are aligned, and their data
    /// is in one run of real slots that starts at `offset`.
    fn orders_of_run(&self, device: &SwapDevice, offset: SwpOffset) -> Orders {
        let Some(owner) = device.get(offset).owner() else { return Orders::ZERO };
        let went_out = device.clusters.lock(offset.cluster()).map_or(Order::ZERO, |ci| ci.order());
        let room = (SWAPFILE_CLUSTER - offset.in_cluster() as u32).min(went_out.nr_pages());
        let is_next = |&i: &u32| device.get(offset.plus(i)).owner() == Some(owner.plus(i));
        let nr_run = 1 + (1..room).take_while(is_next).count() as u32;
        let fits = nr_run.ilog2().min(owner.offset().0.trailing_zeros());
        Order::new(fits.min(Order::MAX.get().into()) as u8).map_or(Orders::ZERO, Orders::one)
    }

    /// Removes the folio of a slot from the swap cache if the slots of the folio have no references. A folio with the
    /// flag HELD, which is locked or under writeback by the user of a handle, stays in the cache until the next pass
    /// of `try_to_unuse`.
    fn free_cached(&self, entry: SwpEntry) -> Result<()> {
        let _active = self.begin_activity();
        let mut on_cpu = self.on_cpu(CpuId(0))?;
        let folio = on_cpu.swap_cache_get_folio(entry)?;
        drop(on_cpu);
        if let Some(folio) = folio.filter(|folio| !folio.has(FolioFlags::HELD)) {
            // The lock waits for a read under way. The next lines end a queued write, and wait for a write under way.
            let locked = folio.lock();
            self.folio_wait_writeback(folio.folio(), CpuId(0))?;
            folio.wait_writeback();
            if folio.covers(entry) {
                self.on_cpu(CpuId(0))?.free_swap_locked(&locked)?;
            }
        }
        Ok(())
    }

    /// Discards the clusters that wait for a discard, and cancels the queued reclaim work of the device. Kernel: the
    /// flush of `discard_work` and `reclaim_work`.
    fn finish_work(&self, device: &SwapDevice) -> Result<()> {
        device.is_reclaim_queued.store(false, Ordering::Relaxed);
        self.on_cpu(CpuId(0))?.operation().discard_clusters(device);
        debug_assert!(!device.clusters.has(ListId::Discard));
        Ok(())
    }

    /// Adds 1 to each automatic priority below `prio`, so that the automatic priorities have no gap. `prio` is the
    /// priority of the device that was turned off.
    fn raise_automatic(&self, active: &mut ActiveDevices, prio: i32) {
        if self.switches.default_priority != DefaultPriority::Descending || prio >= 0 {
            return;
        }
        let devices = active.devices.iter().flatten().filter(|device| device.prio() < prio);
        devices.for_each(|device| device.raise_prio());
        active.least_priority += 1;
        let devices = &active.devices;
        let prio_of = |ty: SwpType| devices[ty.index()].as_ref().map_or(prio, |device| device.prio());
        let mut avail = self.avail.lock();
        avail.active.reprioritise(prio_of);
        avail.list.reprioritise(prio_of);
        avail.virtuals.reprioritise(prio_of);
    }
}
