//! Tests of zswap in front of a device with storage. The device has no virtual table, so zswap finds entries by slot
//! number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::memcg::{Hierarchy, MemcgSwitches};
use swapcore::storage::{FaultPlan, Faulty};
use swapcore::zswap::{ZswapFaults, ZswapOptions};
use swapcore::{
    Config, CpuId, FolioFlags, MappedFolio, Order, Orders, Profile, Swap, SwapDevice, SwapError, Swapin, Switches,
    SwpEntry, Workers,
};

use crate::common::{CPU, Load, load, noise, order, page_of, ram, stat, storage_on, text};

const EXIST: i32 = 17;
const NOENT: i32 = 2;
const AGAIN: i32 = 11;
const NOMEM: i32 = 12;
const IO: i32 = 5;

struct Machine {
    swap: Arc<Swap>,
    device: Arc<SwapDevice>,
    storage: Arc<Faulty>,
}

fn machine_with(config: Config) -> Machine {
    let swap = Arc::new(Swap::with_config(config).expect("these go together"));
    let storage = Arc::new(Faulty::new(ram(1 << 14), 1));
    let device = storage_on(&swap, storage.clone(), 1);
    Machine { swap, device, storage }
}

/// Returns a machine with `memory_pages` pages of memory. Compressed pages may take `max_pool_percent` percent of the
/// memory.
fn machine(memory_pages: u64, max_pool_percent: u32) -> Machine {
    let zswap = Some(ZswapOptions { max_pool_percent, ..ZswapOptions::default() });
    let config = Config::new(1, Profile::Newest);
    // The per-CPU stock of charges is off, so that the usage of a group is exactly the number of charged pages.
    let memcg = MemcgSwitches { memcg_stock: false, ..config.switches.memcg };
    let switches = Switches { memcg, ..config.switches };
    machine_with(Config {
        switches,
        memory_pages,
        zswap,
        memcg: Some(Hierarchy::V2),
        workers: Workers::Manual,
        ..config
    })
}

impl Machine {
    fn group(&self, parent: CssId, name: &str) -> CssId {
        self.swap.memcg().expect("enabled").create(parent, name).expect("a name").css()
    }

    fn write(&self, css: CssId, file: &str, text: &str) {
        self.swap.memcg_write(css, file, text, true, CPU).expect("the file accepts the text");
    }

    fn read(&self, css: CssId, file: &str) -> u64 {
        self.swap.memcg_read(css, file).expect("a file").trim().parse().expect("a number")
    }

    fn try_out(&self, data: &[u8], css: CssId) -> Result<SwpEntry, SwapError> {
        let log2 = (data.len() / PAGE_SIZE).ilog2() as u8;
        let folio = self.swap.folio_with_in(order(log2), data, css, CPU).expect("memory");
        self.swap.swap_out(MappedFolio::map(folio), CPU).map_err(|kept| {
            assert!(kept.folio.folio().has(FolioFlags::DIRTY), "the folio has the only copy, so it is dirty");
            assert!(*kept.folio.folio().bytes().expect("no views") == *data);
            self.swap.folio_unmap(kept.folio, CPU).expect("a cpu");
            kept.error
        })
    }

    fn out(&self, data: &[u8], css: CssId) -> SwpEntry {
        self.try_out(data, css).expect("zswap or the device takes it")
    }

    fn swap_in(&self, entry: SwpEntry, log2: u8) -> Result<MappedFolio<'_>, SwapError> {
        self.swap.swap_in(entry, 1 << log2, &Swapin::new(CPU, Orders::one(order(log2))))
    }

    /// Swaps one page in, compares the content with `data`, and frees the page and its slot.
    fn take_back(&self, entry: SwpEntry, data: &[u8]) {
        let folio = self.swap_in(entry, 0).expect("readable");
        assert!(*folio.folio().bytes().expect("no views") == *data, "{entry} is not what was written");
        self.swap.folio_unmap(folio, CPU).expect("a cpu");
    }

    fn writeback(&self, entry: SwpEntry) -> Result<(), i32> {
        self.swap.zswap_writeback_entry(entry, CPU).map_err(|error| error.errno())
    }

    fn faults(&self, faults: ZswapFaults) {
        self.swap.zswap().set_faults(faults).expect("probabilities");
    }

    fn options(&self, change: impl FnOnce(&mut ZswapOptions)) {
        let mut options = self.swap.zswap().options();
        change(&mut options);
        self.swap.zswap().set_options(options).expect("percentages");
    }

    /// Returns the counter `name` of zswap. If zswap has no such counter, returns the counter of the subsystem.
    fn stat(&self, name: &str) -> u64 {
        let zswap = self.swap.zswap().stats();
        let found = zswap.iter().find(|(known, _)| *known == name).map(|&(_, value)| value);
        found.unwrap_or_else(|| stat(&self.swap, name))
    }

    fn stats<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        names.map(|name| self.stat(name))
    }

    fn check(&self) {
        self.swap.check().expect("every invariant");
    }

    /// Swaps the pages `rest` in, and checks that zswap, the device and memory are empty.
    fn end(&self, rest: impl IntoIterator<Item = (SwpEntry, u64)>, page: fn(u64) -> Vec<u8>) {
        rest.into_iter().for_each(|(entry, tag)| self.take_back(entry, &page(tag)));
        self.assert_empty();
    }

    /// Checks that zswap, the device and memory are empty.
    fn assert_empty(&self) {
        self.check();
        assert_eq!(self.stats(["stored_pages", "stored_incompressible_pages", "pool_total_size"]), [0; 3]);
        assert_eq!(self.swap.zswap().map_bytes() & !0xffff, 0, "leaves of the map are freed with their entries");
        assert_eq!((self.swap.inuse_pages(self.device.ty()), self.swap.memory_of_folios().nr_used_pages()), (0, 0));
    }
}

#[test]
fn at_the_limit_nothing_is_stored_until_the_pools_are_at_nine_tenths_of_it() {
    let m = machine(1000, 10);
    let mut entries: Vec<_> = (0..100).map(|tag| (m.out(&noise(tag), CssId::ROOT), tag)).collect();
    assert_eq!(m.stats(["pool_limit_hit", "stored_pages", "pswpout"]), [0, 100, 0]);
    let disk = m.out(&noise(100), CssId::ROOT);
    assert_eq!(m.stats(["pool_limit_hit", "stored_pages", "pswpout"]), [1, 100, 1], "the page goes to the device");
    for left in (91..100).rev() {
        let (entry, tag) = entries.pop().expect("100 of them");
        m.take_back(entry, &noise(tag));
        let refused = m.out(&noise(200), CssId::ROOT);
        assert_eq!(m.stats(["pool_limit_hit", "stored_pages"]), [1, left], "the limit is not hit again");
        m.take_back(refused, &noise(200));
    }
    let (entry, tag) = entries.pop().expect("91 of them");
    m.take_back(entry, &noise(tag));
    entries.push((m.out(&noise(300), CssId::ROOT), 300));
    assert_eq!(m.stats(["pool_limit_hit", "stored_pages"]), [1, 91]);
    m.take_back(disk, &noise(100));
    m.end(entries, noise);
}

#[test]
fn a_page_that_does_not_shrink_is_kept_raw_or_refused() {
    let m = machine(4096, 20);
    let a = m.group(CssId::ROOT, "a");
    let raw = m.out(&noise(1), a);
    assert_eq!(m.stats(["stored_pages", "stored_incompressible_pages", "reject_compress_poor"]), [1, 1, 0]);
    m.faults(ZswapFaults { compress: 1.0, ..ZswapFaults::default() });
    let failed = m.out(&text(2), a);
    assert_eq!(m.stats(["stored_incompressible_pages", "reject_compress_fail"]), [2, 0], "the page is stored raw");
    m.write(a, "memory.zswap.writeback", "0");
    let refused = m.try_out(&text(3), a).expect_err("neither zswap nor the device takes it");
    assert!(matches!(refused, SwapError::WritebackForbidden { .. }) && refused.errno() == 28, "{refused}");
    m.faults(ZswapFaults::default());
    m.try_out(&noise(4), a).expect_err("neither zswap nor the device takes it");
    assert_eq!(m.stats(["reject_compress_fail", "reject_compress_poor", "pswpout"]), [1, 1, 0]);
    assert_eq!(m.stat("swpout_refused"), 2);
    m.take_back(raw, &noise(1));
    m.take_back(failed, &text(2));
    m.assert_empty();
}

#[test]
fn a_large_folio_is_stored_whole_or_not_at_all_and_comes_back_page_by_page() {
    let m = machine(4096, 20);
    let data: Vec<u8> = (0..16).flat_map(text).collect();
    let entry = m.out(&data, CssId::ROOT);
    assert_eq!(m.stats(["stored_pages", "zswpout", "hugepages-64kB.zswpout", "pswpout"]), [16, 16, 1, 0]);
    // A range of slots with a page in zswap is not swapped in as one folio, so this swap-in has order 0.
    let folio = m.swap_in(entry, 4).expect("readable");
    assert_eq!((folio.folio().order(), m.stat("hugepages-64kB.swpin_fallback")), (Order::ZERO, 1));
    assert_eq!(m.stats(["stored_pages", "zswpin"]), [15, 1]);
    m.swap.folio_unmap(folio, CPU).expect("a cpu");
    (1..16).for_each(|i| m.take_back(entry.plus(i), &text(i.into())));
    m.assert_empty();
    // Half of the stores of pages fail. zswap then keeps no page of the folio, and the device gets the whole folio in
    // one write.
    for (faults, counter) in [
        (ZswapFaults { entry_alloc: 0.5, ..ZswapFaults::default() }, "reject_kmemcache_fail"),
        (ZswapFaults { pool_alloc: 0.5, ..ZswapFaults::default() }, "reject_alloc_fail"),
    ] {
        m.faults(faults);
        let before = m.stats(["hugepages-64kB.swpout", "zswpout"]);
        let entry = m.out(&data, CssId::ROOT);
        assert_eq!(m.stats([counter, "stored_pages"]), [1, 0], "the store ends at the first page that fails");
        assert_eq!(m.stats(["hugepages-64kB.swpout", "zswpout"]), [before[0] + 1, before[1]]);
        m.check();
        m.swap.put(entry, 16, CPU).expect("one reference a slot");
    }
    m.assert_empty();
}

#[test]
fn a_load_leaves_no_copy_behind_and_a_damaged_one_stays() {
    let m = machine(4096, 20);
    let entry = m.out(&text(1), CssId::ROOT);
    m.faults(ZswapFaults { decompress: 1.0, ..ZswapFaults::default() });
    assert_eq!(m.swap_in(entry, 0).expect_err("damaged").errno(), IO);
    assert_eq!(m.stats(["decompress_fail", "stored_pages", "zswpin"]), [1, 1, 0]);
    m.faults(ZswapFaults::default());
    let folio = m.swap.swapin_entry(entry, &Swapin::new(CPU, Orders::ZERO)).expect("whole");
    assert!(folio.has(FolioFlags::DIRTY | FolioFlags::UPTODATE), "the folio has the only copy, so it is dirty");
    assert_eq!(m.stats(["decompress_fail", "stored_pages", "zswpin", "pool_total_size"]), [1, 0, 1, 0]);
    drop(folio);
    m.take_back(entry, &text(1));
    assert_eq!(m.stat("pswpin"), 0);
    m.assert_empty();
}

#[test]
fn an_older_copy_is_never_read_whatever_becomes_of_the_newer_one() {
    type Prepare = fn(&Machine);
    let ways: [(Prepare, Vec<u8>); 5] = [
        (|_| (), text(2)),
        (|_| (), vec![0; PAGE_SIZE]),
        (|m| m.options(|options| options.is_enabled = false), text(2)),
        (|m| m.options(|options| options.max_pool_percent = 0), text(2)),
        (|m| m.faults(ZswapFaults { pool_alloc: 1.0, ..ZswapFaults::default() }), text(2)),
    ];
    for (prepare, newer) in ways {
        let m = machine(4096, 20);
        let folio = m.swap.folio_with(Order::ZERO, &text(1)).expect("memory");
        let mapped = MappedFolio::map(folio);
        // A second reference keeps the slot in use after the swap-in.
        let entry = m.swap.swap_out(mapped, CPU).map_err(|kept| kept.error).expect("room");
        m.swap.dup(entry, 1, CPU).expect("in use");
        let back = m.swap_in(entry, 0).expect("readable");
        back.folio().bytes_mut().expect("no views").copy_from_slice(&newer);
        back.folio().set(FolioFlags::DIRTY);
        prepare(&m);
        let again = m.swap.swap_out(back, CPU).map_err(|kept| kept.error).expect("room");
        assert_eq!(again, entry, "the folio kept its slot");
        m.check();
        m.take_back(entry, &newer);
        m.take_back(entry, &newer);
        m.assert_empty();
    }
}

#[test]
fn a_page_has_a_second_chance_and_then_the_oldest_goes_first() {
    let m = machine(4096, 20);
    let a = m.group(CssId::ROOT, "a");
    let shrink = || m.swap.shrink_memcg(a, CPU).map_err(|error| error.errno());
    assert_eq!(shrink(), Err(NOENT), "the group has no page in zswap");
    let entries: Vec<_> = (0..40).map(|tag| m.out(&text(tag), a)).collect();
    assert_eq!(shrink(), Err(AGAIN), "32 entries had their second chance");
    assert_eq!(m.stats(["written_back_pages", "reject_reclaim_fail"]), [0, 0]);
    // Each call of `shrink` scans 32 of the 40 pages. The first call took the second chance away from 32 pages. This
    // call takes it away from the other 8 pages, and then writes the oldest 24 pages back.
    assert_eq!(shrink(), Ok(24));
    assert_eq!(m.stats(["written_back_pages", "zswpwb", "pswpout", "stored_pages"]), [24, 24, 24, 16]);
    m.options(|options| options.is_enabled = false);
    let is_stored = |entry: &&SwpEntry| m.swap.backing(**entry, 1, CPU).expect("on").0.name() == "zswap";
    let stored: Vec<_> = entries.iter().filter(is_stored).copied().collect();
    assert_eq!(stored, entries[24..], "the youngest entries are stored");
    m.options(|options| options.is_enabled = true);
    m.write(a, "memory.zswap.writeback", "0");
    assert_eq!(shrink(), Err(NOENT), "the group forbids writeback");
    m.check();
    m.end(entries.into_iter().zip(0..), text);
}

/// The values are those of Linux 6.18.44.
#[test]
fn with_one_entry_an_attempt_the_worker_needs_a_run_for_each_16_second_chances() {
    let zswap = Some(ZswapOptions::default());
    let config = Config { zswap, memcg: Some(Hierarchy::V1), memory_pages: 1 << 14, ..Config::new(1, Profile::V618) };
    let m = machine_with(config);
    let a = m.group(CssId::ROOT, "a");
    let mut entries: Vec<_> = (0..64).map(|tag| m.out(&text(tag), a)).collect();
    m.options(|options| options.max_pool_percent = 0);
    for refused in 1..=6 {
        entries.push(m.out(&text(63 + refused), a));
        let written = if refused < 5 { 0 } else { 64 };
        assert_eq!(
            m.stats(["pool_limit_hit", "written_back_pages", "zswpwb", "stored_pages", "pswpout"]),
            [refused, written, written, 64 - written, refused + written],
            "store {refused} is refused"
        );
    }
    m.end(entries.into_iter().zip(0..), text);
}

/// The values are those of Linux 6.18.44.
#[test]
fn a_written_page_stays_in_the_swap_cache_until_reclaim_drops_it() {
    let zswap = Some(ZswapOptions::default());
    let config = Config { zswap, memcg: Some(Hierarchy::V1), memory_pages: 1 << 14, ..Config::new(1, Profile::V618) };
    let m = machine_with(config);
    let a = m.group(CssId::ROOT, "a");
    let entries: Vec<_> = (0..8).map(|tag| m.out(&text(tag), a)).collect();
    entries.iter().for_each(|&entry| m.writeback(entry).expect("a device"));
    assert_eq!(m.stats(["written_back_pages", "stored_pages", "nr_swapcached", "pswpout"]), [8, 0, 8, 8]);
    let number = |key| m.swap.memcg_stat_local(a).expect("v1").iter().find(|(name, _)| *name == key).expect("a key").1;
    let bytes = |pages| pages * PAGE_SIZE as i64;
    let numbers = || ["swap", "swapcached", "workingset_refault_anon"].map(number);
    assert_eq!(numbers(), [0, bytes(8), 8], "the group is charged for the pages and not for their slots");
    m.check();
    // Four pages are read from the cache, and reclaim drops the others, which are clean.
    entries[..4].iter().zip(0..).for_each(|(&entry, tag)| m.take_back(entry, &text(tag)));
    m.write(a, "memory.force_empty", "0");
    assert_eq!(m.stats(["nr_swapcached", "pswpin", "pswpout"]), [0, 0, 8]);
    assert_eq!(numbers(), [bytes(4), 0, 8]);
    m.end(entries.into_iter().zip(0..).skip(4), text);
}

/// WB1 to WB5 are the steps of a writeback in docs/steps.md.
#[test]
fn each_step_of_a_writeback_may_fail_and_loses_nothing() {
    let m = machine(512, 100);
    let a = m.group(CssId::ROOT, "a");
    let entry = m.out(&text(1), a);
    let used = || m.swap.memory_of_folios().nr_used_pages();
    // WB1 fails, because the page is in the swap cache.
    let folio = m.swap.folio_with_in(Order::ZERO, &text(1), a, CPU).expect("memory");
    m.swap.on_cpu(CPU).expect("a cpu").swap_cache_add_folio(folio.folio(), entry).expect("swapped out");
    assert_eq!(m.writeback(entry), Err(EXIST));
    let shadow = Default::default();
    m.swap.on_cpu(CPU).expect("a cpu").swap_cache_del_folio(folio.folio(), shadow).expect("clean");
    drop(folio);
    // WB1 fails, because there is no memory for a folio.
    let hold: Vec<_> = std::iter::from_fn(|| m.swap.memory_of_folios().alloc(Order::ZERO).ok()).collect();
    assert_eq!((m.writeback(entry), used()), (Err(NOMEM), 512));
    drop(hold);
    // WB4 fails, because the compressed data is damaged.
    m.faults(ZswapFaults { decompress: 1.0, ..ZswapFaults::default() });
    assert_eq!((m.writeback(entry), used()), (Err(IO), 0));
    m.faults(ZswapFaults::default());
    assert_eq!(m.stats(["stored_pages", "zswpwb", "written_back_pages", "decompress_fail"]), [1, 0, 0, 1]);
    m.check();
    // WB5 fails, because the write of the device fails. The page stays in memory and is dirty.
    m.storage.set_plan(FaultPlan { fail_write_in: Some(1), ..FaultPlan::default() }).expect("a plan");
    assert_eq!((m.writeback(entry), used()), (Err(IO), 1));
    assert_eq!(m.stats(["stored_pages", "zswpwb", "written_back_pages", "write_errors"]), [0, 1, 0, 1]);
    let folio = m.swap.swapin_entry(entry, &Swapin::new(CPU, Orders::ZERO)).expect("cached");
    assert!(folio.has(FolioFlags::DIRTY) && !folio.has(FolioFlags::RECLAIM));
    drop(folio);
    assert_eq!(m.writeback(entry), Err(NOENT), "zswap does not have the page any more");
    m.take_back(entry, &text(1));
    // Every step succeeds.
    let entry = m.out(&text(2), a);
    assert_eq!((m.writeback(entry), used()), (Ok(()), 0), "the folio of the writeback is dropped");
    assert_eq!(m.stats(["stored_pages", "zswpwb", "written_back_pages", "pswpout"]), [0, 2, 1, 1]);
    assert_eq!(m.read(a, "memory.current"), 0);
    m.take_back(entry, &text(2));
    assert_eq!(m.stats(["pswpin", "zswpin"]), [1, 0]);
    // WB1 fails, because the slot is free.
    let entry = m.out(&text(3), a);
    m.swap.put(entry, 1, CPU).expect("one reference");
    assert_eq!(m.writeback(entry), Err(NOENT));
    m.assert_empty();
}

#[test]
fn a_failed_writeback_of_the_shrinker_is_counted_once() {
    let m = machine(4096, 20);
    let a = m.group(CssId::ROOT, "a");
    let entries: Vec<_> = (0..2).map(|tag| m.out(&text(tag), a)).collect();
    m.swap.shrink_memcg(a, CPU).expect_err("second chances");
    m.storage.set_plan(FaultPlan { fail_write_in: Some(1), ..FaultPlan::default() }).expect("a plan");
    assert_eq!(m.swap.shrink_memcg(a, CPU), Ok(1));
    assert_eq!(m.stats(["written_back_pages", "reject_reclaim_fail", "zswpwb"]), [1, 1, 2]);
    m.end(entries.into_iter().zip(0..), text);
}

#[test]
fn limits_of_a_group_hold_for_all_below_it() {
    let m = machine(4096, 20);
    let p = m.group(CssId::ROOT, "p");
    let (a, b) = (m.group(p, "a"), m.group(p, "b"));
    m.write(p, "memory.zswap.max", "8192");
    let mut stored: Vec<_> = (0..2).map(|tag| (m.out(&noise(tag), a), tag)).collect();
    assert_eq!([a, b, p].map(|css| m.read(css, "memory.zswap.current")), [8192, 0, 8192]);
    assert_eq!([a, b, p].map(|css| m.read(css, "memory.current")), [8192, 0, 8192], "zswap charges whole pages");
    // The zswap limit of group p, the parent of a and b, refuses the page of b, so the page is written to the device.
    // Group b has no page in zswap to write back, and zswap does not write pages of a back to make room for b.
    let disk = m.out(&noise(2), b);
    assert_eq!(m.stats(["stored_pages", "pswpout", "written_back_pages", "pool_limit_hit"]), [2, 1, 0, 0]);
    // The first store of group a over the limit takes the second chance away from the pages of a. The second store
    // writes these pages back.
    stored.push((m.out(&noise(3), a), 3));
    assert_eq!(m.stats(["stored_pages", "written_back_pages"]), [2, 0]);
    stored.push((m.out(&noise(4), a), 4));
    assert_eq!(m.stats(["stored_pages", "written_back_pages"]), [1, 2], "the two older pages were written back");
    m.write(b, "memory.zswap.max", "0");
    let never = m.out(&text(5), b);
    assert_eq!(m.stat("stored_pages"), 1);
    m.check();
    m.take_back(disk, &noise(2));
    m.take_back(never, &text(5));
    m.end(stored, noise);
    assert_eq!([a, b, p].map(|css| m.read(css, "memory.current")), [0; 3]);
}

#[test]
fn the_worker_goes_round_the_groups_and_on_where_it_ended() {
    let m = machine(2000, 10);
    let groups = ["a", "b", "c"].map(|name| m.group(CssId::ROOT, name));
    let mut entries = Vec::new();
    for _ in 0..66 {
        groups.iter().for_each(|&css| entries.push(m.out(&noise(entries.len() as u64), css)));
    }
    let stored = || groups.map(|css| m.read(css, "memory.zswap.current") / PAGE_SIZE as u64);
    assert_eq!(stored(), [66; 3]);
    let limit = |percent: u32| m.options(|options| options.accept_threshold_percent = percent);
    // The worker scans 32 pages of each group in turn. The first scan of a page takes its second chance away, and the
    // next scan writes the page back.
    limit(95);
    assert_eq!(m.swap.zswap_shrink_worker(CPU), Ok(30));
    let first = stored();
    limit(80);
    assert_eq!(m.swap.zswap_shrink_worker(CPU), Ok(30));
    let second = stored();
    assert_eq!((first.iter().sum::<u64>(), second.iter().sum::<u64>()), (168, 138));
    let shrunk = |from: [u64; 3], to: [u64; 3]| [0, 1, 2].map(|i| from[i] > to[i]);
    assert_ne!(shrunk([66; 3], first), shrunk(first, second), "the worker goes on with another group");
    m.end(entries.into_iter().zip(0..), noise);
}

#[test]
fn what_a_dead_group_left_does_not_keep_the_pools_full() {
    let m = machine(640, 10);
    let a = m.group(CssId::ROOT, "a");
    let entries: Vec<_> = (0..64).map(|tag| m.out(&noise(tag), a)).collect();
    let disk = m.out(&noise(64), CssId::ROOT);
    assert_eq!(m.stats(["stored_pages", "pool_limit_hit"]), [64, 1]);
    m.swap.remove_group(a, CPU).expect("no tasks");
    assert_eq!(m.swap.shrink_memcg(a, CPU), Err(SwapError::NothingToShrink), "a removed group is not shrunk by name");
    // The store that zswap refused above queued the worker.
    assert!(m.swap.run_workers() > 0);
    assert!(m.stat("stored_pages") <= 57, "the worker stops at the accept threshold");
    let again = m.out(&noise(65), CssId::ROOT);
    assert_eq!(m.stat("pswpout"), 1 + m.stat("written_back_pages"), "zswap stored the page");
    m.check();
    m.end(entries.into_iter().chain([disk, again]).zip(0..), noise);
}

#[test]
fn the_worker_runs_only_for_a_store_that_was_refused_and_gives_up() {
    let m = machine(640, 10);
    let a = m.group(CssId::ROOT, "a");
    let entries: Vec<_> = (0..64).map(|tag| m.out(&noise(tag), a)).collect();
    m.swap.run_workers();
    assert_eq!(m.stats(["written_back_pages", "stored_pages"]), [0, 64], "no store was refused");
    m.write(a, "memory.zswap.writeback", "0");
    m.try_out(&noise(64), a).expect_err("full, and it may go nowhere else");
    m.swap.run_workers();
    assert_eq!(m.stats(["written_back_pages", "reject_reclaim_fail"]), [0, 0], "no entry may be written back");
    m.write(a, "memory.zswap.writeback", "1");
    m.storage.set_plan(FaultPlan { write_error_probability: 1.0, ..FaultPlan::default() }).expect("a plan");
    let failed = m.try_out(&noise(64), a).expect_err("full, and the device fails");
    assert_eq!(failed.errno(), IO);
    m.swap.run_workers();
    let [written, rejected] = m.stats(["written_back_pages", "reject_reclaim_fail"]);
    assert!(written == 0 && (1..=16 * 32).contains(&rejected), "{rejected} failures");
    m.storage.set_plan(FaultPlan::default()).expect("a plan");
    m.end(entries.into_iter().zip(0..), noise);
}

#[test]
fn reclaim_writes_back_a_share_when_the_shrinker_is_on() {
    let zswap = Some(ZswapOptions { is_shrinker_enabled: true, max_pool_percent: 50, ..ZswapOptions::default() });
    let config = Config { memory_pages: 4096, zswap, memcg: Some(Hierarchy::V2), ..Config::new(1, Profile::Newest) };
    let m = machine_with(config);
    let a = m.group(CssId::ROOT, "a");
    let entries: Vec<_> = (0..64).map(|tag| m.out(&noise(tag), a)).collect();
    let ask = |text: &str| m.swap.memcg_write(a, "memory.reclaim", text, false, CPU).map_err(|error| error.errno());
    // Reclaim scans at falling priorities down to 0, so a page loses its second chance in one scan and is written
    // back in a later scan.
    ask("64K").expect_or_again();
    let written = m.stat("written_back_pages");
    assert!(written > 0, "reclaim writes pages of zswap back");
    assert_eq!(m.read(a, "memory.zswap.current"), (64 - written) * PAGE_SIZE as u64);
    m.options(|options| options.is_shrinker_enabled = false);
    ask("64K").expect_or_again();
    assert_eq!(m.stat("written_back_pages"), written, "the shrinker is off");
    m.check();
    m.end(entries.into_iter().zip(0..), noise);
}

/// The result of a write to `memory.reclaim`. The result is EAGAIN when reclaim freed fewer pages than requested.
trait OrAgain {
    fn expect_or_again(self);
}

impl OrAgain for Result<(), i32> {
    fn expect_or_again(self) {
        assert!(matches!(self, Ok(()) | Err(AGAIN)), "{self:?}");
    }
}

#[test]
fn random_programs_with_failures_lose_nothing_and_every_figure_is_right() {
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let m = machine(rng.random_range(512..3000), rng.random_range(1..20));
        let groups = [CssId::ROOT, m.group(CssId::ROOT, "a"), m.group(CssId::ROOT, "b")];
        m.write(groups[1], "memory.zswap.max", "64K");
        let mut live: Vec<(SwpEntry, u64)> = Vec::new();
        for step in 0..300u64 {
            let css = *groups.choose(&mut rng).expect("the list is not empty");
            match rng.random_range(0..20) {
                0..8 => {
                    let log2 = *[0, 0, 0, 1, 2, 4].choose(&mut rng).expect("the list is not empty");
                    let tags: Vec<u64> =
                        (0..1 << log2).map(|i| (step << 8 | i) << 2 | rng.random_range(0..4)).collect();
                    let data: Vec<u8> = tags.iter().flat_map(|&tag| page_of(tag)).collect();
                    if let Ok(entry) = m.try_out(&data, css) {
                        live.extend(tags.into_iter().zip(0..).map(|(tag, i)| (entry.plus(i), tag)));
                    }
                }
                8..13 if !live.is_empty() => {
                    let (entry, tag) = live.swap_remove(rng.random_range(0..live.len()));
                    match m.swap_in(entry, 0) {
                        Ok(folio) => {
                            assert!(
                                *folio.folio().bytes().expect("no views") == *page_of(tag),
                                "seed {seed} step {step}"
                            );
                            m.swap.folio_unmap(folio, CPU).expect("a cpu");
                        }
                        Err(error) => {
                            assert_eq!(error.errno(), IO, "seed {seed} step {step}: {error}");
                            live.push((entry, tag));
                        }
                    }
                }
                13 if !live.is_empty() => {
                    let (entry, _) = live.swap_remove(rng.random_range(0..live.len()));
                    m.swap.put(entry, 1, CPU).expect("one reference");
                }
                14 => drop(m.swap.shrink_memcg(css, CPU)),
                15 if !live.is_empty() => drop(m.writeback(live.choose(&mut rng).expect("the list is not empty").0)),
                16 => drop(m.swap.run_workers()),
                17 => {
                    let mut chance = || if rng.random_bool(0.5) { 0.0 } else { 0.3 };
                    m.faults(ZswapFaults {
                        entry_alloc: chance(),
                        pool_alloc: chance(),
                        compress: chance(),
                        decompress: chance(),
                        seed,
                    });
                    let (write_error_probability, read_error_probability) = (chance(), chance());
                    let plan = FaultPlan { write_error_probability, read_error_probability, ..FaultPlan::default() };
                    m.storage.set_plan(plan).expect("a plan");
                }
                18 => m.options(|options| options.is_enabled = !options.is_enabled),
                _ => drop(m.swap.shrink_swap_cache(u64::MAX, CPU)),
            }
            m.check();
        }
        m.faults(ZswapFaults::default());
        m.storage.set_plan(FaultPlan::default()).expect("a plan");
        m.end(live, page_of);
    }
}

#[test]
fn four_threads_keep_every_byte_while_pages_are_written_back_under_them() {
    const THREADS: u16 = 4;
    let zswap = ZswapOptions { max_pool_percent: 1, is_shrinker_enabled: true, ..ZswapOptions::default() };
    let m = machine_with(Config {
        memcg: Some(Hierarchy::V2),
        memory_pages: 8192,
        zswap: Some(zswap),
        ..Config::new(usize::from(THREADS) + 1, Profile::Newest)
    });
    let written = AtomicU64::new(0);
    let is_enough = || m.stat("zswpin") > 0 && m.stat("pool_limit_hit") > 0 && written.load(Ordering::Relaxed) > 0;
    let goes_on = load(is_enough);
    let groups: Vec<CssId> = (0..THREADS).map(|cpu| m.group(CssId::ROOT, &format!("cpu {cpu}"))).collect();
    // Group 0 has a limit on its memory, and group 1 has a limit on its pages in zswap.
    m.write(groups[0], "memory.max", "2M");
    m.write(groups[1], "memory.zswap.max", "256K");
    let steps: u64 = std::thread::scope(|scope| {
        let spawn = |(&css, cpu)| {
            let (m, goes_on) = (&m, &goes_on);
            scope.spawn(move || Load { css, ..Load::new(cpu, 1024) }.run(&m.swap, goes_on))
        };
        let threads: Vec<_> = groups.iter().zip(0..).map(spawn).collect();
        while goes_on() {
            for &css in &groups {
                written.fetch_add(m.swap.shrink_memcg(css, CpuId(THREADS)).unwrap_or(0), Ordering::Relaxed);
            }
            std::thread::yield_now();
        }
        threads.into_iter().map(|thread| thread.join().expect("no thread panicked")).sum()
    });
    println!("{steps} steps, {} pages written back", written.load(Ordering::Relaxed));
    assert!(is_enough(), "zswap was read, was full, and wrote back");
    m.swap.shrink_swap_cache(u64::MAX, CPU).expect("a cpu");
    m.assert_empty();
}
