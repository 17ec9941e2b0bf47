//! The strategy `swap_table`: the swap table allocator of this crate.

use super::{Strategy, StrategyMemory};
use crate::base::error::Result;
use crate::base::types::{CpuId, MemcgId, Order, SwpEntry, SwpOffset};
use crate::machine::Swap;
use crate::machine::profile::Profile;
use crate::storage::spec::DeviceSpec;
use crate::table::{Shadow, SwapTableEntry};

/// The owner of every slot that a replay allocates. All slots have one owner, because traces do not record the cgroup
/// of an operation.
pub(super) const OWNER: MemcgId = MemcgId(1);

/// The swap table allocator with one device. `word` is the table entry of each allocated slot, and contains the owner
/// of the slot.
pub(super) struct SwapTableStrategy {
    swap: Swap,
    nr_slots: u32,
    word: SwapTableEntry,
}

impl SwapTableStrategy {
    pub(super) fn new(nr_slots: u32, nr_cpus: usize, profile: Profile, owner: MemcgId) -> Result<Self> {
        let swap = Swap::new(nr_cpus, profile)?;
        swap.swapon(&DeviceSpec::new(nr_slots).priority(0))?;
        let word = SwapTableEntry::swapped_out(Shadow { memcg: owner, ..Shadow::default() }, 1);
        Ok(Self { swap, nr_slots, word })
    }
}

pub(super) fn make(nr_slots: u32, nr_cpus: usize) -> Result<Box<dyn Strategy>> {
    Ok(Box::new(SwapTableStrategy::new(nr_slots, nr_cpus, Profile::Newest, OWNER)?))
}

impl Strategy for SwapTableStrategy {
    fn name(&self) -> &str {
        "swap_table"
    }

    fn nr_slots(&self) -> u32 {
        self.nr_slots
    }

    fn alloc(&self, order: Order, cpu: CpuId) -> Option<SwpOffset> {
        let mut entry = [SwpEntry::NONE];
        let nr = self.swap.on_cpu(cpu).ok()?.alloc_batch(order, self.word, &mut entry);
        (nr == 1).then(|| entry[0].offset())
    }

    fn free(&self, first: SwpOffset, nr_pages: u32, cpu: CpuId) -> Result<()> {
        self.swap.put(SwpEntry::from_value(first.0 as u64), nr_pages, cpu)
    }

    fn alloc_batch(&self, order: Order, cpu: CpuId, out: &mut [SwpOffset]) -> usize {
        let mut entries = vec![SwpEntry::NONE; out.len()];
        let Ok(mut on_cpu) = self.swap.on_cpu(cpu) else { return 0 };
        let nr = on_cpu.alloc_batch(order, self.word, &mut entries);
        out.iter_mut().zip(&entries[..nr]).for_each(|(slot, entry)| *slot = entry.offset());
        nr
    }

    fn free_batch(&self, firsts: &[SwpOffset], nr_pages: u32, cpu: CpuId) -> Result<()> {
        let log2 = nr_pages.is_power_of_two().then(|| nr_pages.trailing_zeros() as u8);
        let Some(order) = log2.and_then(Order::new) else {
            return firsts.iter().try_for_each(|&first| self.free(first, nr_pages, cpu));
        };
        let entries: Vec<_> = firsts.iter().map(|first| SwpEntry::from_value(first.0 as u64)).collect();
        self.swap.put_batch(order, &entries, cpu)
    }

    fn memory(&self) -> StrategyMemory {
        let memory = self.swap.memory();
        let static_bytes = memory.static_bytes + self.swap.percpu_bytes();
        StrategyMemory { static_bytes, dynamic_bytes: memory.total_bytes() + self.swap.percpu_bytes() - static_bytes }
    }

    fn check(&self) -> Result<()> {
        self.swap.check()
    }
}
