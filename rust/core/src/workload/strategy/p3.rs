//! The strategy `p3`: the swap table allocator with two static arrays, one for owners and one for zero marks. This is
//! the kernel's design before the owners moved into the table entries.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::swap_table::{OWNER, SwapTableStrategy};
use super::{Strategy, StrategyMemory};
use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, MemcgId, Order, SwpEntry, SwpOffset};
use crate::containers::zeroed::MappedSlice;
use crate::machine::profile::Profile;

/// The swap table allocator with a static array of owners, 16 bits for each slot, and a static bitmap of zero marks.
/// A 32-bit word has the owners of two slots, so a compare-exchange stores an owner. One atomic operation clears the
/// zero mark of a freed slot.
struct P3Strategy {
    inner: SwapTableStrategy,
    owners: MappedSlice<AtomicU32>,
    zero_marks: MappedSlice<AtomicU64>,
}

pub(super) fn make(nr_slots: u32, nr_cpus: usize) -> Result<Box<dyn Strategy>> {
    Ok(Box::new(P3Strategy {
        inner: SwapTableStrategy::new(nr_slots, nr_cpus, Profile::P3, MemcgId(0))?,
        owners: MappedSlice::zeroed(nr_slots.div_ceil(2) as usize)?,
        zero_marks: MappedSlice::zeroed(nr_slots.div_ceil(64) as usize)?,
    }))
}

impl P3Strategy {
    /// Stores the owner of a slot and returns the previous owner of the slot. Kernel: one iteration of the loop in
    /// `swap_cgroup_record` and in `swap_cgroup_clear`.
    fn swap_owner(&self, slot: u32, owner: MemcgId) -> MemcgId {
        let (word, shift) = (&self.owners[slot as usize / 2], slot % 2 * 16);
        let replaced = |old: u32| Some(old & !(0xffff << shift) | (owner.0 as u32) << shift);
        // Relaxed is enough, because only the caller changes the owner of this slot, and `replaced` keeps the other
        // slot's owner in the word.
        let old = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, replaced).unwrap_or_else(|old| old);
        MemcgId((old >> shift) as u16)
    }

    fn set_owner(&self, first: SwpOffset, nr_pages: u32, owner: MemcgId) {
        (first.0..first.0 + nr_pages).for_each(|slot| {
            self.swap_owner(slot, owner);
        });
    }

    /// Clears the zero marks and owners of slots that will be freed. Errors, with the owners unchanged: `NotInUse`
    /// (ENOENT).
    fn forget(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        for slot in first.0..first.0 + nr_pages {
            // Relaxed is enough, because only the caller changes the zero mark of this slot.
            self.zero_marks[slot as usize / 64].fetch_and(!(1 << (slot % 64)), Ordering::Relaxed);
            if self.swap_owner(slot, MemcgId(0)) == MemcgId(0) {
                // A slot without an owner is not in use. The earlier slots of the run get their owner back, because
                // an error must leave the slots unchanged.
                self.set_owner(first, slot - first.0, OWNER);
                return Err(SwapError::NotInUse(SwpEntry::from_value(slot.into())));
            }
        }
        Ok(())
    }
}

impl Strategy for P3Strategy {
    fn name(&self) -> &str {
        "p3"
    }

    fn nr_slots(&self) -> u32 {
        self.inner.nr_slots()
    }

    fn alloc(&self, order: Order, cpu: CpuId) -> Option<SwpOffset> {
        let first = self.inner.alloc(order, cpu)?;
        self.set_owner(first, order.nr_pages(), OWNER);
        Some(first)
    }

    fn free(&self, first: SwpOffset, nr_pages: u32, cpu: CpuId) -> Result<()> {
        self.forget(first, nr_pages)?;
        self.inner.free(first, nr_pages, cpu)
    }

    fn free_batch(&self, firsts: &[SwpOffset], nr_pages: u32, cpu: CpuId) -> Result<()> {
        for (nr_done, &first) in firsts.iter().enumerate() {
            if let Err(error) = self.forget(first, nr_pages) {
                return self.inner.free_batch(&firsts[..nr_done], nr_pages, cpu).and(Err(error));
            }
        }
        self.inner.free_batch(firsts, nr_pages, cpu)
    }

    fn alloc_batch(&self, order: Order, cpu: CpuId, out: &mut [SwpOffset]) -> usize {
        let nr = self.inner.alloc_batch(order, cpu, out);
        out[..nr].iter().for_each(|&first| self.set_owner(first, order.nr_pages(), OWNER));
        nr
    }

    fn memory(&self) -> StrategyMemory {
        let inner = self.inner.memory();
        let arrays = size_of_val(&*self.owners) + size_of_val(&*self.zero_marks);
        StrategyMemory { static_bytes: inner.static_bytes + arrays as u64, ..inner }
    }

    fn check(&self) -> Result<()> {
        self.inner.check()
    }
}
