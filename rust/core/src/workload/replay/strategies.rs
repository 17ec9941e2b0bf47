//! Replay of a trace through a strategy, which is an allocator of slots without page data. The replay measures time,
//! failures, memory and fragmentation.

use super::{Op, Trace, cpu_ns, split_order};
use crate::base::error::{Result, SwapError};
use crate::base::limits::SWAP_NR_ORDERS;
use crate::base::types::{CpuId, Order, SwpOffset};
use crate::workload::strategy::{Strategy, StrategyMemory};

/// Number of pages of an aligned run in the measure of fragmentation, which is the share of free slots outside such
/// runs of free slots. A folio of 64 kB has this number of pages.
const FRAGMENTATION_RUN_PAGES: u32 = 16;

impl Trace {
    /// Replays the whole trace once. Errors: `OutOfRange` (EINVAL) when the strategy hands out a slot beyond the
    /// strategy's device; `Invariant` when the strategy hands a slot out twice, when the first slot of a run
    /// is not aligned, or when [`Strategy::check`] fails. The replay checks for these errors only when `samples` is
    /// over 0.
    pub fn replay(&self, strategy: &dyn Strategy, samples: usize) -> Result<Report> {
        let mut run = Run::new(self, strategy, samples > 0);
        let mut not_timed_ns = 0;
        let every = if samples > 0 { self.ops.len().div_ceil(samples).max(1) } else { usize::MAX };
        let start = cpu_ns();
        for (index, &op) in self.ops.iter().enumerate() {
            match op {
                Op::Alloc { order, cpu, folio } => run.alloc(order, cpu, folio)?,
                Op::Free { folio, first, nr_pages, cpu } => run.free(folio, first.into(), nr_pages.into(), cpu)?,
            }
            let is_peak = samples > 0 && index == self.peak_at;
            let is_due = index % every == every - 1;
            if is_peak || is_due {
                let paused = cpu_ns();
                if is_peak {
                    run.measure_peak();
                }
                if is_due {
                    run.sample_fragmentation();
                }
                not_timed_ns += cpu_ns() - paused;
            }
        }
        run.report.cpu_ns = cpu_ns() - start - not_timed_ns;
        if samples > 0 {
            strategy.check()?;
        }
        Ok(run.finish())
    }

    /// Returns the CPU time in ns that the replay itself takes. The function measures a replay through `Floor`, a
    /// strategy that does no work. The time includes the cost of the virtual calls, which every strategy has.
    pub fn floor(&self) -> Result<u64> {
        Ok(self.replay(&Floor, 0)?.cpu_ns)
    }
}

/// A strategy that does no work and always hands out the same slot.
struct Floor;

impl Strategy for Floor {
    fn name(&self) -> &str {
        "floor"
    }

    fn nr_slots(&self) -> u32 {
        u32::MAX
    }

    fn alloc(&self, _order: Order, _cpu: CpuId) -> Option<SwpOffset> {
        Some(SwpOffset(512))
    }

    fn free(&self, _first: SwpOffset, _nr_pages: u32, _cpu: CpuId) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> StrategyMemory {
        StrategyMemory::default()
    }
}

/// The result of one replay.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Number of replayed operations.
    pub ops: usize,
    /// Number of allocations among the operations.
    pub allocations: u64,
    /// CPU time of the replaying thread in ns, without the time for taking samples.
    pub cpu_ns: u64,
    /// Number of failed requests by order. Order 0 includes the failed requests for single pages of split folios.
    pub failures: [u64; SWAP_NR_ORDERS],
    /// Number of pages in all large folios that were split because the strategy had no free run.
    pub fallback_pages: u64,
    /// Number of pages for which the strategy had no free slot.
    pub dropped_pages: u64,
    /// Number of pages of all large folios in the trace.
    pub large_pages: u64,
    /// Number of slots in use at the peak of the trace. 0 unless the replay takes samples.
    pub used_slots_peak: u64,
    /// Number of slots in use at the end of the trace.
    pub used_slots_end: u64,
    /// Bytes of memory that the strategy takes at the peak of the trace. 0 unless the replay takes samples.
    pub memory_at_peak: StrategyMemory,
    /// Share of the free slots that lie outside aligned runs of 16 free slots, as a mean over the samples.
    pub fragmentation: f64,
}

/// The state of one replay, with the slots of each folio.
struct Run<'a> {
    trace: &'a Trace,
    strategy: &'a dyn Strategy,
    max_order: Order,
    /// First slot of each folio that got a whole run. The number is 0 for a split folio.
    first_slot: Vec<u32>,
    /// Slot of each page of each split folio. The number is 0 for a page without a slot.
    page_slot: Vec<u32>,
    /// One bit for each slot, which is set while the slot is in use. `None` unless the replay takes samples.
    used: Option<Vec<u64>>,
    used_slots: u64,
    fragmentation_sum: f64,
    nr_samples: u32,
    report: Report,
}

impl<'a> Run<'a> {
    fn new(trace: &'a Trace, strategy: &'a dyn Strategy, is_sampling: bool) -> Self {
        // The arrays are filled before the clock starts, because the first write to memory is slow and must not be
        // measured.
        let touched = |len: usize| {
            let mut slots = vec![u32::MAX; len];
            slots.fill(0);
            slots
        };
        let report = Report { ops: trace.ops.len(), allocations: trace.nr_allocations(), ..Report::default() };
        Self {
            trace,
            strategy,
            max_order: strategy.max_order(),
            first_slot: touched(trace.page_base.len()),
            page_slot: touched(trace.nr_pages as usize),
            used: is_sampling.then(|| vec![0; strategy.nr_slots().div_ceil(64) as usize]),
            used_slots: 0,
            fragmentation_sum: 0.0,
            nr_samples: 0,
            report,
        }
    }

    #[inline]
    fn alloc(&mut self, order: Order, cpu: CpuId, folio: u32) -> Result<()> {
        if order != Order::ZERO {
            self.report.large_pages += order.nr_pages() as u64;
        }
        let served = if order <= self.max_order { self.strategy.alloc(order, cpu) } else { None };
        match served {
            Some(first) => {
                if self.used.is_some() && !first.0.is_multiple_of(order.nr_pages()) {
                    return Err(self.misaligned(first, order));
                }
                self.first_slot[folio as usize] = first.0;
                self.mark(first.0, order.nr_pages(), true)
            }
            None => self.split(order, cpu, folio),
        }
    }

    /// Returns the error for a run whose first slot is not a multiple of its number of slots.
    #[cold]
    fn misaligned(&self, first: SwpOffset, order: Order) -> SwapError {
        let (name, order, nr_pages) = (self.strategy.name(), order.get(), order.nr_pages());
        let rule = format!("the first slot of a run of order {order} is a multiple of {nr_pages}");
        SwapError::Invariant(format!("{name} handed out slot {}, but {rule}", first.0))
    }

    /// Allocates a single slot for each page of a large folio that got no run, in the order of [`split_order`]. A
    /// folio of one page is dropped.
    #[cold]
    fn split(&mut self, order: Order, cpu: CpuId, folio: u32) -> Result<()> {
        self.report.failures[order.index()] += 1;
        let nr_pages = order.nr_pages();
        if order == Order::ZERO {
            self.report.dropped_pages += 1;
            return Ok(());
        }
        self.report.fallback_pages += nr_pages as u64;
        let base = self.trace.page_base[folio as usize];
        for page in split_order(nr_pages) {
            match self.strategy.alloc(Order::ZERO, cpu) {
                Some(slot) => {
                    self.page_slot[(base + page) as usize] = slot.0;
                    self.mark(slot.0, 1, true)?;
                }
                None => {
                    self.report.failures[0] += 1;
                    self.report.dropped_pages += 1;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn free(&mut self, folio: u32, first: u32, nr_pages: u32, cpu: CpuId) -> Result<()> {
        match self.first_slot[folio as usize] {
            0 => self.free_split(folio, first, nr_pages, cpu),
            slot => {
                self.strategy.free(SwpOffset(slot + first), nr_pages, cpu)?;
                self.mark(slot + first, nr_pages, false)
            }
        }
    }

    /// Frees pages of a split folio. Consecutive slots are freed by one call of [`Strategy::free`], as the unmap of
    /// the pages does in a kernel.
    #[cold]
    fn free_split(&mut self, folio: u32, first: u32, nr_pages: u32, cpu: CpuId) -> Result<()> {
        let from = (self.trace.page_base[folio as usize] + first) as usize;
        let slots: Vec<u32> = self.page_slot[from..from + nr_pages as usize].to_vec();
        for run in slots.chunk_by(|&a, &b| a != 0 && b == a + 1).filter(|run| run[0] != 0) {
            self.strategy.free(SwpOffset(run[0]), run.len() as u32, cpu)?;
            self.mark(run[0], run.len() as u32, false)?;
        }
        Ok(())
    }

    /// Updates the number of slots in use. A replay with samples also checks that the strategy hands out no slot
    /// twice.
    #[inline]
    fn mark(&mut self, first: u32, nr_pages: u32, is_used: bool) -> Result<()> {
        let nr = u64::from(nr_pages);
        self.used_slots = if is_used { self.used_slots + nr } else { self.used_slots - nr };
        if self.used.is_some() { self.mark_bits(first, nr_pages, is_used) } else { Ok(()) }
    }

    #[cold]
    fn mark_bits(&mut self, first: u32, nr_pages: u32, is_used: bool) -> Result<()> {
        let nr_slots = self.strategy.nr_slots() as u64;
        if first == 0 || first as u64 + nr_pages as u64 > nr_slots {
            let what = "slot of the strategy";
            return Err(SwapError::OutOfRange { what, value: first.into(), low: 1, high: nr_slots - 1 });
        }
        let used = self.used.as_mut().expect("called when sampling");
        for slot in first..first + nr_pages {
            let (word, bit) = (&mut used[slot as usize / 64], 1 << (slot % 64));
            if (*word & bit != 0) == is_used {
                let name = self.strategy.name();
                return Err(SwapError::Invariant(format!("{name} handed slot {slot} out twice")));
            }
            *word ^= bit;
        }
        Ok(())
    }

    #[cold]
    fn measure_peak(&mut self) {
        self.report.memory_at_peak = self.strategy.memory();
        self.report.used_slots_peak = self.used_slots;
    }

    #[cold]
    fn sample_fragmentation(&mut self) {
        let Some(used) = &self.used else { return };
        let (mut free, mut in_runs) = (0u64, 0u64);
        let nr_runs = self.strategy.nr_slots() / FRAGMENTATION_RUN_PAGES;
        for run in 0..nr_runs {
            let first = run * FRAGMENTATION_RUN_PAGES;
            let bits = used[first as usize / 64] >> (first % 64) & ((1 << FRAGMENTATION_RUN_PAGES) - 1);
            let nr_free = (FRAGMENTATION_RUN_PAGES - bits.count_ones()) as u64;
            free += nr_free;
            in_runs += if nr_free == FRAGMENTATION_RUN_PAGES as u64 { nr_free } else { 0 };
        }
        self.fragmentation_sum += if free > 0 { 1.0 - in_runs as f64 / free as f64 } else { 0.0 };
        self.nr_samples += 1;
    }

    fn finish(self) -> Report {
        let fragmentation = self.fragmentation_sum / f64::from(self.nr_samples.max(1));
        Report { used_slots_end: self.used_slots, fragmentation, ..self.report }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::columns;
    use super::*;
    use crate::workload::strategy;

    #[test]
    fn a_split_folio_is_freed_page_by_page() {
        // A device of 512 slots has only cluster 0. Cluster 0 serves no large folio, because slot 0 holds the header.
        let trace = columns(&[(0, 0, 0, 4), (0, 1, 0, 1), (1, 0, 1, 2), (1, 0, 0, 1)]).expect("a good trace");
        let strategy = strategy::create("swap_table", 512, 1).expect("a strategy");
        let report = trace.replay(&*strategy, 4).expect("replays");
        assert_eq!((report.failures[2], report.fallback_pages, report.dropped_pages), (1, 4, 0));
        assert_eq!((report.used_slots_peak, report.used_slots_end), (5, 2));
        assert_eq!(report.large_pages, 4);
    }

    #[test]
    fn fragmentation_is_the_mean_over_the_samples_that_were_taken() {
        // In the first case the last operation is the peak and is also sampled. In the second case every third of the
        // ten operations is sampled, so only three samples are taken.
        for (nr_ops, samples, sampled) in [(4, 4, &[1, 2, 3, 4][..]), (10, 4, &[3, 6, 9])] {
            let trace = columns(&(0..nr_ops).map(|folio| (0, folio, 0, 1)).collect::<Vec<_>>()).expect("a good trace");
            let strategy = strategy::create("swap_table", 512, 1).expect("a strategy");
            let report = trace.replay(&*strategy, samples).expect("replays");
            // Slots 1 to `used` are in use, so only the first run of 16 slots is partly free.
            let share = |&used: &u32| f64::from(16 - used) / f64::from(512 - used);
            let mean = sampled.iter().map(share).sum::<f64>() / sampled.len() as f64;
            assert!((report.fragmentation - mean).abs() < 1e-9, "{} is not {mean}", report.fragmentation);
        }
    }

    #[test]
    fn a_strategy_that_hands_a_slot_out_twice_is_caught() {
        let trace = columns(&[(0, 0, 0, 1), (0, 1, 0, 1)]).expect("a good trace");
        assert!(matches!(trace.replay(&Floor, 1), Err(SwapError::Invariant(_))));
    }
}
