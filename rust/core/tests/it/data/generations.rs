//! End-to-end tests of reclaim by generations (MGLRU). The tests run the same accesses under the rules `classic` and
//! `mglru` and compare the results.

use std::collections::HashMap;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::memcg::{Hierarchy, MemcgSwitches};
use swapcore::mm::{Access, VmaOptions};
use swapcore::workingset::{LruList, LruType, RefaultContext};
use swapcore::{Config, MappedFolio, Order, Orders, Profile, Swap, Swapin, Switches};

use crate::common::{CPU, Load, Space, assert_empty, check_now_and_then, order, ram, stat, swap_on};

const MEMORY_PAGES: u64 = 1024;
const RULES: [&str; 2] = ["classic", "mglru"];

fn machine(rule: &str, nr_cpus: usize, memcg: Option<MemcgSwitches>) -> Arc<Swap> {
    let plain = Config::new(nr_cpus, Profile::Newest);
    let switches = Switches { memcg: memcg.unwrap_or(MemcgSwitches::CANON), ..plain.switches };
    let memcg = memcg.map(|_| Hierarchy::V2);
    let config = Config { memory_pages: MEMORY_PAGES, workingset: rule.into(), switches, memcg, ..plain };
    swap_on(config, ram(16384))
}

/// One address space with one mapping. Each process has its own subsystem.
struct Process {
    swap: Arc<Swap>,
    space: Space,
}

impl Process {
    fn new(rule: &str, nr_pages: u64) -> Self {
        let swap = machine(rule, 1, None);
        let space = Space::new(&swap, CssId::ROOT, nr_pages, VmaOptions::default());
        Self { swap, space }
    }

    fn touch(&self, pages: impl IntoIterator<Item = u64>) {
        let touch = |page| self.space.mm.touch(self.space.page(page), Access::Write, CPU).expect("room for it");
        pages.into_iter().for_each(|page| drop(touch(page)));
    }

    fn major_faults(&self) -> u64 {
        stat(&self.swap, "pgmajfault")
    }

    fn max_seq(&self) -> u64 {
        self.swap.memory_of_folios().lruvec().lrugen.max_seq()
    }

    /// Ends the process and checks that no slot and no page stays in use.
    fn end(self) {
        self.swap.check().expect("every invariant");
        drop(self.space);
        assert_empty(&self.swap);
    }
}

#[test]
fn pages_in_use_survive_a_stream_and_generations_scan_it_once() {
    const HOT: u64 = 600;
    let scanned = RULES.map(|rule| {
        let process = Process::new(rule, 10_000);
        process.touch(0..HOT);
        for start in (0..8000).step_by(100) {
            process.touch(HOT + start..HOT + start + 100);
            process.touch(0..HOT);
        }
        assert_eq!(process.space.nr_present(0..HOT), HOT, "{rule}: hot pages in memory");
        // Each hot page is swapped out once, because all hot pages are new when memory runs out for the first time.
        // With the classic rule a hot page may go out a second time, because the scan of the active list clears
        // accessed bits.
        let most_faults = if rule == "mglru" { HOT } else { 2 * HOT };
        assert!((HOT..=most_faults).contains(&process.major_faults()), "{rule}: {} faults", process.major_faults());
        let scanned = stat(&process.swap, "pgscan");
        process.end();
        scanned
    });
    // A page with one touch is scanned twice under the classic rule, because the first scan moves the page back to
    // the head of the list. `mglru` scans such a page once, because aging clears the accessed bit before the scan.
    assert!(scanned[1] * 2 < scanned[0], "{scanned:?} pages scanned");
}

#[test]
fn a_working_set_that_is_over_goes_sooner_by_generations() {
    let faults = RULES.map(|rule| {
        let process = Process::new(rule, 10_000);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        // 90 % of the touches go to a working set of 600 pages, which fits in memory. After every 10,000 touches the
        // working set is replaced by another set.
        for i in 0..120_000 {
            let set = i / 10_000 % 4 * 600;
            process.touch([if i % 10 == 0 { 2400 + i / 10 % 7000 } else { set + rng.random_range(0..600) }]);
        }
        let faults = process.major_faults();
        process.end();
        faults
    });
    // `mglru` has fewer faults, because a generation of an old set ages as a whole. Under the classic rule, active
    // pages of an old set become inactive only in batches, when few inactive pages are left.
    assert!(faults[1] * 10 < faults[0] * 9, "{faults:?} major faults");
}

#[test]
fn a_stream_longer_than_memory_takes_idle_pages_of_old_generations() {
    const HOT: u64 = 400;
    let nr_present = RULES.map(|rule| {
        let process = Process::new(rule, 20_000);
        for start in (0..8000).step_by(50) {
            process.touch(0..HOT);
            process.touch(HOT + start..HOT + start + 50);
        }
        // The last 4,000 touches are all to pages of the stream, none to a hot page.
        process.touch(HOT + 8000..HOT + 12_000);
        let nr_present = process.space.nr_present(0..HOT);
        process.end();
        nr_present
    });
    // The classic rule takes active pages only while the inactive list is short, so the hot pages stay. Under `mglru`
    // every generation becomes the oldest generation, so the hot pages are evicted.
    assert_eq!(nr_present, [HOT, 0], "hot pages in memory, by rule");
}

#[test]
fn the_verdict_on_a_refault_is_a_matter_of_generations() {
    for (nr_streamed, is_recent) in [(20, true), (500, false), (6000, false)] {
        let process = Process::new("mglru", 20_000);
        let restored = || ["activate", "restore"].map(|what| stat(&process.swap, &format!("workingset_{what}_anon")));
        // Pages 0 to 9 are touched in every generation, so they belong to the working set.
        for start in (2000..8000).step_by(100) {
            process.touch(0..10);
            process.touch(start..start + 100);
        }
        process.touch(0..10);
        let before = restored();
        let (seq, refaults) = (process.max_seq(), stat(&process.swap, "workingset_refault_anon"));
        let nr_gens = process.swap.memory_of_folios().lruvec().lrugen.nr_gens(LruType::Anon);
        let out = process.space.mm.pageout(process.space.pages(0..10), CPU).expect("mapped");
        assert_eq!(out.reclaimed_pages, 10);
        process.touch(10_000..10_000 + nr_streamed);
        process.touch(0..10);
        assert_eq!(stat(&process.swap, "workingset_refault_anon"), refaults + 10, "every refault counts");
        let nr_restored = if is_recent { 10 } else { 0 };
        assert_eq!(restored(), before.map(|pages| pages + nr_restored), "{} generations on", process.max_seq() - seq);
        // At the eviction there are four generations, and the shadow stores the number of the oldest generation. One
        // more generation therefore makes the refault old.
        assert_eq!((process.max_seq() == seq, nr_gens), (is_recent, 4));
        process.end();
    }
}

#[test]
fn without_swap_space_nothing_ages() {
    let swap = machine("mglru", 1, Some(MemcgSwitches::CANON));
    let groups = swap.memcg().expect("on");
    let group = groups.create(CssId::ROOT, "g").expect("a name").css();
    swap.memcg_write(group, "memory.max", "1M", false, CPU).expect("a limit");
    swap.memcg_write(group, "memory.swap.max", "100K", false, CPU).expect("a limit");
    let space = Space::new(&swap, group, 1000, VmaOptions::default());
    // 256 pages fit in the group. The group may swap only 25 pages, and reclaim scans a group only if the group may
    // swap at least 64 pages.
    let touch = |&page: &u64| space.mm.touch(space.page(page), Access::Write, CPU).is_ok();
    let touched = (0..1000).take_while(touch).count();
    assert_eq!(touched, 256);
    assert_eq!((groups.get(group).lruvec().lrugen.max_seq(), stat(&swap, "pgscan")), (4, 0));
    drop(space);
    swap.check().expect("every invariant");
}

#[test]
fn migration_and_split_keep_folios_among_the_active() {
    let swap = machine("mglru", 1, None);
    let lists =
        || [LruList::InactiveAnon, LruList::ActiveAnon].map(|list| swap.memory_of_folios().lruvec().lru_pages(list));
    let order = order(2);
    let mapped = MappedFolio::map(swap.folio_with(order, b"data").expect("room"));
    assert!(mapped.folio().is_active(), "new pages are in the second youngest generation");
    let moved = swap.folio_migrate(mapped, CPU).expect("the folio has no other user");
    assert!(moved.folio().is_active() && lists() == [0, 4]);
    swap.check().expect("every invariant");
    let parts = swap.folio_split(moved, Order::ZERO, CPU).expect("the folio has no other user");
    assert!(parts.iter().all(|part| part.folio().is_active()) && lists() == [0, 4]);
    swap.check().expect("every invariant");
    // A folio that a fault swaps in is active. A folio that is swapped in with `RefaultContext::Other` is not active.
    for (context, is_active) in [(RefaultContext::Other, false), (RefaultContext::Fault, true)] {
        let entry = swap.swap_out(MappedFolio::map(swap.folio_with(order, b"out").expect("room")), CPU).expect("room");
        let how = Swapin { context, ..Swapin::new(CPU, Orders::from_bits(0b100).expect("a mask")) };
        let folio = swap.swapin_entry(entry, &how).expect("read");
        assert_eq!(folio.is_active(), is_active, "{context:?}");
        drop(folio);
        swap.put(entry, 4, CPU).expect("allocated");
    }
    parts.into_iter().for_each(|part| swap.folio_unmap(part, CPU).expect("mapped"));
    swap.check().expect("every invariant");
}

#[test]
fn the_same_accesses_end_the_same() {
    for rule in RULES {
        let run = || {
            let swap = machine(rule, 1, None);
            let options = VmaOptions { anon_order: 3, ..VmaOptions::default() };
            let space = Space::new(&swap, CssId::ROOT, 3000, options);
            let mut rng = ChaCha8Rng::seed_from_u64(4);
            for _ in 0..20_000 {
                let (page, is_write) = (rng.random_range(0..3000), rng.random_ratio(1, 3));
                space.mm.touch(space.page(page), Access::of(is_write), CPU).expect("room for it");
            }
            let places = (0..3000).map(|page| space.mm.swap_entry(space.page(page)).expect("mapped"));
            (places.collect::<Vec<_>>(), swap.stats())
        };
        assert!(run() == run(), "{rule}");
    }
}

/// Address spaces in several groups, and the expected word of each page.
struct World {
    swap: Arc<Swap>,
    groups: Vec<CssId>,
    spaces: Vec<(Space, HashMap<u64, u64>)>,
    rng: ChaCha8Rng,
}

const SPAN: u64 = 600;

impl World {
    fn space(&mut self) -> usize {
        self.rng.random_range(0..self.spaces.len())
    }

    fn spawn(&mut self) {
        let css = self.groups[self.rng.random_range(0..self.groups.len())];
        let anon_order = [0, 0, 2, 4][self.rng.random_range(0..4)];
        let orders = Orders::from_bits(0b1_0101).expect("a mask");
        let options =
            VmaOptions { anon_order, orders, is_locked: self.rng.random_ratio(1, 12), ..VmaOptions::default() };
        self.spaces.push((Space::new(&self.swap, css, SPAN, options), HashMap::new()));
    }

    /// Reads or writes neighbouring pages. If a charge is refused, the page keeps its content.
    fn sweep(&mut self) {
        let (at, tag) = (self.space(), self.rng.random_range(1..1_u64 << 40));
        let (start, len) = (self.rng.random_range(0..SPAN), self.rng.random_range(1..200));
        let is_write = self.rng.random_ratio(7, 8);
        let (space, tags) = &mut self.spaces[at];
        for page in start..(start + len).min(SPAN) {
            let address = space.address(page);
            if is_write && space.mm.write(address, &u64::to_ne_bytes(tag + page), CPU).is_ok() {
                tags.insert(page, tag + page);
            }
            let mut word = [0; 8];
            if space.mm.read(address, &mut word, CPU).is_ok() {
                assert_eq!(u64::from_ne_bytes(word), tags.get(&page).copied().unwrap_or(0), "page {page}");
            }
        }
    }

    fn create(&mut self) {
        let parent = self.groups[self.rng.random_range(0..self.groups.len())];
        let name = format!("g{}", self.rng.random_range(0..1_u64 << 40));
        if self.groups.len() < 6
            && let Ok(group) = self.swap.memcg().expect("on").create(parent, &name)
        {
            self.groups.push(group.css());
        }
    }

    fn limit(&mut self) {
        let group = self.groups[self.rng.random_range(0..self.groups.len())];
        let text = (self.rng.random_range(100..800) * PAGE_SIZE).to_string();
        let file = ["memory.max", "memory.high", "memory.low", "memory.reclaim"][self.rng.random_range(0..4)];
        let text = if self.rng.random_ratio(1, 4) && file != "memory.reclaim" { "max" } else { &text };
        // The result is ignored, because the write fails for root, which has no limits, and when reclaim frees too
        // few pages.
        let _ = self.swap.memcg_write(group, file, text, false, CPU);
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..50 => self.sweep(),
            50..60 if self.spaces.len() < 8 => self.spawn(),
            60..66 if self.spaces.len() < 8 => {
                let at = self.space();
                let (space, tags) = &self.spaces[at];
                let child = (space.fork(CPU), tags.clone());
                self.spaces.push(child);
            }
            66..72 if self.spaces.len() > 1 => {
                let at = self.space();
                self.spaces.swap_remove(at);
            }
            72..80 => {
                let (at, start) = (self.space(), self.rng.random_range(0..SPAN));
                let (space, _) = &self.spaces[at];
                let result = space.mm.pageout(space.pages(start..(start + 100).min(SPAN)), CPU);
                assert_eq!(result.is_err(), space.is_locked(), "{result:?}");
            }
            80..84 => {
                let (at, start) = (self.space(), self.rng.random_range(0..SPAN));
                let (space, tags) = &mut self.spaces[at];
                let pages = start..(start + 100).min(SPAN);
                let result = space.mm.zap(space.pages(pages.clone()), CPU);
                assert_eq!(result.is_err(), space.is_locked(), "{result:?}");
                pages.filter(|_| result.is_ok()).for_each(|page| _ = tags.remove(&page));
            }
            84..90 => self.create(),
            90..94 if self.groups.len() > 1 => {
                let group = self.groups.remove(self.rng.random_range(1..self.groups.len()));
                // The removal fails if the group has children or tasks.
                if self.swap.remove_group(group, CPU).is_err() {
                    self.groups.push(group);
                }
            }
            _ => self.limit(),
        }
    }
}

#[test]
fn random_programs_keep_every_invariant_after_each_step() {
    for seed in 0..12 {
        let memcg = MemcgSwitches { lru_reparent: seed % 2 == 1, ..MemcgSwitches::CANON };
        let swap = machine("mglru", 1, Some(memcg));
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World { swap: swap.clone(), groups: vec![CssId::ROOT], spaces: Vec::new(), rng };
        world.spawn();
        for step in 0..250 {
            world.step();
            swap.check().unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
        }
        let root = swap.memory_of_folios().lruvec();
        assert!(stat(&swap, "pgsteal") > 0 && root.lrugen.max_seq() > 4, "seed {seed}: memory was short");
        // The test drops all address spaces but one and removes the limits, so that all pages of this address space
        // can be swapped in.
        world.spaces.truncate(1);
        for &group in &world.groups[1..] {
            swap.memcg_write(group, "memory.max", "max", false, CPU).expect("it is online");
        }
        let device = swap.devices().into_iter().next().expect("it is on");
        swap.swapoff(&device, |entry, _| world.spaces[0].0.mm.unuse(entry.ty(), CPU)).expect("room");
        swap.check().expect("every invariant");
        drop(world);
        assert_empty(&swap);
    }
}

#[test]
fn threads_fault_while_generations_age() {
    let swap = machine("mglru", 4, None);
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let (mut steps, swap) = (0..10_000, &swap);
            scope.spawn(move || Load::new(cpu, 800).run(swap, || steps.next().is_some()));
        }
        scope.spawn(|| check_now_and_then(&swap));
    });
    assert!(stat(&swap, "pgsteal") > 0 && swap.memory_of_folios().lruvec().lrugen.max_seq() > 4);
    assert_empty(&swap);
}
