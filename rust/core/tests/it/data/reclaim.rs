//! End-to-end tests of reclaim. The address spaces are larger than memory, and the device has room for their pages.

use std::sync::Arc;

use swapcore::base::gfp::Gfp;
use swapcore::base::types::CssId;
use swapcore::memcg::Hierarchy;
use swapcore::mm::{Shmem, ShmemEntry, VmaOptions};
use swapcore::storage::{FaultPlan, Faulty, SwapStorage};
use swapcore::workingset::LruList;
use swapcore::{Config, MappedFolio, Order, Orders, Profile, Swap, SwapError, Swapin, SwpEntry};

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
        if page == 6000 {
            // The faults up to here are left out of the comparison, because reclaim paged out the hot pages when
            // memory first ran out: every page had been touched, and the hot pages were the oldest pages.
            nr_early_faults = stat(&swap, "pgmajfault");
        }
    }
    assert_eq!(hot.nr_present(0..HOT), HOT, "hot pages in memory");
    // A hot page that the scan of the active list made inactive has no accessed bit, so it may go out a second time.
    assert!(nr_early_faults <= 2 * HOT, "{nr_early_faults} faults: each hot page went out at most twice");
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

fn unevictable(swap: &Swap) -> u64 {
    swap.memory_of_folios().lruvec().lru_pages(LruList::Unevictable)
}

#[test]
fn locked_pages_are_unevictable_from_their_fault_until_the_mapping_ends() {
    for anon_order in [0, 4] {
        let swap = swap_with(1, 8192);
        let options = VmaOptions { is_locked: true, anon_order, ..VmaOptions::default() };
        let locked = space_of(&swap, 64, options);
        assert_eq!(unevictable(&swap), 0, "no page was touched");
        (0..64).for_each(|page| write(&locked, page, page));
        assert_eq!(unevictable(&swap), 64);
        let all = locked.pages(0..64);
        for error in [locked.mm.pageout(all.clone(), CPU).map(drop), locked.mm.zap(all.clone(), CPU)] {
            assert_eq!(error, Err(SwapError::MappingLocked(locked.page(0).0)));
        }
        // The child's mapping is not locked, but the pages that the child shares with the locked mapping of the
        // parent cannot be paged out.
        let child = locked.fork(CPU);
        assert!(!child.is_locked() && locked.is_locked());
        assert_eq!(child.mm.pageout(all.clone(), CPU).expect("mapped").reclaimed_pages, 0);
        // The write gives the parent its own copy of the page, which is locked. The old page belongs to the child and
        // is not locked any more.
        write(&locked, 0, 500);
        let nr_unlocked = if anon_order == 0 { 1 } else { 16 };
        assert_eq!(unevictable(&swap), 64 + 1 - nr_unlocked);
        drop(locked);
        assert_eq!(unevictable(&swap), 0);
        assert_eq!(child.mm.pageout(all, CPU).expect("mapped").reclaimed_pages, 64);
        (0..64).for_each(|page| assert_eq!(read(&child, page), page));
        swap.check().expect("every invariant");
        drop(child);
        assert_empty(&swap);
    }
}

#[test]
fn reclaim_makes_no_locked_page_active() {
    let config = Config { memcg: Some(Hierarchy::V2), memory_pages: MEMORY_PAGES, ..Config::new(1, Profile::Newest) };
    let swap = swap_on(config, ram(8192));
    let locked = space_of(&swap, 16, VmaOptions { is_locked: true, anon_order: 4, ..VmaOptions::default() });
    (0..16).for_each(|page| write(&locked, page, page));
    let child = locked.fork(CPU);
    // The write makes the large folio evictable although the parent still maps 15 of its pages.
    write(&locked, 0, 500);
    assert_eq!(unevictable(&swap), 1);
    let error = swap.memcg_write(CssId::ROOT, "memory.reclaim", "64K", false, CPU).expect_err("only locked pages");
    assert_eq!(error.errno(), 11, "EAGAIN");
    assert_eq!((unevictable(&swap), stat(&swap, "pgactivate")), (17, 0), "reclaim restored the lock");
    drop((locked, child));
    assert_empty(&swap);
}

#[test]
fn pageout_takes_large_folios_of_which_a_part_is_mapped() {
    let large = VmaOptions { anon_order: 4, orders: Orders::one(order(4)), ..VmaOptions::default() };
    let filled = |swap: &Arc<Swap>| {
        let space = space_of(swap, 16, large);
        (0..16).for_each(|page| write(&space, page, page + 1));
        space
    };
    type Scene = fn(&Arc<Swap>, &Space);
    let scenes: [(&str, u64, Scene); 4] = [
        ("a page was zapped", 15, |_, space| space.mm.zap(space.pages(3..4), CPU).expect("mapped")),
        ("the ends were zapped", 14, |_, space| {
            let _ = [0, 15].map(|page| space.mm.zap(space.pages(page..page + 1), CPU).expect("mapped"));
        }),
        ("a child wrote and ended", 16, |_, space| {
            let child = space.fork(CPU);
            write(&child, 2, 70);
            write(space, 5, 6);
        }),
        ("the folio was swapped in", 15, |_, space| {
            assert_eq!(space.mm.pageout(space.pages(0..16), CPU).expect("mapped").reclaimed_pages, 16);
            assert_eq!(read(space, 7), 8);
            assert_eq!(space.nr_present(0..16), 16, "swapped in whole");
            space.mm.zap(space.pages(15..16), CPU).expect("mapped");
        }),
    ];
    for (name, nr_left, scene) in scenes {
        let swap = swap_with(1, 8192);
        let space = filled(&swap);
        scene(&swap, &space);
        assert_eq!(space.mm.nr_pages(), (nr_left, 0), "{name}");
        let report = space.mm.pageout(space.pages(0..16), CPU).expect("mapped");
        assert_eq!((report.reclaimed_pages, report.kept_pages, report.errno), (nr_left, 0, 0), "{name}");
        assert_eq!(report.split_folios, 1, "{name}");
        assert_eq!(space.mm.nr_pages(), (0, nr_left), "{name}");
        (0..16).for_each(|page| assert!([0, page + 1].contains(&read(&space, page)), "{name}: page {page}"));
        drop(space);
        assert_empty(&swap);
    }
}

#[test]
fn pageout_keeps_a_large_folio_that_another_address_space_maps_in_part() {
    let swap = swap_with(1, 8192);
    let space = space_of(&swap, 16, VmaOptions { anon_order: 4, ..VmaOptions::default() });
    (0..16).for_each(|page| write(&space, page, page));
    let child = space.fork(CPU);
    child.mm.zap(child.pages(1..16), CPU).expect("mapped");
    space.mm.zap(space.pages(8..16), CPU).expect("mapped");
    let report = space.mm.pageout(space.pages(0..16), CPU).expect("mapped");
    assert_eq!((report.reclaimed_pages, report.kept_pages, report.split_folios), (0, 8, 0));
    assert_eq!(report.errno, 16, "EBUSY");
    drop(child);
    assert_eq!(space.mm.pageout(space.pages(0..16), CPU).expect("mapped").reclaimed_pages, 8);
    drop(space);
    assert_empty(&swap);
}

/// Returns a subsystem whose memory is full of pages that reclaim can take, the address space of these pages, and the
/// entry of 16 swapped-out pages.
fn full_of_cold_pages() -> (Arc<Swap>, Space, SwpEntry) {
    let swap = swap_with(1, 8192);
    let folio = MappedFolio::map(swap.folio_with(order(4), b"large").expect("room"));
    let entry = swap.swap_out(folio, CPU).map_err(|kept| kept.error).expect("room");
    let space = space_of(&swap, MEMORY_PAGES, VmaOptions::default());
    (0..MEMORY_PAGES).for_each(|page| write(&space, page, page));
    assert_eq!((swap.memory_of_folios().nr_used_pages(), stat(&swap, "pgscan")), (MEMORY_PAGES, 0));
    (swap, space, entry)
}

#[test]
fn the_mask_of_an_allocation_decides_whether_it_reclaims() {
    let (swap, space, entry) = full_of_cold_pages();
    for (log2, gfp) in [(0, Gfp::NOWAIT), (4, Gfp::NOWAIT), (4, Gfp::TRANSHUGE_LIGHT)] {
        assert!(matches!(swap.folio_alloc(order(log2), gfp, CPU), Err(SwapError::NoMemory(_))));
    }
    assert_eq!(stat(&swap, "pgscan"), 0);
    for (log2, gfp) in [(0, Gfp::HIGHUSER_MOVABLE), (4, Gfp::TRANSHUGE), (0, Gfp::HIGHUSER_MOVABLE | Gfp::NORETRY)] {
        let folio = swap.folio_alloc(order(log2), gfp, CPU).expect("reclaim makes room");
        assert_eq!(folio.order(), order(log2));
    }
    assert!(stat(&swap, "pgsteal") > 0);
    swap.put(entry, 16, CPU).expect("one reference");
    drop(space);
    assert_empty(&swap);
}

#[test]
fn the_huge_mask_of_a_swap_in_is_limited_by_the_mask_of_its_caller() {
    let few = Gfp::HIGHUSER_MOVABLE - Gfp::DIRECT_RECLAIM;
    let (user, light, huge) = (Gfp::HIGHUSER_MOVABLE, Gfp::TRANSHUGE_LIGHT, Gfp::TRANSHUGE);
    // Each case has the allocation mask of the caller, the mask for large folios, and the number of pages that the
    // swap-in maps; 0 means that it fails for lack of memory.
    for (gfp, huge_gfp, nr_pages) in [(user, light, 1), (user, huge, 16), (few, light, 0), (few, huge, 0)] {
        let (swap, space, entry) = full_of_cold_pages();
        let how = Swapin { gfp, huge_gfp, ..Swapin::new(CPU, Orders::one(order(4))) };
        let mapped = swap.swap_in(entry, 16, &how);
        assert_eq!(mapped.as_ref().map_or(0, |mapped| mapped.pages().len()), nr_pages);
        assert_eq!(stat(&swap, "hugepages-64kB.swpin_fallback"), u64::from(nr_pages != 16));
        assert_eq!(stat(&swap, "pgscan") > 0, nr_pages > 0);
        let nr_left = 16 - nr_pages as u32;
        mapped.into_iter().for_each(|mapped| swap.folio_unmap(mapped, CPU).expect("mapped"));
        if nr_left > 0 {
            swap.put(entry.plus(16 - nr_left), nr_left, CPU).expect("one reference");
        }
        drop(space);
        assert_empty(&swap);
    }
}

#[test]
fn the_first_touch_of_a_large_page_of_a_file_does_not_reclaim_for_the_large_folio() {
    let (swap, space, entry) = full_of_cold_pages();
    let file = Shmem::new(swap.clone(), 16, order(4)).expect("a size");
    file.write(0, b"x", CssId::ROOT, CPU).expect("a single page reclaims");
    assert!(matches!(file.entry(0), Ok(ShmemEntry::Page { .. })));
    assert_eq!(file.entry(1), Ok(ShmemEntry::None), "no large folio");
    swap.put(entry, 16, CPU).expect("one reference");
    drop((space, file));
    assert_empty(&swap);
}

#[test]
fn a_migration_reclaims_for_the_new_folio() {
    let swap = swap_with(1, 8192);
    let folio = MappedFolio::map(swap.folio_with(order(4), b"large").expect("room"));
    let space = space_of(&swap, MEMORY_PAGES - 16, VmaOptions::default());
    (0..MEMORY_PAGES - 16).for_each(|page| write(&space, page, page));
    assert_eq!(swap.memory_of_folios().nr_used_pages(), MEMORY_PAGES);
    let moved = swap.folio_migrate(folio, CPU).map_err(|(_, error)| error).expect("reclaim makes room");
    assert_eq!(&moved.folio().bytes().expect("no views")[..5], b"large");
    swap.folio_unmap(moved, CPU).expect("mapped");
    drop(space);
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
            scope.spawn(move || Load::new(cpu, 1600).run(swap, || steps.next().is_some()));
        }
        scope.spawn(|| check_now_and_then(swap));
    });
    assert!(stat(swap, "pgsteal") > 0);
}
