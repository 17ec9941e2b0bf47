//! End-to-end tests of reclaim. The address spaces are larger than memory, and the device has room for their pages.

use std::sync::Arc;

use swapcore::base::types::CssId;
use swapcore::mm::VmaOptions;
use swapcore::storage::{FaultPlan, Faulty, SwapStorage};
use swapcore::workingset::LruList;
use swapcore::{Config, Order, Orders, Profile, Swap, SwpEntry};

use crate::common::{CPU, Load, Space, assert_empty, check_now_and_then, order, ram, stat, swap_on};

const MEMORY_PAGES: u64 = 1024;

fn swap_with(nr_cpus: usize, device_pages: u32) -> Arc<Swap> {
    short_of_memory(nr_cpus, ram(device_pages))
}

fn short_of_memory(nr_cpus: usize, storage: Arc<dyn SwapStorage>) -> Arc<Swap> {
    swap_on(Config { memory_pages: MEMORY_PAGES, ..Config::new(nr_cpus, Profile::Newest) }, storage)
}

fn space_of(swap: &Arc<Swap>, nr_pages: u64, options: VmaOptions) -> Space {
    Space::new(swap, CssId::ROOT, nr_pages, options)
}

fn write(space: &Space, page: u64, tag: u64) {
    // The test writes both ends of the page, so that it notices a page that is only partly restored.
    space.mm.write(space.address(page), &tag.to_ne_bytes(), CPU).expect("reclaim makes room");
    space.mm.write(space.address(page + 1) - 8, &(!tag).to_ne_bytes(), CPU).expect("reclaim makes room");
}

fn read(space: &Space, page: u64) -> u64 {
    let mut words = [[0; 8]; 2];
    space.mm.read(space.address(page), &mut words[0], CPU).expect("reclaim makes room");
    space.mm.read(space.address(page + 1) - 8, &mut words[1], CPU).expect("reclaim makes room");
    let [tag, check] = words.map(u64::from_ne_bytes);
    assert!(tag == !check || (tag, check) == (0, 0), "the ends of page {page} are of different writes");
    tag
}

/// Allocates every second slot of the device, so that no two free slots are neighbours. Returns the allocated slots.
fn take_every_second_slot(swap: &Swap) -> Vec<SwpEntry> {
    let mut on_cpu = swap.on_cpu(CPU).expect("a CPU");
    let all: Vec<_> = std::iter::from_fn(|| on_cpu.alloc(Order::ZERO).ok()).collect();
    let (odd, even): (Vec<_>, Vec<_>) = all.into_iter().partition(|entry| entry.offset().0 % 2 == 1);
    even.iter().for_each(|&entry| on_cpu.put(entry, 1).expect("allocated"));
    odd
}

#[test]
fn an_address_space_larger_than_memory_keeps_its_content() {
    for anon_order in [0, 4] {
        let swap = swap_with(1, 8192);
        let orders = if anon_order == 0 { Orders::ZERO } else { Orders::from_bits(0b1_0100).expect("a mask") };
        let space = space_of(&swap, 4000, VmaOptions { anon_order, orders, ..VmaOptions::default() });
        for round in 1..=3 {
            for page in 0..4000 {
                if round > 1 {
                    assert_eq!(read(&space, page), (round - 1) * 10_000 + page);
                }
                write(&space, page, round * 10_000 + page);
            }
            swap.check().expect("every invariant");
        }
        let (resident, swapped) = space.mm.nr_pages();
        assert_eq!(resident + swapped, 4000);
        assert!(resident <= MEMORY_PAGES && resident > MEMORY_PAGES / 2, "{resident} pages are resident");
        let (scanned, freed) = (stat(&swap, "pgscan"), stat(&swap, "pgsteal"));
        assert!(freed >= 3 * (4000 - MEMORY_PAGES) && scanned >= freed, "{freed} of {scanned} pages");
        assert!(stat(&swap, "workingset_refault_anon") >= 2 * (4000 - MEMORY_PAGES));
        drop(space);
        assert_empty(&swap);
    }
}

#[test]
fn without_slots_memory_runs_out_and_nothing_is_lost() {
    let swap = swap_with(1, 512);
    let space = space_of(&swap, 2000, VmaOptions::default());
    let mut nr_written = 0;
    while space.mm.write(space.address(nr_written), &nr_written.to_ne_bytes(), CPU).is_ok() {
        nr_written += 1;
    }
    // Every page of memory is in use, and so is every slot except the header slot 0.
    assert_eq!(nr_written, MEMORY_PAGES + 511);
    assert_eq!(space.mm.nr_pages(), (MEMORY_PAGES, 511));
    assert!(stat(&swap, "pgactivate") > 0, "pages that get no slot become active");
    swap.check().expect("every invariant");
    space.mm.zap(space.pages(0..600), CPU).expect("mapped");
    let mut bytes = [0; 8];
    for page in 600..nr_written {
        space.mm.read(space.address(page), &mut bytes, CPU).expect("there is room again");
        assert_eq!(u64::from_ne_bytes(bytes), page);
    }
    drop(space);
    assert_empty(&swap);
}

#[test]
fn writes_that_fail_cost_a_round_and_no_content() {
    let faulty = Faulty::new(ram(8192), 3);
    let plan = FaultPlan { write_error_probability: 0.3, ..FaultPlan::default() };
    faulty.set_plan(plan).expect("a good plan");
    let swap = short_of_memory(1, Arc::new(faulty));
    let space = space_of(&swap, 3000, VmaOptions { anon_order: 2, ..VmaOptions::default() });
    for round in 0..2 {
        for page in 0..3000 {
            assert_eq!(read(&space, page), if round == 0 { 0 } else { page });
            write(&space, page, round + page);
        }
        (0..3000).for_each(|page| write(&space, page, page));
    }
    assert!(stat(&swap, "write_errors") > 100);
    drop(space);
    assert_empty(&swap);
}

#[test]
fn pages_that_forks_share_leave_all_of_them() {
    let swap = swap_with(1, 8192);
    let options = VmaOptions { anon_order: 2, ..VmaOptions::default() };
    let parent = space_of(&swap, 400, options);
    (0..400).for_each(|page| write(&parent, page, page + 1));
    let child = parent.fork(CPU);
    let grandchild = child.fork(CPU);
    // The write gives the child its own copy of page 0, so the child does not map page 0 of the shared folio any
    // more.
    write(&child, 0, 7000);
    let other = space_of(&swap, 3000, VmaOptions::default());
    (0..3000).for_each(|page| write(&other, page, page));
    swap.check().expect("every invariant");
    let mut nr_shared = 0;
    for page in 1..400 {
        let entry_of = |space: &Space| space.mm.swap_entry(space.page(page)).expect("mapped");
        let entries = [&parent, &child, &grandchild].map(entry_of);
        assert_eq!(entries, [entries[0]; 3], "page {page} is swapped out of some address spaces only");
        if let Some(entry) = entries[0] {
            nr_shared += 1;
            assert_eq!(swap.on_cpu(CPU).expect("a CPU").swap_count(entry), Ok(3));
        }
    }
    assert!(nr_shared > 300, "{nr_shared} pages are out");
    assert_eq!([&parent, &child, &grandchild].map(|space| read(space, 0)), [1, 7000, 1]);
    for page in 1..400 {
        for space in [&grandchild, &parent, &child] {
            assert_eq!(read(space, page), page + 1);
        }
        write(&child, page, page + 9000);
        assert_eq!(read(&parent, page), page + 1);
    }
    drop(parent);
    (1..400).for_each(|page| assert_eq!(read(&child, page), page + 9000));
    drop((child, grandchild, other));
    assert_empty(&swap);
}

#[test]
fn a_large_folio_without_a_run_goes_page_by_page() {
    let swap = swap_with(1, 8192);
    let taken = take_every_second_slot(&swap);
    let space = space_of(&swap, 2048, VmaOptions { anon_order: 4, ..VmaOptions::default() });
    (0..512).for_each(|page| write(&space, page, page));
    let child = space.fork(CPU);
    (512..2048).for_each(|page| write(&space, page, page));
    assert!(stat(&swap, "hugepages-64kB.swpout_fallback") >= (2048 - MEMORY_PAGES) / 16);
    assert_eq!(stat(&swap, "hugepages-64kB.swpout"), 0);
    swap.check().expect("every invariant");
    (0..2048).for_each(|page| assert_eq!(read(&space, page), page));
    (0..512).for_each(|page| assert_eq!(read(&child, page), page));
    drop((space, child));
    taken.into_iter().for_each(|entry| swap.put(entry, 1, CPU).expect("allocated"));
    assert_empty(&swap);
}

#[test]
fn pages_in_use_stay_while_others_pass_by() {
    const HOT: u64 = 700;
    let swap = swap_with(1, 16384);
    let hot = space_of(&swap, HOT, VmaOptions::default());
    let cold = space_of(&swap, 8000, VmaOptions::default());
    let touch_hot = || (0..HOT).for_each(|page| assert_eq!(read(&hot, page), page));
    (0..HOT).for_each(|page| write(&hot, page, page));
    let mut nr_early_faults = 0;
    for page in 0..8000 {
        write(&cold, page, page);
        if page % 100 == 0 {
            touch_hot();
        }
        if page == 2000 {
            // The faults so far come from the first shortage of memory. All pages were touched then, and reclaim
            // paged out the hot pages, because the hot pages were the oldest.
            nr_early_faults = stat(&swap, "pgmajfault");
        }
    }
    assert_eq!(hot.nr_present(0..HOT), HOT, "hot pages in memory");
    assert!(nr_early_faults <= HOT, "{nr_early_faults} faults: each hot page went out at most once");
    assert_eq!(stat(&swap, "pgmajfault"), nr_early_faults, "no hot page went out since");
    assert!(stat(&swap, "pgactivate") >= HOT);
    // The loop touches no hot page. The hot pages are more than half of memory, so reclaim makes some hot pages
    // inactive and pages these pages out.
    for page in 0..8000 {
        read(&cold, page);
    }
    assert!(stat(&swap, "pgdeactivate") > 0);
    let lists = swap.memory_of_folios().lruvec();
    let [inactive, active] = [LruList::InactiveAnon, LruList::ActiveAnon].map(|list| lists.lru_pages(list));
    assert!(inactive >= active, "{inactive} inactive, {active} active pages");
    let nr_hot = hot.nr_present(0..HOT);
    assert!(nr_hot <= MEMORY_PAGES / 2, "{nr_hot} idle pages are still in memory");
    touch_hot();
    drop((hot, cold));
    assert_empty(&swap);
}

#[test]
fn a_locked_mapping_and_a_handle_stay_in_memory() {
    let swap = swap_with(1, 8192);
    let locked = space_of(&swap, 100, VmaOptions { is_locked: true, ..VmaOptions::default() });
    (0..100).for_each(|page| write(&locked, page, page));
    let handle = swapcore::MappedFolio::map(swap.folio_with(order(3), b"mine").expect("room"));
    let other = space_of(&swap, 5000, VmaOptions::default());
    (0..5000).for_each(|page| write(&other, page, page));
    assert_eq!(locked.mm.nr_pages(), (100, 0));
    assert_eq!(swap.memory_of_folios().lruvec().lru_pages(LruList::Unevictable), 100);
    assert_eq!(&handle.folio().bytes().expect("no views")[..4], b"mine");
    swap.check().expect("every invariant");
    swap.folio_unmap(handle, CPU).expect("mapped");
    drop((locked, other));
    assert_empty(&swap);
}

#[test]
fn threads_fault_while_memory_is_short() {
    let swap = swap_with(4, 16384);
    hammer(&swap);
    assert!(stat(&swap, "hugepages-64kB.swpout") > 0);
    assert_empty(&swap);
}

#[test]
fn threads_fault_while_memory_is_short_and_large_folios_are_split() {
    let swap = swap_with(4, 16384);
    let taken = take_every_second_slot(&swap);
    hammer(&swap);
    assert!(stat(&swap, "hugepages-64kB.swpout_fallback") > 0);
    taken.into_iter().for_each(|entry| swap.put(entry, 1, CPU).expect("allocated"));
    assert_empty(&swap);
}

/// Runs four threads that read and write address spaces. The address spaces together have more pages than memory.
fn hammer(swap: &Arc<Swap>) {
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let mut steps = 0..15_000;
            scope.spawn(move || Load::new(cpu, 800).run(swap, || steps.next().is_some()));
        }
        scope.spawn(|| check_now_and_then(swap));
    });
    assert!(stat(swap, "pgsteal") > 0);
}
