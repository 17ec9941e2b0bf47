//! A stress run: many threads allocate and free slots of one `Swap`, and then [`stress`] checks that no slot is lost.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::base::error::{Result, SwapError};
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{CpuId, Order, SwpEntry};
use crate::machine::Swap;
use crate::machine::profile::Profile;
use crate::storage::spec::DeviceSpec;
use crate::table::Shadow;
use crate::workload::check_range;

/// The parameters of a stress run.
#[derive(Clone, Debug)]
pub struct StressSpec {
    /// Number of threads, 1..=1024. Thread `n` runs on CPU `n % nr_cpus`.
    pub threads: usize,
    /// Duration of the run.
    pub duration: Duration,
    /// Seed of the random numbers. Each thread draws from its own stream of random numbers.
    pub seed: u64,
    /// Number of slots of all devices together.
    pub pages: u32,
    /// Number of devices, 1..=8. The first two devices have equal priority, and the other devices have a lower
    /// priority.
    pub devices: u32,
    /// Number of CPUs of the subsystem.
    pub nr_cpus: usize,
    /// The profile, which gives each switch of the subsystem a value.
    pub profile: Profile,
}

/// The result of a stress run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StressReport {
    /// Number of operations of all threads.
    pub ops: u64,
    /// Number of runs of slots that the threads allocated.
    pub allocated_runs: u64,
    /// Number of slots that the threads freed.
    pub freed_slots: u64,
    /// Number of requests that got fewer runs than the request asked for, because the devices had no free run.
    pub failures: u64,
    /// Number of references that the threads added to slots.
    pub dups: u64,
    /// Number of folios that the threads put into the swap cache.
    pub cached_folios: u64,
    /// Number of slots in use after the threads and [`stress`] freed all slots. [`stress`] returns an error unless
    /// this number is 0.
    pub inuse_pages_end: u64,
    /// Number of slots that the allocator handed out while a thread owned the slot. [`stress`] returns an error
    /// unless this number is 0.
    pub double_handouts: u64,
}

impl StressReport {
    fn add(&mut self, other: &Self) {
        self.ops += other.ops;
        self.allocated_runs += other.allocated_runs;
        self.freed_slots += other.freed_slots;
        self.failures += other.failures;
        self.dups += other.dups;
        self.cached_folios += other.cached_folios;
    }
}

/// The runs that a thread holds, each with its first slot and its number of slots. Threads exchange some runs, so
/// that one CPU allocates a run and another CPU frees the run.
type Held = Vec<(SwpEntry, u32)>;

/// The state that all threads of a stress run share.
struct Shared<'a> {
    swap: &'a Swap,
    /// One byte for each slot of each device. The byte is 1 while a thread owns the slot.
    owned: Vec<Vec<AtomicU8>>,
    double_handouts: AtomicU64,
    exchange: Mutex<Held>,
    stop: AtomicBool,
}

impl Shared<'_> {
    /// Stores `now` as the mark of each slot of a run. A mark that already equals `now` means that a slot has two
    /// owners, so the function counts a double hand-out.
    fn mark(&self, entry: SwpEntry, nr_pages: u32, now: u8) {
        for i in 0..nr_pages {
            let mark = &self.owned[entry.ty().index()][(entry.offset().0 + i) as usize];
            // Relaxed is enough, because the locks of the allocator order a free of a slot before the next allocation
            // of the slot.
            if mark.swap(now, Ordering::Relaxed) == now {
                self.double_handouts.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The state of one thread.
struct Hammer<'a> {
    shared: &'a Shared<'a>,
    cpu: CpuId,
    rng: ChaCha8Rng,
    held: Held,
    held_pages: usize,
    target_pages: usize,
    report: StressReport,
}

impl Hammer<'_> {
    fn step(&mut self, most_pages: usize) -> Result<()> {
        self.report.ops += 1;
        if self.rng.random_ratio(1, 512) {
            // `most_pages` is 4/3 of a thread's share of the slots. The random target is therefore above a thread's
            // share for a quarter of the time, so that the devices are sometimes full.
            self.target_pages = self.rng.random_range(0..most_pages);
        }
        match self.rng.random_range(0..16) {
            0 => self.exchange(),
            1 => self.dup_and_put()?,
            2 => self.cache_folio()?,
            3 => self.free_part()?,
            _ if self.held_pages < self.target_pages => self.alloc()?,
            _ => self.free()?,
        }
        Ok(())
    }

    fn order(&mut self) -> Order {
        let order = if self.rng.random_ratio(3, 4) { 0 } else { self.rng.random_range(0..=9) };
        Order::new(order).expect("an order up to 9")
    }

    fn keep(&mut self, entry: SwpEntry, nr_pages: u32) {
        self.held.push((entry, nr_pages));
        self.held_pages += nr_pages as usize;
    }

    fn pick(&mut self) -> Option<(SwpEntry, u32)> {
        let at = self.rng.random_range(0..self.held.len().max(1));
        let (entry, nr_pages) = (at < self.held.len()).then(|| self.held.swap_remove(at))?;
        self.held_pages -= nr_pages as usize;
        Some((entry, nr_pages))
    }

    fn alloc(&mut self) -> Result<()> {
        let order = self.order();
        let mut out = [SwpEntry::NONE; 16];
        let wanted = self.rng.random_range(1..=out.len());
        let nr = self.shared.swap.alloc_batch(order, self.cpu, &mut out[..wanted])?;
        self.report.failures += u64::from(nr < wanted);
        self.report.allocated_runs += nr as u64;
        for &entry in &out[..nr] {
            self.shared.mark(entry, order.nr_pages(), 1);
            self.keep(entry, order.nr_pages());
        }
        if nr < wanted {
            // The devices have no free run left. The thread halves its target and frees slots, because the requests
            // of all threads would fail otherwise.
            self.target_pages /= 2;
        }
        Ok(())
    }

    fn put(&mut self, entry: SwpEntry, nr_pages: u32) -> Result<()> {
        self.shared.mark(entry, nr_pages, 0);
        self.shared.swap.put(entry, nr_pages, self.cpu)?;
        self.report.freed_slots += nr_pages as u64;
        Ok(())
    }

    fn free(&mut self) -> Result<()> {
        match self.pick() {
            Some((entry, nr_pages)) => self.put(entry, nr_pages),
            None => Ok(()),
        }
    }

    fn free_part(&mut self) -> Result<()> {
        let Some((entry, nr_pages)) = self.pick() else { return Ok(()) };
        let kept = self.rng.random_range(0..nr_pages);
        if kept > 0 {
            self.keep(entry, kept);
        }
        self.put(entry.plus(kept), nr_pages - kept)
    }

    fn dup_and_put(&mut self) -> Result<()> {
        let Some((entry, nr_pages)) = self.pick() else { return Ok(()) };
        let times = self.rng.random_range(1..20);
        for _ in 0..times {
            self.shared.swap.dup(entry, nr_pages, self.cpu)?;
        }
        for _ in 0..times {
            self.shared.swap.put(entry, nr_pages, self.cpu)?;
        }
        self.report.dups += times as u64 * nr_pages as u64;
        self.keep(entry, nr_pages);
        Ok(())
    }

    /// Puts a folio into the swap cache. Scans of clusters and full reclaim may free the slots of the folio at any
    /// time.
    fn cache_folio(&mut self) -> Result<()> {
        let folio = self.shared.swap.memory_of_folios().alloc(self.order())?;
        let mut on_cpu = self.shared.swap.on_cpu(self.cpu)?;
        match on_cpu.folio_alloc_swap(folio.folio()) {
            Ok(_) => {}
            Err(SwapError::NoSpace { .. }) => {
                self.report.failures += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.report.cached_folios += 1;
        if self.rng.random_ratio(1, 4) {
            // The removal fails when a thread on another CPU holds the folio lock, or has removed the folio from the
            // cache.
            match on_cpu.swap_cache_del_folio(folio.folio(), Shadow::default()) {
                Ok(()) | Err(SwapError::NotCached | SwapError::FolioBusy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn exchange(&mut self) {
        let mut shared = self.shared.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let nr_given = self.held.len() / 2;
        let nr_taken = shared.len() / 2;
        let given: Held = self.held.drain(..nr_given).collect();
        let taken: Held = shared.drain(..nr_taken).collect();
        shared.extend(given);
        drop(shared);
        self.take_over(taken);
    }

    fn take_over(&mut self, taken: Held) {
        self.held.extend(taken);
        self.held_pages = self.held.iter().map(|&(_, nr_pages)| nr_pages as usize).sum();
    }

    fn run(&mut self, most_pages: usize) -> Result<()> {
        // Relaxed is enough, because the flag `stop` only ends the loop and guards no other data.
        while !self.shared.stop.load(Ordering::Relaxed) {
            (0..64).try_for_each(|_| self.step(most_pages))?;
        }
        let left = std::mem::take(&mut *self.shared.exchange.lock().unwrap_or_else(PoisonError::into_inner));
        self.take_over(left);
        while !self.held.is_empty() {
            self.free()?;
        }
        Ok(())
    }
}

/// Runs the threads, frees the slots that are left, and checks every invariant. Errors: `Invariant` when a slot is
/// lost or is handed out twice; `OutOfRange`, `BadNrCpus` (EINVAL) for bad parameters.
///
/// `keep_going` is called every 20 ms with no lock held. When `keep_going` returns false, the threads stop before the
/// end of the duration.
pub fn stress(spec: &StressSpec, keep_going: impl FnMut() -> bool) -> Result<StressReport> {
    check_range("threads", spec.threads as u64, 1, 1024)?;
    check_range("devices", spec.devices.into(), 1, 8)?;
    check_range("pages", spec.pages.into(), (4 * SWAPFILE_CLUSTER * spec.devices).into(), 1 << 28)?;
    let swap = Swap::new(spec.nr_cpus, spec.profile)?;
    let mut owned = Vec::new();
    for i in 0..spec.devices {
        // `37 * i` makes most sizes differ from a multiple of the cluster size, because the run must also use
        // clusters with bad slots at the end.
        let pages = spec.pages / spec.devices - 37 * i;
        swap.swapon(&DeviceSpec::new(pages).priority(if i < 2 { 5 } else { 1 }))?;
        owned.push((0..pages).map(|_| AtomicU8::new(0)).collect());
    }
    let shared = Shared {
        swap: &swap,
        owned,
        double_handouts: AtomicU64::new(0),
        exchange: Mutex::default(),
        stop: AtomicBool::new(false),
    };
    let mut report = run_threads(spec, &shared, keep_going)?;
    drain_cache(&swap, spec)?;
    swap.check()?;
    report.inuse_pages_end = swap.devices().iter().map(|device| swap.inuse_pages(device.ty())).sum();
    report.double_handouts = shared.double_handouts.load(Ordering::Relaxed);
    if report.inuse_pages_end != 0 || report.double_handouts != 0 {
        let (lost, twice) = (report.inuse_pages_end, report.double_handouts);
        return Err(SwapError::Invariant(format!("stress: {lost} slots lost, {twice} handed out twice")));
    }
    Ok(report)
}

fn run_threads(spec: &StressSpec, shared: &Shared<'_>, mut keep_going: impl FnMut() -> bool) -> Result<StressReport> {
    let barrier = Barrier::new(spec.threads + 1);
    let most_pages = (spec.pages as usize * 4 / 3 / spec.threads).max(1);
    let hammer = |thread: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        rng.set_stream(thread as u64);
        let cpu = CpuId((thread % spec.nr_cpus) as u16);
        let report = StressReport::default();
        let (held, held_pages, target_pages) = (Held::new(), 0, most_pages);
        let mut hammer = Hammer { shared, cpu, rng, held, held_pages, target_pages, report };
        barrier.wait();
        hammer.run(most_pages).map(|()| hammer.report)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..spec.threads).map(|thread| scope.spawn(move || hammer(thread))).collect();
        barrier.wait();
        let start = Instant::now();
        // This thread sleeps in short steps, so that a failed thread or `keep_going` can end the run early.
        while start.elapsed() < spec.duration && keep_going() && !threads.iter().any(|thread| thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(20).min(spec.duration));
        }
        shared.stop.store(true, Ordering::Relaxed);
        let mut sum = StressReport::default();
        for thread in threads {
            sum.add(&thread.join().map_err(|_| SwapError::Invariant("stress: a thread panicked".into()))??);
        }
        Ok(sum)
    })
}

/// Frees the slots that only the swap cache holds. The threads have already freed their own runs and the runs in
/// `Shared::exchange`.
fn drain_cache(swap: &Swap, spec: &StressSpec) -> Result<()> {
    let mut on_cpu = swap.on_cpu(CpuId((spec.seed % spec.nr_cpus as u64) as u16))?;
    for device in swap.devices() {
        for offset in device.in_use() {
            if let Some(folio) = on_cpu.swap_cache_get_folio(device.entry_at(offset))? {
                on_cpu.folio_free_swap(folio.folio())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> StressSpec {
        let (duration, profile) = (Duration::from_millis(300), Profile::Newest);
        StressSpec { threads: 4, duration, seed: 7, pages: 16_384, devices: 3, nr_cpus: 2, profile }
    }

    #[test]
    fn threads_lose_nothing() {
        for &profile in Profile::ALL {
            let report = stress(&StressSpec { profile, ..spec() }, || true).expect("nothing lost");
            assert!(report.ops > 0 && report.failures > 0 && report.dups > 0 && report.cached_folios > 0, "{report:?}");
        }
    }

    #[test]
    fn a_run_that_is_told_to_stops_early_and_proves() {
        let start = Instant::now();
        // The end of a run of `Duration::MAX` is later than any `Instant`.
        for duration in [Duration::from_secs(60), Duration::MAX] {
            let report = stress(&StressSpec { duration, ..spec() }, || false);
            assert_eq!(report.expect("nothing lost").inuse_pages_end, 0);
        }
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_slot_with_two_owners_is_noticed() {
        let swap = Swap::new(1, Profile::Newest).expect("one cpu");
        let (double_handouts, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let owned = vec![(0..16).map(|_| AtomicU8::new(0)).collect()];
        let shared = Shared { swap: &swap, owned, double_handouts, exchange: Mutex::default(), stop };
        shared.mark(SwpEntry::from_value(3), 2, 1);
        shared.mark(SwpEntry::from_value(4), 1, 1);
        assert_eq!(shared.double_handouts.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn bad_specs_are_refused() {
        assert!(stress(&StressSpec { threads: 0, ..spec() }, || true).is_err());
        assert!(stress(&StressSpec { pages: 100, ..spec() }, || true).is_err());
        assert!(stress(&StressSpec { nr_cpus: 0, ..spec() }, || true).is_err());
    }
}
