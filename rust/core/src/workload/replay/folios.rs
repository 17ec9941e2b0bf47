//! Replay of a trace with folios that have data. Each allocation of the trace is a swap-out. Each free of the trace
//! is a swap-in, or frees the slots without a read.

use super::contents::Contents;
use super::{Clock, Op, Trace, split_order};
use crate::base::error::{Result, SwapError, check_share};
use crate::base::limits::{MAX_CPUS, PAGE_SIZE, SWAP_NR_ORDERS};
use crate::base::types::{CpuId, Order, SwpEntry};
use crate::machine::Swap;
use crate::storage::StorageStats;
use crate::swapping::swapin::{Orders, Swapin};
use crate::swapping::swapout::{KeptFolio, MappedFolio};
use crate::workload::check_range;

/// Number of operations between two calls of `tick`, a function of the caller.
const TICK_OPS: usize = 256;

/// The parameters of a replay with folios.
#[derive(Clone, PartialEq, Debug)]
pub struct FolioReplay {
    /// Percentage of pages whose content is all zeros.
    pub zero_percent: f64,
    /// Percentage of pages whose content does not compress. lz4 compresses the remaining pages that are not all zeros
    /// about 3:1.
    pub random_percent: f64,
    /// Percentage of the trace's frees that swap the pages in. The other frees of the trace free the slots without a
    /// read.
    pub read_percent: f64,
    /// Whether the replay compares each page that is read with the written content of the page.
    pub is_verified: bool,
    /// Seed of the page contents, and of the random choice whether a free of the trace swaps the pages in or frees
    /// the slots without a read.
    pub seed: u64,
}

impl Default for FolioReplay {
    fn default() -> Self {
        Self { zero_percent: 10.0, random_percent: 10.0, read_percent: 100.0, is_verified: true, seed: 1 }
    }
}

/// The result of a replay with folios. Every page of the trace counts in exactly one of `swapped_in_pages`,
/// `unread_pages`, `dropped_pages` and `refused_pages`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FolioReport {
    /// Number of replayed operations.
    pub ops: usize,
    /// Number of pages that got a slot.
    pub swapped_out_pages: u64,
    /// Number of pages that were swapped in. At the end of the trace the replay releases the pages that still have a
    /// slot, as a free of the trace does. The pages that it then swaps in count too.
    pub swapped_in_pages: u64,
    /// Number of pages that got no slot.
    pub dropped_pages: u64,
    /// Number of pages that got a slot on a ghost device, but no place for the data of the page.
    pub refused_pages: u64,
    /// Number of pages whose slots were freed without a read.
    pub unread_pages: u64,
    /// Number of pages in all large folios that were split because no run of slots was free.
    pub fallback_pages: u64,
    /// Number of folios that contained the swapped-in pages.
    pub swap_in_folios: u64,
    /// CPU time of the replaying thread in swap-outs and in splits of folios, in ns.
    pub swap_out_ns: u64,
    /// CPU time of the replaying thread in swap-ins, in ns.
    pub swap_in_ns: u64,
    /// Largest number of slots in use.
    pub peak_pages: u64,
    /// Number of slots in use after the last operation of the trace, before the replay releases the remaining pages.
    pub end_pages: u64,
    /// Counters of one storage at the peak of the trace. The storage is the storage of the first device that is not a
    /// ghost.
    pub peak_stats: StorageStats,
    /// Counters of zswap at the peak of the trace.
    pub peak_zswap: StorageStats,
}

/// The state of one replay, with the slot of each page.
struct Run<'a> {
    trace: &'a Trace,
    swap: &'a Swap,
    is_verified: bool,
    read_percent: f64,
    contents: Contents,
    clock: Clock,
    /// Slot of each page of the trace, or `SwpEntry::NONE` for a page without a slot.
    entries: Vec<SwpEntry>,
    used_pages: u64,
    folio_bytes: Vec<u8>,
    page_bytes: Vec<u8>,
    report: FolioReport,
}

impl Trace {
    /// Replays a trace with folios that have data, and then releases the pages that are still in use.
    ///
    /// `tick` is called every 256 operations with the number of operations done. An error of `tick` ends the replay.
    /// Errors: `OutOfRange` (EINVAL) when the subsystem has fewer CPUs than the trace; `BadShare` (EINVAL);
    /// `Invariant` when a page has the wrong content; `Io`; `NoMemory`.
    pub fn replay_folios(
        &self,
        swap: &Swap,
        how: &FolioReplay,
        mut tick: impl FnMut(usize) -> Result<()>,
    ) -> Result<FolioReport> {
        check_share("read percent", how.read_percent, 100)?;
        let mut run = Run {
            trace: self,
            swap,
            is_verified: how.is_verified,
            read_percent: how.read_percent,
            contents: Contents::new(how.seed, how.zero_percent, how.random_percent)?,
            clock: Clock::new(),
            entries: vec![SwpEntry::NONE; self.nr_pages as usize],
            used_pages: 0,
            folio_bytes: vec![0; Order::MAX.nr_pages() as usize * PAGE_SIZE],
            page_bytes: vec![0; PAGE_SIZE],
            report: FolioReport { ops: self.ops.len(), ..FolioReport::default() },
        };
        check_range("nr_cpus for this trace:", swap.nr_cpus() as u64, self.nr_cpus as u64, MAX_CPUS as u64)?;
        for (index, &op) in self.ops.iter().enumerate() {
            if index % TICK_OPS == 0 {
                tick(index)?;
            }
            match op {
                Op::Alloc { order, cpu, folio } => run.swap_out(order, cpu, folio)?,
                Op::Free { folio, first, nr_pages, cpu } => {
                    let first = self.page_base[folio as usize] + first as u32;
                    run.release(index as u64, first, nr_pages.into(), cpu)?;
                }
            }
            if index == self.peak_at {
                let devices = swap.devices();
                let device = devices.iter().find(|device| !device.is_ghost());
                run.report.peak_stats = device.map(|device| device.storage().stats()).unwrap_or_default();
                run.report.peak_zswap = swap.zswap().stats();
            }
        }
        run.report.end_pages = run.used_pages;
        let folios = self.page_base.iter().zip(self.page_base.iter().skip(1).chain([&self.nr_pages]));
        for (number, (&first, &end)) in folios.enumerate() {
            if number % TICK_OPS == 0 {
                tick(self.ops.len())?;
            }
            run.release((self.ops.len() + number) as u64, first, end - first, CpuId(0))?;
        }
        Ok(run.report)
    }
}

impl<'a> Run<'a> {
    fn swap_out(&mut self, order: Order, cpu: CpuId, folio: u32) -> Result<()> {
        let (first, nr_pages) = (self.trace.page_base[folio as usize], order.nr_pages());
        let bytes = &mut self.folio_bytes[..nr_pages as usize * PAGE_SIZE];
        for (page, bytes) in (first.into()..).zip(bytes.chunks_exact_mut(PAGE_SIZE)) {
            self.contents.fill(page, bytes);
        }
        let swap = self.swap;
        let mapped = MappedFolio::map(swap.folio_with(order, bytes)?);
        match self.clock.time(&mut self.report.swap_out_ns, || swap.swap_out(mapped, cpu)) {
            Err(KeptFolio { folio, error: SwapError::NoSpace { .. } }) if order > Order::ZERO => {
                self.swap_out_split(folio, first, cpu)
            }
            result => self.record_out(result, first, nr_pages, cpu),
        }
    }

    /// Splits a large folio that got no run of slots, and swaps out each page of the folio.
    #[cold]
    fn swap_out_split(&mut self, mapped: MappedFolio<'a>, first: u32, cpu: CpuId) -> Result<()> {
        let (swap, nr_pages) = (self.swap, mapped.folio().nr_pages());
        self.report.fallback_pages += u64::from(nr_pages);
        let split = self.clock.time(&mut self.report.swap_out_ns, || swap.folio_split(mapped, Order::ZERO, cpu));
        let mut parts: Vec<_> = match split {
            Ok(parts) => parts.into_iter().map(Some).collect(),
            Err((folio, error)) => return self.drop_kept(KeptFolio { folio, error }, cpu),
        };
        let mut result = Ok(());
        for page in split_order(nr_pages) {
            let part = parts[page as usize].take().expect("each page once");
            if result.is_err() {
                swap.folio_unmap(part, cpu)?;
                continue;
            }
            let swapped = self.clock.time(&mut self.report.swap_out_ns, || swap.swap_out(part, cpu));
            result = self.record_out(swapped, first + page, 1, cpu);
        }
        result
    }

    /// Records the slots of the swapped-out pages, from page `first` on. If the swap-out failed, calls
    /// [`Run::drop_kept`].
    fn record_out(
        &mut self,
        swapped: std::result::Result<SwpEntry, KeptFolio<'a>>,
        first: u32,
        nr_pages: u32,
        cpu: CpuId,
    ) -> Result<()> {
        let entry = match swapped {
            Ok(entry) => entry,
            Err(kept) => return self.drop_kept(kept, cpu),
        };
        (0..nr_pages).for_each(|page| self.entries[(first + page) as usize] = entry.plus(page));
        self.report.swapped_out_pages += u64::from(nr_pages);
        self.used_pages += u64::from(nr_pages);
        self.report.peak_pages = self.report.peak_pages.max(self.used_pages);
        Ok(())
    }

    /// Drops a folio whose swap-out failed. `dropped_pages` counts pages without a slot, and `refused_pages` counts
    /// pages with a slot whose write was refused. Any other error ends the replay.
    fn drop_kept(&mut self, KeptFolio { folio, error }: KeptFolio<'a>, cpu: CpuId) -> Result<()> {
        let (nr_pages, has_slots) = (u64::from(folio.folio().nr_pages()), folio.folio().entry().is_some());
        self.swap.folio_unmap(folio, cpu)?;
        match error {
            error if has_slots && error.is_write_refused() => self.report.refused_pages += nr_pages,
            SwapError::NoSpace { .. } => self.report.dropped_pages += nr_pages,
            error => return Err(error),
        }
        Ok(())
    }

    /// Releases pages: a random choice decides whether the pages are swapped in or their slots are freed without a
    /// read. One call of the core handles a whole run of consecutive slots.
    fn release(&mut self, number: u64, first: u32, nr_pages: u32, cpu: CpuId) -> Result<()> {
        let pages = first as usize..(first + nr_pages) as usize;
        let entries = self.entries[pages.clone()].to_vec();
        self.entries[pages].fill(SwpEntry::NONE);
        let is_read =
            entries.iter().any(|&entry| entry != SwpEntry::NONE) && self.contents.is_chosen(number, self.read_percent);
        let mut page = first;
        for run in entries.chunk_by(|a, b| *a != SwpEntry::NONE && *b == a.plus(1)) {
            let nr_run = run.len() as u32;
            if run[0] != SwpEntry::NONE {
                self.used_pages -= u64::from(nr_run);
                if is_read {
                    self.swap_in(run[0], nr_run, page, cpu)?;
                } else {
                    self.swap.put(run[0], nr_run, cpu)?;
                    self.report.unread_pages += u64::from(nr_run);
                }
            }
            page += nr_run;
        }
        Ok(())
    }

    /// Swaps in a run of slots and drops the folios. Compares the pages with the written contents if `is_verified` is
    /// set.
    fn swap_in(&mut self, entry: SwpEntry, nr_pages: u32, mut page: u32, cpu: CpuId) -> Result<()> {
        let (swap, mut done) = (self.swap, Vec::new());
        let how = Swapin::new(cpu, Orders::from_bits((1 << SWAP_NR_ORDERS) - 1)?);
        let time_ns = &mut self.report.swap_in_ns;
        let mut result = self.clock.time(time_ns, || swap.swap_in_all(entry, nr_pages, &how, &mut done));
        self.report.swap_in_folios += done.len() as u64;
        for mapped in done {
            if result.is_ok() && self.is_verified {
                result = self.verify(&mapped, page);
            }
            page += mapped.pages().len() as u32;
            self.report.swapped_in_pages += mapped.pages().len() as u64;
            swap.folio_unmap(mapped, cpu)?;
        }
        result
    }

    /// Compares the mapped pages of a folio with the written contents.
    fn verify(&mut self, mapped: &MappedFolio<'_>, first: u32) -> Result<()> {
        let bytes = mapped.folio().bytes()?;
        for (at, page) in mapped.pages().zip(first..) {
            self.contents.fill(page.into(), &mut self.page_bytes);
            if bytes[at as usize * PAGE_SIZE..][..PAGE_SIZE] != self.page_bytes {
                let folio = self.trace.page_base.partition_point(|&base| base <= page) - 1;
                let page = page - self.trace.page_base[folio];
                let what = format!("page {page} of folio {folio} came back different from what was swapped out");
                return Err(SwapError::Invariant(what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{columns, ram, swap};
    use super::*;
    use crate::storage::{Ram, StorageTraits, SwapStorage};
    use crate::{DeviceSpec, SwpOffset};

    #[test]
    fn every_page_is_swapped_out_and_in() {
        // The trace frees all pages of folio 0, and 14 pages of folio 1 in two parts. Two pages of folio 1 and all
        // pages of folio 2 stay until the end of the trace.
        let ops = [(0, 0, 0, 16), (0, 1, 0, 16), (0, 2, 0, 4), (1, 0, 0, 16), (1, 1, 5, 9), (1, 1, 0, 5)];
        let trace = columns(&ops).expect("a good trace");
        let swap = swap(ram(4096));
        let mut nr_ticks = 0;
        let count = |_| {
            nr_ticks += 1;
            Ok(())
        };
        let report = trace.replay_folios(&swap, &FolioReplay::default(), count).expect("replays");
        assert_eq!((report.swapped_out_pages, report.swapped_in_pages, report.unread_pages), (36, 36, 0));
        assert_eq!((report.peak_pages, report.end_pages, report.fallback_pages), (36, 6, 0));
        assert!(report.peak_stats.iter().any(|&(name, value)| name == "mem_used_total" && value > 0));
        assert_eq!((swap.nr_swap_pages(), swap.memory_of_folios().nr_used_pages(), nr_ticks), (4095, 0, 2));
        swap.check().expect("nothing lost");
    }

    #[test]
    fn a_folio_without_a_run_is_split_and_a_page_without_a_slot_dropped() {
        // The device has 15 usable slots, because slot 0 is the header. The device therefore has no aligned run of 16
        // slots.
        let trace = columns(&[(0, 0, 0, 16), (0, 1, 0, 1), (1, 0, 0, 16)]).expect("a good trace");
        let swap = swap(ram(16));
        let how = FolioReplay { read_percent: 0.0, ..FolioReplay::default() };
        let report = trace.replay_folios(&swap, &how, |_| Ok(())).expect("replays");
        assert_eq!((report.fallback_pages, report.dropped_pages, report.swapped_out_pages), (16, 2, 15));
        assert_eq!((report.unread_pages, report.swapped_in_pages), (15, 0));
        assert_eq!((swap.nr_swap_pages(), swap.memory_of_folios().nr_used_pages()), (15, 0));
        swap.check().expect("nothing lost");
    }

    /// A storage that flips one bit in every page that it reads.
    #[derive(Debug)]
    struct Flips(Arc<Ram>);

    impl SwapStorage for Flips {
        fn kind(&self) -> &'static str {
            "flips"
        }

        fn spec(&self) -> DeviceSpec {
            self.0.spec()
        }

        fn traits(&self) -> StorageTraits {
            self.0.traits()
        }

        fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
            self.0.write(first, data)
        }

        fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
            self.0.read(first, data)?;
            data[PAGE_SIZE - 1] ^= 1;
            Ok(())
        }
    }

    #[test]
    fn a_storage_that_changes_a_bit_is_caught() {
        let trace = columns(&[(0, 0, 0, 1), (0, 1, 0, 4), (1, 1, 0, 4)]).expect("a good trace");
        let swap = swap(Arc::new(Flips(ram(4096))));
        let how = FolioReplay { zero_percent: 0.0, ..FolioReplay::default() };
        let error = trace.replay_folios(&swap, &how, |_| Ok(())).expect_err("caught");
        assert!(matches!(&error, SwapError::Invariant(what) if what.contains("page 0 of folio 1")), "{error}");
        assert_eq!(swap.memory_of_folios().nr_used_pages(), 0, "no page stays mapped");
        let unverified = FolioReplay { is_verified: false, ..how };
        assert!(trace.replay_folios(&swap, &unverified, |_| Ok(())).is_ok());
    }

    #[test]
    fn shares_that_cannot_be_are_refused() {
        let trace = columns(&[(0, 0, 0, 1)]).expect("a good trace");
        let swap = swap(ram(16));
        for (zero_percent, random_percent, read_percent) in
            [(-0.5, 0.0, 0.0), (60.0, 40.5, 0.0), (f64::NAN, 0.0, 0.0), (0.0, 0.0, 100.5)]
        {
            let how = FolioReplay { zero_percent, random_percent, read_percent, ..FolioReplay::default() };
            assert_eq!(trace.replay_folios(&swap, &how, |_| Ok(())).map_err(|error| error.errno()).err(), Some(22));
        }
    }
}
