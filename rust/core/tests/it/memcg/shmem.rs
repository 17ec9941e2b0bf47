//! Tests of files in memory (shmem) with groups. The group of the task that touches a page first is charged for the
//! page. Reclaim swaps the page out. At the swap-in the owner of the slot is charged again.
//!
//! A row is `memory/swap/MEMCG_SWAP/id references` of a group; the second column is memsw on v1.

use std::sync::Arc;

use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::memcg::{Hierarchy, MemcgStat};
use swapcore::mm::{PageoutReport, Shmem, ShmemEntry};
use swapcore::{Config, GroupHandle, Order, Profile, Result, Swap, SwapError};

use crate::common::{CPU, assert_empty, order, ram, stat, swap_on};

const STORES: [&str; 4] = ["shadow", "array", "cluster_table", "trampoline"];
const PAGE: u64 = PAGE_SIZE as u64;

fn machine(hierarchy: Hierarchy, store: &str) -> Arc<Swap> {
    let mut config = Config { memcg: Some(hierarchy), memory_pages: 4096, ..Config::new(2, Profile::Newest) };
    for (name, word) in [("owner_store", store), ("memcg_stock", "off")] {
        config.switches.set(name, word).expect("a switch");
    }
    swap_on(config, ram(8192))
}

/// Calls `call` for each hierarchy and each owner store.
fn on_all(call: impl Fn(Arc<Swap>, Hierarchy, &str)) {
    for hierarchy in [Hierarchy::V2, Hierarchy::V1] {
        STORES.into_iter().for_each(|store| call(machine(hierarchy, store), hierarchy, store));
    }
}

fn row(group: &GroupHandle) -> String {
    let group = group.group();
    let (memory, swap) = (group.memory.usage_pages(), group.swap.usage_pages());
    format!("{memory}/{swap}/{}/{}", group.stat_local(MemcgStat::Swap), group.id_refs())
}

/// Returns the counters of the group without its descendants: pages of files in memory, anonymous pages, pages in the
/// swap cache, and major faults.
fn own(group: &GroupHandle) -> [i64; 4] {
    [MemcgStat::Shmem, MemcgStat::Anon, MemcgStat::Swapcached, MemcgStat::PgMajFault]
        .map(|stat| group.group().stat_local(stat))
}

fn file_of(swap: &Arc<Swap>, nr_pages: u64, order: Order) -> Shmem {
    Shmem::new(swap.clone(), nr_pages, order).expect("a size")
}

fn write(file: &Shmem, page: u64, css: CssId) -> Result<()> {
    file.write(page * PAGE, &(page + 1).to_ne_bytes(), css, CPU)
}

fn read(file: &Shmem, page: u64, css: CssId) -> Result<u64> {
    let mut bytes = [0; 8];
    file.read(page * PAGE, &mut bytes, css, CPU).map(|()| u64::from_ne_bytes(bytes))
}

fn nr_swapped(file: &Shmem, nr_pages: u64) -> u64 {
    (0..nr_pages).filter(|&page| file.entry(page).expect("in the file").swapped().is_some()).count() as u64
}

#[test]
fn a_page_that_a_task_of_another_group_swaps_in_is_charged_to_its_owner() {
    on_all(|swap, hierarchy, store| {
        let is_v2 = hierarchy == Hierarchy::V2;
        let root = GroupHandle::root(&swap).expect("enabled");
        let p = root.create("P").expect("a group");
        let (a, b) = (p.create("A").expect("a group"), root.create("B").expect("a group"));
        let expect = |step: &str, rows: [&str; 3]| {
            assert_eq!([&p, &a, &b].map(row), rows, "{hierarchy:?} {store}: {step}");
            swap.check().expect("every invariant");
        };
        let file = file_of(&swap, 16, order(2));
        write(&file, 0, a.css()).expect("memory");
        (1..4).for_each(|page| write(&file, page, b.css()).expect("present"));
        let resident = if is_v2 { "4/0/0/1" } else { "4/4/0/1" };
        expect("A touched first", [resident, resident, "0/0/0/1"]);
        assert_eq!((own(&a), own(&b)), ([4, 0, 0, 0], [0; 4]));
        write(&file, 4, b.css()).expect("memory");
        expect("B touched other pages", [resident, resident, resident]);
        file.writeout(1, CPU).expect("room");
        expect("swapped out", ["0/4/0/1", "0/4/4/5", resident]);
        assert_eq!((own(&a), stat(&swap, "pswpout")), ([0; 4], 4));
        assert_eq!(read(&file, 2, b.css()), Ok(3));
        expect("B swapped in, and the owner A pays", [resident, resident, resident]);
        assert_eq!((own(&a), own(&b)), ([4, 0, 0, 0], [4, 0, 0, 1]));
        file.writeout(0, CPU).expect("room");
        a.remove().expect("no task is in it");
        expect("the owner is dead", ["0/4/0/1", "0/4/4/4", resident]);
        assert_eq!(read(&file, 3, b.css()), Ok(4));
        let both = if is_v2 { "8/0/0/1" } else { "8/8/0/1" };
        match store {
            "shadow" => expect("the parent pays", [resident, "0/0/0/0", resident]),
            _ => expect("the group of the task pays", ["0/0/0/1", "0/0/0/0", both]),
        }
        for group in [&p, &a, &b].into_iter().filter(|_| is_v2) {
            for file in ["memory.events", "memory.swap.events"] {
                let text = swap.memcg_read(group.css(), file).expect("a file");
                assert!(text.lines().all(|line| line.ends_with(" 0")), "{file}: {text}");
            }
        }
        drop(file);
        expect("the file is gone", ["0/0/0/1", "0/0/0/0", "0/0/0/1"]);
        assert_empty(&swap);
    });
}

#[test]
fn pages_of_files_are_in_the_statistics_and_on_the_anonymous_lists() {
    on_all(|swap, hierarchy, store| {
        let p = GroupHandle::root(&swap).and_then(|root| root.create("P")).expect("a group");
        let a = p.create("A").expect("a group");
        let file = file_of(&swap, 8, order(0));
        (0..4).for_each(|page| write(&file, page, a.css()).expect("memory"));
        let (own, sums) = match hierarchy {
            Hierarchy::V2 => (&["file", "shmem"][..], &["file", "shmem"][..]),
            Hierarchy::V1 => (&["cache", "shmem"][..], &["total_cache", "total_shmem"][..]),
        };
        let value = |group: &GroupHandle, key: &str| -> u64 {
            let text = swap.memcg_read(group.css(), "memory.stat").expect("a file");
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{key} in {text}")).parse().expect("a number")
        };
        let bytes = 4 * PAGE;
        assert!(own.iter().all(|key| value(&a, key) == bytes), "{hierarchy:?} {store}");
        assert!(sums.iter().all(|key| value(&p, key) == bytes), "{hierarchy:?} {store}");
        let lists = ["inactive_anon", "active_anon", "inactive_file", "active_file"].map(|key| value(&a, key));
        assert_eq!((lists[0] + lists[1], lists[2] + lists[3]), (bytes, 0));
        assert_eq!(value(&a, if hierarchy == Hierarchy::V2 { "anon" } else { "rss" }), 0);
        (0..4).for_each(|page| file.writeout(page, CPU).expect("room"));
        assert!(own.iter().all(|key| value(&a, key) == 0), "{hierarchy:?} {store}");
        swap.check().expect("every invariant");
        drop(file);
        assert_empty(&swap);
    });
}

#[test]
fn willneed_charges_the_owner_and_reads_each_page_alone() {
    on_all(|swap, hierarchy, store| {
        let root = GroupHandle::root(&swap).expect("enabled");
        let (a, b) = (root.create("A").expect("a group"), root.create("B").expect("a group"));
        let file = file_of(&swap, 8, order(2));
        (0..8).for_each(|page| write(&file, page, a.css()).expect("memory"));
        [0, 4].into_iter().for_each(|page| file.writeout(page, CPU).expect("room"));
        assert_eq!(row(&a), "0/8/8/9", "{hierarchy:?} {store}");
        assert_eq!(file.willneed(0..6, b.css(), CPU), Ok(6));
        // On v1 a cached slot has no charge of its own, because memory and swap have one counter. On v2 the owner
        // stores `array` and `cluster_table` keep the pins of cached slots.
        let cached = match (hierarchy, store) {
            (Hierarchy::V1, _) => "6/8/2/3",
            (_, "shadow" | "trampoline") => "6/8/8/3",
            _ => "6/8/8/9",
        };
        assert_eq!((row(&a), row(&b)), (cached.into(), "0/0/0/1".into()), "{hierarchy:?} {store}");
        assert_eq!((own(&a)[2], own(&b)[3], stat(&swap, "pgmajfault"), stat(&swap, "pswpin")), (6, 0, 0, 6));
        assert_eq!((nr_swapped(&file, 8), file.willneed(0..6, b.css(), CPU)), (8, Ok(0)));
        (0..8).for_each(|page| assert_eq!(read(&file, page, b.css()), Ok(page + 1)));
        assert_eq!(own(&b)[3], 2, "the pages 6 and 7 were not read ahead");
        assert_eq!(row(&a), if hierarchy == Hierarchy::V2 { "8/0/0/1" } else { "8/8/0/1" });
        drop(file);
        assert_empty(&swap);
    });
}

#[test]
fn the_limit_of_a_group_swaps_the_pages_of_its_files_out() {
    on_all(|swap, hierarchy, store| {
        for log2 in [0, 2] {
            let a = GroupHandle::root(&swap).and_then(|root| root.create("A")).expect("a group");
            a.group().memory.set_max(64);
            let file = file_of(&swap, 256, order(log2));
            (0..256).for_each(|page| write(&file, page, a.css()).expect("reclaim makes room"));
            let memory = a.group().memory.usage_pages();
            assert!(memory <= 64 && nr_swapped(&file, 256) == 256 - memory, "{hierarchy:?} {store}: {}", row(&a));
            let swap_pages = a.group().stat_local(MemcgStat::Swap);
            assert_eq!(swap_pages as u64, 256 - memory);
            assert_eq!(own(&a)[..3], [memory as i64, 0, 0]);
            swap.check().expect("every invariant");
            for round in 0..2 {
                (0..256).for_each(|page| assert_eq!(read(&file, page, CssId::ROOT), Ok(page + 1), "round {round}"));
            }
            assert!(a.group().memory.usage_pages() <= 64, "the owner pays, within its limit");
            swap.check().expect("every invariant");
            drop(file);
            assert_eq!(row(&a), "0/0/0/1");
            a.remove().expect("no task is in it");
            assert_empty(&swap);
        }
    });
}

#[test]
fn a_charge_that_no_reclaim_can_satisfy_is_refused() {
    let swap = machine(Hierarchy::V2, "shadow");
    let a = GroupHandle::root(&swap).and_then(|root| root.create("A")).expect("a group");
    a.group().memory.set_max(2);
    a.group().swap.set_max(0);
    let file = file_of(&swap, 8, order(2));
    (0..2).for_each(|page| write(&file, page, a.css()).expect("a large folio is refused, single pages are not"));
    assert!(matches!(write(&file, 2, a.css()), Err(SwapError::OverLimit { .. })));
    assert_eq!(file.entry(2), Ok(ShmemEntry::None));
    write(&file, 2, CssId::ROOT).expect("root has no limit");
    assert_eq!((row(&a), own(&a)[0]), ("2/0/0/1".into(), 2));
    drop(file);
    assert_empty(&swap);
}

#[test]
fn reclaim_splits_a_large_folio_that_the_file_lost_a_page_of() {
    let swap = machine(Hierarchy::V2, "shadow");
    let a = GroupHandle::root(&swap).and_then(|root| root.create("A")).expect("a group");
    let file = file_of(&swap, 16, order(4));
    (0..16).for_each(|page| write(&file, page, a.css()).expect("memory"));
    file.truncate(5..6, CPU).expect("in the file");
    swap.memcg_write(a.css(), "memory.reclaim", "64K", false, CPU).expect("the pages have room in swap");
    assert_eq!((row(&a), nr_swapped(&file, 16)), ("0/15/15/16".into(), 15));
    let orders = (0..16).filter_map(|page| file.entry(page).expect("in the file").swapped()).map(|slot| slot.1);
    assert!(orders.into_iter().all(|order| order == Order::ZERO));
    (0..16).for_each(|page| assert_eq!(read(&file, page, a.css()), Ok(if page == 5 { 0 } else { page + 1 })));
    drop(file);
    assert_empty(&swap);
}

#[test]
fn a_pageout_takes_the_pages_of_its_range_only() {
    let swap = machine(Hierarchy::V2, "shadow");
    let a = GroupHandle::root(&swap).and_then(|root| root.create("A")).expect("a group");
    let file = file_of(&swap, 20, order(4));
    (0..20).for_each(|page| write(&file, page, a.css()).expect("memory"));
    assert_eq!((file.size_pages(), file.touch_order(), file.nr_pages()), (20, order(4), (20, 0)));
    let report = |reclaimed_pages, split_folios| PageoutReport { reclaimed_pages, split_folios, ..Default::default() };
    assert_eq!(file.pageout(3..5, CPU), Ok(report(2, 1)), "the folio lies partly in the range");
    assert_eq!(file.pageout(16..20, CPU), Ok(report(4, 0)), "the folio lies in the range");
    assert_eq!((file.nr_pages(), row(&a)), ((14, 6), "14/6/6/7".into()));
    assert_eq!(file.willneed(3..5, a.css(), CPU), Ok(2));
    assert_eq!(file.pageout(0..20, CPU), Ok(report(16, 0)), "14 pages of the file and 2 of the swap cache");
    assert_eq!(file.pageout(20..21, CPU), Err(SwapError::NotMapped(20)));
    (0..20).for_each(|page| assert_eq!(read(&file, page, a.css()), Ok(page + 1)));
    drop(file);
    assert_empty(&swap);
}

#[test]
fn a_swapoff_brings_the_pages_of_a_file_back() {
    on_all(|swap, hierarchy, store| {
        let root = GroupHandle::root(&swap).expect("enabled");
        let (a, b) = (root.create("A").expect("a group"), root.create("B").expect("a group"));
        let file = file_of(&swap, 8, order(2));
        (0..8).for_each(|page| write(&file, page, a.css()).expect("memory"));
        file.pageout(0..8, CPU).expect("room");
        let device = swap.devices()[0].clone();
        assert_eq!((swap.swapoff_all(), swap.devices().len()), (1, 1), "slots in use keep the device on");
        swap.swapoff(&device, |_, _| file.unuse(device.ty(), b.css(), CPU)).expect("memory");
        assert_eq!((file.nr_pages(), swap.devices().len()), ((8, 0), 0));
        assert_eq!(row(&a), if hierarchy == Hierarchy::V2 { "8/0/0/1" } else { "8/8/0/1" }, "{store}: the owner pays");
        assert_eq!(row(&b), "0/0/0/1");
        (0..8).for_each(|page| assert_eq!(read(&file, page, b.css()), Ok(page + 1)));
        drop(file);
        swap.check().expect("every invariant");
    });
}

#[test]
fn large_folios_of_first_touches_and_their_fallbacks_are_counted() {
    let swap = machine(Hierarchy::V2, "shadow");
    let a = GroupHandle::root(&swap).and_then(|root| root.create("A")).expect("a group");
    let counts = |size: &str| {
        ["shmem_alloc", "shmem_fallback", "shmem_fallback_charge", "split"]
            .map(|name| stat(&swap, &format!("hugepages-{size}.{name}")))
    };
    let file = file_of(&swap, 40, order(4));
    write(&file, 3, a.css()).expect("memory");
    write(&file, 4, a.css()).expect("in memory");
    assert_eq!((counts("64kB"), counts("32kB")), ([1, 0, 0, 0], [0; 4]));
    write(&file, 33, a.css()).expect("memory");
    assert_eq!(
        (counts("64kB"), counts("32kB")),
        ([1, 0, 0, 0], [1, 0, 0, 0]),
        "a smaller folio at the end falls back from nothing"
    );
    swap.memcg_write(a.css(), "memory.swap.max", "0", false, CPU).expect("a limit");
    swap.memcg_write(a.css(), "memory.max", "112K", false, CPU).expect("a limit");
    write(&file, 17, a.css()).expect("a single page has room");
    assert_eq!(
        (counts("64kB"), counts("32kB")),
        ([1, 1, 1, 0], [1, 0, 0, 0]),
        "a refused charge ends in a single page"
    );
    file.truncate(5..6, CPU).expect("in the file");
    swap.memcg_write(a.css(), "memory.swap.max", "max", false, CPU).expect("a limit");
    swap.memcg_write(a.css(), "memory.reclaim", "64K", false, CPU).expect("room in swap");
    assert_eq!(counts("64kB")[3], 1, "the cut folio is split");
    drop(file);
    assert_empty(&swap);
}

#[test]
fn files_larger_than_memory_keep_their_content() {
    let swap = machine(Hierarchy::V1, "cluster_table");
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let swap = &swap;
            scope.spawn(move || {
                let cpu = swapcore::CpuId(cpu);
                let file = file_of(swap, 5000, order(2));
                for round in 0..2 {
                    for page in 0..5000_u64 {
                        let mut bytes = [0; 8];
                        file.read(page * PAGE, &mut bytes, CssId::ROOT, cpu).expect("reclaim makes room");
                        assert_eq!(u64::from_ne_bytes(bytes), if round == 0 { 0 } else { page + 1 });
                        file.write(page * PAGE, &(page + 1).to_ne_bytes(), CssId::ROOT, cpu).expect("room");
                    }
                }
                file.truncate(1..4999, cpu).expect("in the file");
            });
        }
    });
    assert!(stat(&swap, "pgsteal") > 0);
    assert_empty(&swap);
}

#[test]
fn threads_share_a_file_that_is_larger_than_the_limit_of_its_group() {
    for (hierarchy, store) in [(Hierarchy::V2, "shadow"), (Hierarchy::V1, "array"), (Hierarchy::V2, "trampoline")] {
        let swap = machine(hierarchy, store);
        let groups: Vec<_> = ["A", "B"]
            .iter()
            .map(|name| GroupHandle::root(&swap).and_then(|root| root.create(name)).expect("a group"))
            .collect();
        groups.iter().for_each(|group| group.group().memory.set_max(150));
        let file = file_of(&swap, 1024, order(3));
        std::thread::scope(|scope| {
            for (thread, group) in (0_u64..).zip(&groups) {
                let file = &file;
                scope.spawn(move || {
                    let (css, cpu) = (group.css(), swapcore::CpuId(thread as u16));
                    let mut state = thread + 1;
                    // The threads use neighbouring pages, so every folio has pages of both threads.
                    let mut last = [0_u64; 1024];
                    for step in 1..=15_000_u64 {
                        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                        let page = (state >> 40) % 512 * 2 + thread;
                        match (state >> 33) % 8 {
                            0..3 => {
                                file.write(page * PAGE, &step.to_ne_bytes(), css, cpu).expect("reclaim makes room");
                                last[page as usize] = step;
                            }
                            3 => {
                                file.truncate(page..page + 1, cpu).expect("in the file");
                                last[page as usize] = 0;
                            }
                            4 => drop(file.willneed(page..(page + 8).min(1024), css, cpu)),
                            _ => {
                                let mut bytes = [0; 8];
                                file.read(page * PAGE, &mut bytes, css, cpu).expect("reclaim makes room");
                                assert_eq!(u64::from_ne_bytes(bytes), last[page as usize], "page {page} at {step}");
                            }
                        }
                    }
                });
            }
        });
        swap.check().expect("every invariant");
        assert!(stat(&swap, "pswpin") > 1000, "{}", stat(&swap, "pswpin"));
        drop(file);
        groups.iter().for_each(|group| assert_eq!(row(group), "0/0/0/1"));
        assert_empty(&swap);
    }
}
