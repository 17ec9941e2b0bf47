//! Reclaim end to end: address spaces that memory has no room for, on a device that has.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::mm::{Mm, Pte, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::storage::{FaultPlan, Faulty, Ram, SwapStorage};
use swapcore::workingset::LruList;
use swapcore::{Config, CpuId, Order, Orders, Profile, Swap, SwpEntry};

use crate::common::{CPU, stat, swap_on, used_slots};

const MEMORY_PAGES: u64 = 1024;

fn swap_with(nr_cpus: usize, device_pages: u32) -> Arc<Swap> {
    short_of_memory(nr_cpus, Arc::new(Ram::new(device_pages).expect("memory")))
}

fn short_of_memory(nr_cpus: usize, storage: Arc<dyn SwapStorage>) -> Arc<Swap> {
    swap_on(Config { memory_pages: MEMORY_PAGES, ..Config::new(nr_cpus, Profile::Newest) }, storage)
}

/// An address space with one mapping; its first page.
fn space(swap: &Arc<Swap>, nr_pages: u64, options: VmaOptions) -> (Mm, Vpn) {
    let mm = Mm::new(swap.clone());
    let first = mm.mmap(nr_pages, options).expect("a mapping").pages().start;
    (mm, first)
}

fn write(mm: &Mm, page: Vpn, tag: u64, cpu: CpuId) {
    // The last bytes too: a page is more than its first word.
    mm.write(page.0 * PAGE_SIZE as u64, &tag.to_ne_bytes(), cpu).expect("memory is made");
    mm.write((page.0 + 1) * PAGE_SIZE as u64 - 8, &(!tag).to_ne_bytes(), cpu).expect("memory is made");
}

fn read(mm: &Mm, page: Vpn, cpu: CpuId) -> u64 {
    let mut words = [[0; 8]; 2];
    mm.read(page.0 * PAGE_SIZE as u64, &mut words[0], cpu).expect("memory is made");
    mm.read((page.0 + 1) * PAGE_SIZE as u64 - 8, &mut words[1], cpu).expect("memory is made");
    let [tag, check] = words.map(u64::from_ne_bytes);
    assert!(tag == !check || (tag, check) == (0, 0), "both ends of page {} are of one write", page.0);
    tag
}

fn is_present(mm: &Mm, page: Vpn) -> bool {
    matches!(mm.vma_of(page).expect("mapped").pte(page), Pte::Present { .. })
}

/// Leaves room for thousands of pages, and none for two that follow each other.
fn take_every_second_slot(swap: &Swap) -> Vec<SwpEntry> {
    let mut on_cpu = swap.on_cpu(CPU).expect("a CPU");
    let all: Vec<_> = std::iter::from_fn(|| on_cpu.alloc(Order::ZERO).ok()).collect();
    let (odd, even): (Vec<_>, Vec<_>) = all.into_iter().partition(|entry| entry.offset().0 % 2 == 1);
    even.iter().for_each(|&entry| on_cpu.put(entry, 1).expect("allocated"));
    odd
}

/// Memory, slots and lists are as empty as they were.
fn assert_empty(swap: &Swap) {
    swap.shrink_swap_cache(u64::MAX, CPU).expect("a CPU");
    swap.check().expect("every invariant");
    let memory = swap.memory_of_folios();
    assert_eq!(
        (used_slots(swap), memory.nr_used_pages(), swap.nr_swapcache_pages()),
        (0, 0, 0),
        "slots, pages, cached"
    );
    assert_eq!(LruList::ALL.map(|list| memory.lruvec().lru_pages(list)), [0; 5]);
}

#[test]
fn an_address_space_larger_than_memory_keeps_its_content() {
    for anon_order in [0, 4] {
        let swap = swap_with(1, 8192);
        let orders = if anon_order == 0 { Orders::ZERO } else { Orders::from_bits(0b1_0100).expect("a mask") };
        let (mm, first) = space(&swap, 4000, VmaOptions { anon_order, orders, ..VmaOptions::default() });
        for round in 1..=3 {
            for page in 0..4000 {
                if round > 1 {
                    assert_eq!(read(&mm, Vpn(first.0 + page), CPU), (round - 1) * 10_000 + page);
                }
                write(&mm, Vpn(first.0 + page), round * 10_000 + page, CPU);
            }
            swap.check().expect("every invariant");
        }
        let (resident, swapped) = mm.nr_pages();
        assert_eq!(resident + swapped, 4000);
        assert!(resident <= MEMORY_PAGES && resident > MEMORY_PAGES / 2, "{resident} pages are resident");
        let (scanned, freed) = (stat(&swap, "pgscan"), stat(&swap, "pgsteal"));
        assert!(freed >= 3 * (4000 - MEMORY_PAGES) && scanned >= freed, "{freed} of {scanned} pages");
        assert!(stat(&swap, "workingset_refault_anon") >= 2 * (4000 - MEMORY_PAGES));
        drop(mm);
        assert_empty(&swap);
    }
}

#[test]
fn without_slots_memory_runs_out_and_nothing_is_lost() {
    let swap = swap_with(1, 512);
    let (mm, first) = space(&swap, 2000, VmaOptions::default());
    let mut nr_written = 0;
    while mm.write((first.0 + nr_written) * PAGE_SIZE as u64, &nr_written.to_ne_bytes(), CPU).is_ok() {
        nr_written += 1;
    }
    // Every page of memory, and every slot but the header's.
    assert_eq!(nr_written, MEMORY_PAGES + 511);
    assert_eq!(mm.nr_pages(), (MEMORY_PAGES, 511));
    assert!(stat(&swap, "pgactivate") > 0, "a page without a slot is worth keeping");
    swap.check().expect("every invariant");
    mm.zap(first..Vpn(first.0 + 600), CPU).expect("mapped");
    let mut bytes = [0; 8];
    for page in 600..nr_written {
        mm.read((first.0 + page) * PAGE_SIZE as u64, &mut bytes, CPU).expect("there is room again");
        assert_eq!(u64::from_ne_bytes(bytes), page);
    }
    drop(mm);
    assert_empty(&swap);
}

#[test]
fn writes_that_fail_cost_a_round_and_no_content() {
    let faulty = Faulty::new(Arc::new(Ram::new(8192).expect("memory")), 3);
    let plan = FaultPlan { write_error_probability: 0.3, ..FaultPlan::default() };
    faulty.set_plan(plan).expect("a good plan");
    let swap = short_of_memory(1, Arc::new(faulty));
    let (mm, first) = space(&swap, 3000, VmaOptions { anon_order: 2, ..VmaOptions::default() });
    for round in 0..2 {
        for page in 0..3000 {
            assert_eq!(read(&mm, Vpn(first.0 + page), CPU), if round == 0 { 0 } else { page });
            write(&mm, Vpn(first.0 + page), round + page, CPU);
        }
        (0..3000).for_each(|page| write(&mm, Vpn(first.0 + page), page, CPU));
    }
    assert!(stat(&swap, "write_errors") > 100);
    drop(mm);
    assert_empty(&swap);
}

#[test]
fn pages_that_forks_share_leave_all_of_them() {
    let swap = swap_with(1, 8192);
    let options = VmaOptions { anon_order: 2, ..VmaOptions::default() };
    let (parent, first) = space(&swap, 400, options);
    (0..400).for_each(|page| write(&parent, Vpn(first.0 + page), page + 1, CPU));
    let child = parent.fork(CPU).expect("room");
    let grandchild = child.fork(CPU).expect("room");
    // A page of its own in the child; where the others have it, it is one mapping of the folio short.
    write(&child, first, 7000, CPU);
    let (other, start) = space(&swap, 3000, VmaOptions::default());
    (0..3000).for_each(|page| write(&other, Vpn(start.0 + page), page, CPU));
    swap.check().expect("every invariant");
    let mut nr_shared = 0;
    for page in (1..400).map(|page| Vpn(first.0 + page)) {
        let entries: Vec<Option<SwpEntry>> =
            [&parent, &child, &grandchild].map(|mm| mm.swap_entry(page).expect("mapped")).to_vec();
        assert!(entries.iter().all(|entry| *entry == entries[0]), "page {} is out of all or of none", page.0);
        if let Some(entry) = entries[0] {
            nr_shared += 1;
            assert_eq!(swap.on_cpu(CPU).expect("a CPU").swap_count(entry), Ok(3));
        }
    }
    assert!(nr_shared > 300, "{nr_shared} pages are out");
    assert_eq!((read(&parent, first, CPU), read(&child, first, CPU), read(&grandchild, first, CPU)), (1, 7000, 1));
    for page in 1..400 {
        for mm in [&grandchild, &parent, &child] {
            assert_eq!(read(mm, Vpn(first.0 + page), CPU), page + 1);
        }
        write(&child, Vpn(first.0 + page), page + 9000, CPU);
        assert_eq!(read(&parent, Vpn(first.0 + page), CPU), page + 1);
    }
    drop(parent);
    (1..400).for_each(|page| assert_eq!(read(&child, Vpn(first.0 + page), CPU), page + 9000));
    drop((child, grandchild, other));
    assert_empty(&swap);
}

#[test]
fn a_large_folio_without_a_run_goes_page_by_page() {
    let swap = swap_with(1, 8192);
    let taken = take_every_second_slot(&swap);
    let (mm, first) = space(&swap, 2048, VmaOptions { anon_order: 4, ..VmaOptions::default() });
    let child = {
        (0..512).for_each(|page| write(&mm, Vpn(first.0 + page), page, CPU));
        mm.fork(CPU).expect("room")
    };
    (512..2048).for_each(|page| write(&mm, Vpn(first.0 + page), page, CPU));
    assert!(stat(&swap, "hugepages-64kB.swpout_fallback") >= (2048 - MEMORY_PAGES) / 16);
    assert_eq!(stat(&swap, "hugepages-64kB.swpout"), 0);
    swap.check().expect("every invariant");
    (0..2048).for_each(|page| assert_eq!(read(&mm, Vpn(first.0 + page), CPU), page));
    (0..512).for_each(|page| assert_eq!(read(&child, Vpn(first.0 + page), CPU), page));
    drop((mm, child));
    taken.into_iter().for_each(|entry| swap.put(entry, 1, CPU).expect("allocated"));
    assert_empty(&swap);
}

#[test]
fn pages_in_use_stay_while_others_pass_by() {
    const HOT: u64 = 700;
    let swap = swap_with(1, 16384);
    let (hot, hot_first) = space(&swap, HOT, VmaOptions::default());
    let (cold, cold_first) = space(&swap, 8000, VmaOptions::default());
    let touch_hot = || (0..HOT).for_each(|page| assert_eq!(read(&hot, Vpn(hot_first.0 + page), CPU), page));
    (0..HOT).for_each(|page| write(&hot, Vpn(hot_first.0 + page), page, CPU));
    let mut nr_early_faults = 0;
    for page in 0..8000 {
        write(&cold, Vpn(cold_first.0 + page), page, CPU);
        if page % 100 == 0 {
            touch_hot();
        }
        if page == 2000 {
            // When memory ran out first, every page had been touched, and the oldest went.
            nr_early_faults = stat(&swap, "pgmajfault");
        }
    }
    let nr_hot = (0..HOT).filter(|&page| is_present(&hot, Vpn(hot_first.0 + page))).count();
    assert_eq!(nr_hot as u64, HOT, "pages that are touched all the time");
    assert!(nr_early_faults <= HOT, "{nr_early_faults}: each left once at most");
    assert_eq!(stat(&swap, "pgmajfault"), nr_early_faults, "none of them left since");
    assert!(stat(&swap, "pgactivate") >= HOT);
    // Now they are idle. They are more than half of memory, so some become inactive and go.
    for page in 0..8000 {
        read(&cold, Vpn(cold_first.0 + page), CPU);
    }
    assert!(stat(&swap, "pgdeactivate") > 0);
    let lists = swap.memory_of_folios().lruvec();
    let [inactive, active] = [LruList::InactiveAnon, LruList::ActiveAnon].map(|list| lists.lru_pages(list));
    assert!(inactive >= active, "{inactive} inactive, {active} active pages");
    let nr_hot = (0..HOT).filter(|&page| is_present(&hot, Vpn(hot_first.0 + page))).count() as u64;
    assert!(nr_hot <= MEMORY_PAGES / 2, "{nr_hot} idle pages are still in memory");
    touch_hot();
    drop((hot, cold));
    assert_empty(&swap);
}

#[test]
fn a_locked_mapping_and_a_handle_stay_in_memory() {
    let swap = swap_with(1, 8192);
    let (locked, first) = space(&swap, 100, VmaOptions { is_locked: true, ..VmaOptions::default() });
    (0..100).for_each(|page| write(&locked, Vpn(first.0 + page), page, CPU));
    let handle = swapcore::MappedFolio::map(swap.folio_with(Order::new(3).expect("an order"), b"mine").expect("room"));
    let (other, start) = space(&swap, 5000, VmaOptions::default());
    (0..5000).for_each(|page| write(&other, Vpn(start.0 + page), page, CPU));
    assert_eq!(locked.nr_pages(), (100, 0));
    assert_eq!(swap.memory_of_folios().lruvec().lru_pages(LruList::Unevictable), 100);
    assert_eq!(&handle.folio().bytes().expect("no views")[..4], b"mine");
    swap.check().expect("every invariant");
    swap.folio_unmap(handle, CPU).expect("mapped");
    drop((locked, other));
    assert_empty(&swap);
}

#[test]
fn the_same_accesses_end_the_same() {
    let run = || {
        let swap = swap_with(1, 8192);
        let (mm, first) = space(&swap, 3000, VmaOptions { anon_order: 3, ..VmaOptions::default() });
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for tag in 0..20_000 {
            let page = Vpn(first.0 + rng.random_range(0..3000));
            if rng.random_ratio(1, 3) { write(&mm, page, tag, CPU) } else { _ = read(&mm, page, CPU) }
        }
        let places: Vec<_> = (0..3000).map(|page| mm.swap_entry(Vpn(first.0 + page)).expect("mapped")).collect();
        (places, swap.stats())
    };
    assert!(run() == run());
}

#[test]
fn threads_fault_while_memory_is_short() {
    let swap = swap_with(4, 16384);
    hammer(&swap);
    assert!(stat(&swap, "hugepages-32kB.swpout") > 0);
    assert_empty(&swap);
}

#[test]
fn threads_fault_while_memory_is_short_and_large_folios_are_split() {
    let swap = swap_with(4, 16384);
    let taken = take_every_second_slot(&swap);
    hammer(&swap);
    assert!(stat(&swap, "hugepages-32kB.swpout_fallback") > 0);
    taken.into_iter().for_each(|entry| swap.put(entry, 1, CPU).expect("allocated"));
    assert_empty(&swap);
}

/// Four threads write, read, fork and page out more pages than memory has, and compare every page.
fn hammer(swap: &Arc<Swap>) {
    const THREADS: u16 = 4;
    const PAGES: u64 = 800;
    std::thread::scope(|scope| {
        for cpu in (0..THREADS).map(CpuId) {
            let swap = swap.clone();
            scope.spawn(move || {
                let mut rng = ChaCha8Rng::seed_from_u64(cpu.0.into());
                let anon_order = if cpu.0 % 2 == 0 { 3 } else { 0 };
                let orders = Orders::from_bits(if cpu.0 < 2 { 0b1100 } else { 0 }).expect("a mask");
                let (mm, first) = space(&swap, PAGES, VmaOptions { anon_order, orders, ..VmaOptions::default() });
                let (mut tags, mut child) = (vec![0; PAGES as usize], None);
                for tag in 1..=15_000 {
                    let at = rng.random_range(0..PAGES);
                    let page = Vpn(first.0 + at);
                    match rng.random_range(0..100) {
                        0..40 => {
                            write(&mm, page, tag, cpu);
                            tags[at as usize] = tag;
                        }
                        40..97 => assert_eq!(read(&mm, page, cpu), tags[at as usize], "page {at} at {tag} on {cpu:?}"),
                        97 => _ = mm.pageout(page..Vpn(first.0 + (at + 40).min(PAGES)), cpu).expect("mapped"),
                        98 if rng.random_ratio(1, 20) => {
                            child = Some((mm.fork(cpu).expect("room"), tags.clone()));
                        }
                        _ => {
                            if let Some((child, tags)) = &child {
                                assert_eq!(read(child, page, cpu), tags[at as usize], "the child's page {at}");
                            }
                        }
                    }
                }
                drop(child);
                (0..PAGES).for_each(|at| assert_eq!(read(&mm, Vpn(first.0 + at), cpu), tags[at as usize]));
            });
        }
        scope.spawn(|| {
            for _ in 0..50 {
                swap.check().expect("every invariant at any time");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
    });
    assert!(stat(swap, "pgsteal") > 0);
}
