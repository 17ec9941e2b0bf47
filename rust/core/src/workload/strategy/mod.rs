//! The trait [`Strategy`], which every slot allocator implements that takes part in replays, comparisons and
//! benchmarks.

mod bitmap_ff;
mod p3;
mod swap_table;

use crate::base::error::{Result, SwapError};
use crate::base::limits::{MAX_CPUS, MAX_DEVICE_PAGES};
use crate::base::types::{CpuId, Order, SwpOffset};
use crate::base::words::unknown_name;
use crate::workload::check_range;

/// Bytes of memory that a strategy takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StrategyMemory {
    /// Bytes that exist from the start, independent of the slots in use.
    pub static_bytes: u64,
    /// Bytes that the strategy has allocated for the slots that are in use.
    pub dynamic_bytes: u64,
}

/// An allocator of slots 1..`nr_slots` on one device. Slot 0 is the header.
///
/// Many threads may call every method at the same time. All callers use a trait object, so that a call costs one
/// virtual call for each strategy alike.
pub trait Strategy: Send + Sync {
    /// Returns the name of the strategy, which tables of results show.
    fn name(&self) -> &str;

    /// Returns the number of slots of the device, header included.
    fn nr_slots(&self) -> u32;

    /// Returns the largest order the strategy can serve.
    fn max_order(&self) -> Order {
        Order::MAX
    }

    /// Hands out one aligned run, or returns `None` when no run is free.
    fn alloc(&self, order: Order, cpu: CpuId) -> Option<SwpOffset>;

    /// Frees `nr_pages` slots from `first` on, which are a run or a part of a run. Errors, with nothing changed:
    /// `NotInUse` (ENOENT).
    fn free(&self, first: SwpOffset, nr_pages: u32, cpu: CpuId) -> Result<()>;

    /// Hands out up to `out.len()` runs, stops at the first failure, and returns the number of runs.
    fn alloc_batch(&self, order: Order, cpu: CpuId, out: &mut [SwpOffset]) -> usize {
        out.iter_mut().map_while(|slot| self.alloc(order, cpu).map(|first| *slot = first)).count()
    }

    /// Frees `nr_pages` slots from each slot of `firsts` on. Errors: as [`Strategy::free`], for the first run that
    /// fails. The runs before the failed run are freed.
    fn free_batch(&self, firsts: &[SwpOffset], nr_pages: u32, cpu: CpuId) -> Result<()> {
        firsts.iter().try_for_each(|&first| self.free(first, nr_pages, cpu))
    }

    /// Returns the bytes that the strategy takes.
    fn memory(&self) -> StrategyMemory;

    /// Checks the invariants of the strategy, if the strategy has invariants. Errors: `Invariant`.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// A function that makes a built-in strategy with one new device.
type Make = fn(nr_slots: u32, nr_cpus: usize) -> Result<Box<dyn Strategy>>;

const BUILT_IN: [(&str, &str, Make); 3] = [
    ("swap_table", "swapcore: owner and zero mark inside the 8-byte entry", swap_table::make),
    ("p3", "the same allocator with a static owner array and zero bitmap, one atomic per slot each", p3::make),
    ("bitmap_ff", "one bitmap under one lock, first fit", bitmap_ff::make),
];

/// Returns the name and the one-line description of every built-in strategy.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUILT_IN.iter().map(|&(name, about, _)| (name, about))
}

/// Makes a built-in strategy. Errors: `UnknownName`, `OutOfRange`, `BadNrCpus` (EINVAL), `NoMemory` (ENOMEM).
pub fn create(name: &str, nr_slots: u64, nr_cpus: usize) -> Result<Box<dyn Strategy>> {
    let (_, _, make) = BUILT_IN.iter().find(|(known, ..)| *known == name).ok_or_else(|| {
        let known: Vec<_> = names().map(|(known, _)| known).collect();
        unknown_name("strategy", name, &known)
    })?;
    check_range("size in pages", nr_slots, 2, MAX_DEVICE_PAGES.into())?;
    if nr_cpus == 0 || nr_cpus > MAX_CPUS {
        return Err(SwapError::BadNrCpus(nr_cpus));
    }
    make(nr_slots as u32, nr_cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_hands_out_each_slot_once_and_takes_it_back() {
        for (name, _) in names() {
            let strategy = create(name, 4096, 1).expect(name);
            let order = Order::new(4).expect("an order");
            let mut seen = std::collections::HashSet::new();
            let mut runs = Vec::new();
            while let Some(first) = strategy.alloc(order, CpuId(0)) {
                assert_eq!(first.0 % 16, 0, "{name}");
                assert!((0..16).all(|i| seen.insert(first.0 + i)), "{name} handed {first:?} out twice");
                runs.push(first);
            }
            assert!(runs.len() >= 224, "{name} served {}", runs.len());
            assert!(strategy.alloc(Order::ZERO, CpuId(0)).is_some_and(|slot| slot.0 != 0), "{name}");
            let used = strategy.memory();
            strategy.free(runs[0], 3, CpuId(0)).expect(name);
            strategy.free(runs[0].plus(3), 13, CpuId(0)).expect(name);
            assert!(strategy.free(runs[0], 1, CpuId(0)).is_err(), "{name} frees a free slot");
            strategy.free_batch(&runs[1..], 16, CpuId(0)).expect(name);
            strategy.check().expect(name);
            assert!(strategy.memory().dynamic_bytes <= used.dynamic_bytes, "{name}");
            let mut again = vec![SwpOffset(0); runs.len()];
            assert_eq!(strategy.alloc_batch(order, CpuId(0), &mut again), runs.len(), "{name}");
        }
    }

    #[test]
    fn unknown_names_and_sizes_are_refused() {
        assert!(create("buddy", 4096, 1).is_err());
        assert!(create("p3", 1, 1).is_err());
        assert!(create("p3", 1 << 32, 1).is_err());
        assert!(create("bitmap_ff", 4096, 0).is_err());
    }
}
