//! Tests of the loop over groups, and tests of single folios in states that address spaces reach only through races.

use std::cell::RefCell;

use super::*;
use crate::base::limits::PAGE_SIZE;
use crate::memcg::Protection;
use crate::readahead::Vpn;
use crate::rmap::{Pte, Vma, VmaOptions, index};
use crate::storage::{Ghost, Ram, SwapStorage};
use crate::workingset::RefaultLevel;
use crate::zswap::ZswapOptions;
use crate::{Config, Discard, Folio, GhostSpec, MemcgId, Order, Profile, SwapError, SwpEntry, SwpType, Visibility};

const CPU: CpuId = CpuId(0);
const FIRST: Vpn = Vpn(512);

/// A subsystem with a mapping. The folios of the mapping are on root's lists.
struct Machine {
    swap: Swap,
    vma: Arc<Vma>,
}

fn machine(storage: Option<Arc<dyn SwapStorage>>) -> Machine {
    let swap = Swap::with_config(Config { memory_pages: 1024, ..Config::new(1, Profile::Newest) }).expect("a config");
    if let Some(storage) = storage {
        swap.swapon_storage(storage, Some(1), Discard::None).expect("a device");
    }
    let vma = Vma::new(FIRST..Vpn(FIRST.0 + 512), VmaOptions::default(), &swap.anon_vmas.alloc());
    Machine { swap, vma }
}

fn ram_machine(device_pages: u32) -> Machine {
    machine(Some(Arc::new(Ram::new(device_pages).expect("memory"))))
}

fn ghost_machine(visibility: Visibility) -> Machine {
    let spec = GhostSpec { visibility, ..GhostSpec::default() };
    machine(Some(Arc::new(Ghost::new(4096, spec).expect("a size"))))
}

impl Machine {
    /// Maps a new folio at a page; no page of the folio is a page of zeros. The page table entries are not young,
    /// because no access touches the page.
    fn map(&self, page: u64, order: u8) -> Folio<'_> {
        let order = Order::new(order).expect("an order");
        let bytes = vec![1; order.nr_pages() as usize * PAGE_SIZE];
        let folio = self.swap.folio_with(order, &bytes).expect("memory");
        let at = Vpn(FIRST.0 + page);
        self.vma.set_anon_rmap(folio.folio(), Some(at));
        folio.add_mappings(0..order.nr_pages());
        for page in 0..order.nr_pages() {
            let mut pte = Pte::exclusive(folio.pfn(), page as u16);
            pte.test_and_clear_young();
            self.vma.table(at)[index(at) + page as usize] = pte;
        }
        folio.folio()
    }

    /// Sets the accessed bit in the page table entry of page 0.
    fn touch(&self) {
        if let Pte::Present { is_young, .. } = &mut self.vma.table(FIRST)[index(FIRST)] {
            *is_young = true;
        }
    }

    fn pte(&self, page: u64) -> Pte {
        self.vma.pte(Vpn(FIRST.0 + page))
    }

    /// Returns the swap entry in the page table entry of a page.
    fn entry(&self, page: u64) -> SwpEntry {
        match self.pte(page) {
            Pte::Swap { entry, .. } => entry,
            other => panic!("{other:?}"),
        }
    }

    fn lruvec(&self) -> &Arc<Lruvec> {
        self.swap.memory_of_folios().lruvec()
    }

    /// Isolates a folio and pages out a list that contains only this folio. Returns the results and the number of
    /// folios that stay in memory.
    fn shrink(&self, folio: Folio<'_>) -> (ReclaimStat, usize) {
        let mut stat = ReclaimStat::default();
        assert!(folio.lru_del(), "the folio is on a list");
        let taken = folio.try_get().expect("mapped");
        let how = Shrink { references: References::Checked, level: RefaultLevel::Owner, cpu: CPU };
        let kept = self.swap.shrink_folio_list(vec![taken], how, &mut stat);
        kept.iter().for_each(|folio| folio.lru_add());
        (stat, kept.len())
    }
}

/// Makes a `ReclaimGroup` with default values for a lruvec. The lruvec of root has no memcg id in these tests, so the
/// id 7 stands for root.
fn group(lruvec: &Arc<Lruvec>) -> ReclaimGroup {
    let css = CssId(if lruvec.memcg().0 == 0 { 7 } else { lruvec.memcg().0.into() });
    let (lruvec, swappiness, nr_swap_pages, is_online) = (lruvec.clone(), SWAPPINESS_DEFAULT, 1000, true);
    let protection = Protection::default();
    ReclaimGroup { css, lruvec, swappiness, nr_swap_pages, is_online, protection }
}

#[test]
fn a_page_used_once_waits_and_one_used_often_becomes_active() {
    let m = ram_machine(1024);
    let folio = m.map(0, 0);
    m.touch();
    assert_eq!(m.shrink(folio).0.nr_reclaimed, 0);
    assert!(folio.has(FolioFlags::REFERENCED) && !folio.has(FolioFlags::ACTIVE));
    m.touch();
    let age = m.lruvec().nonresident_age();
    assert_eq!(m.shrink(folio).0.nr_activate, 1);
    assert!(folio.has(FolioFlags::ACTIVE));
    assert_eq!(m.lruvec().nonresident_age(), age, "the lists age when reclaim puts the folio back");
    assert_eq!(m.lruvec().lru_pages(LruList::ActiveAnon), 1);
    // The page was not touched since the last scan, and the flags of the folio alone do not keep the folio in memory.
    assert_eq!(m.shrink(folio).0.nr_reclaimed, 1);
    assert!(matches!(m.pte(0), Pte::Swap { is_exclusive: true, .. }));
    assert_eq!(m.swap.memory_of_folios().nr_used_pages(), 0);
}

#[test]
fn a_reference_of_somebody_else_keeps_a_page_as_it_is() {
    let m = ram_machine(1024);
    let folio = m.map(0, 0);
    let user = folio.try_get().expect("mapped");
    let (stat, nr_kept) = m.shrink(folio);
    assert_eq!((stat.nr_reclaimed, stat.nr_activate, nr_kept), (0, 0, 1));
    assert!(matches!(stat.error, Some(SwapError::FolioPinned { refs: 3, .. })));
    assert!(matches!(m.pte(0), Pte::Present { .. }) && !folio.has(FolioFlags::SWAPCACHE));
    drop(user);
    let locked = folio.lock();
    assert_eq!(m.shrink(folio).0.nr_reclaimed, 0, "a locked folio stays");
    drop(locked);
    folio.hold_writeback(true);
    assert_eq!(m.shrink(folio).0.nr_reclaimed, 0, "a folio under writeback stays");
    folio.hold_writeback(false);
    assert!(!folio.has(FolioFlags::RECLAIM), "no write is under way whose end would clear the flag");
    assert_eq!(m.shrink(folio).0.nr_reclaimed, 1);
}

#[test]
fn an_entry_that_the_reverse_map_does_not_know_keeps_the_folio_whole() {
    let m = ram_machine(1024);
    let folio = m.map(0, 2);
    folio.add_mappings(0..1);
    let (stat, _) = m.shrink(folio);
    assert_eq!((stat.nr_reclaimed, stat.nr_activate, folio.mapcount()), (0, 4, 1), "four entries are unmapped");
    assert!(m.swap.split_folio(&folio.lock(), CPU).is_err());
    folio.remove_mappings(0..1);
    assert_eq!(m.shrink(folio).0.nr_reclaimed, 4);
    m.swap.check().expect("every invariant");
}

#[test]
fn what_nobody_maps_of_a_large_folio_is_not_written() {
    let m = ram_machine(1024);
    let folio = m.map(0, 2);
    m.vma.table(FIRST)[1] = Pte::None;
    folio.remove_mappings(1..2);
    let (stat, nr_kept) = m.shrink(folio);
    assert_eq!((stat.nr_reclaimed, stat.nr_pageout, stat.nr_split_folios, nr_kept), (4, 3, 0, 0));
    assert_eq!((m.swap.inuse_pages(SwpType(0)), m.swap.memory_of_folios().nr_used_pages()), (3, 0));
}

#[test]
fn a_split_folio_goes_head_first_and_then_from_its_end() {
    let m = ram_machine(1024);
    let folio = m.map(4, 2);
    // Every second slot is free, so only single pages find slots.
    let all: Vec<_> = std::iter::from_fn(|| m.swap.on_cpu(CPU).expect("a CPU").alloc(Order::ZERO).ok()).collect();
    for entry in all.iter().filter(|entry| entry.offset().0 % 2 == 0) {
        m.swap.put(*entry, 1, CPU).expect("allocated");
    }
    assert_eq!((m.shrink(folio).0.nr_split_folios, m.pte(3)), (1, Pte::None));
    let slots = [4, 7, 6, 5].map(|page| m.entry(page).offset().0);
    assert!(slots.is_sorted_by(|one, next| one < next), "{slots:?}");
}

#[test]
fn a_page_that_a_ghost_refuses_becomes_active_and_comes_back_without_a_read() {
    let m = ghost_machine(Visibility::Visible);
    let folio = m.map(0, 0);
    let (stat, nr_kept) = m.shrink(folio);
    assert_eq!((stat.nr_reclaimed, stat.nr_activate, nr_kept), (0, 1, 1));
    assert_eq!(stat.error, Some(SwapError::GhostWrite { first: 1, nr_pages: 1 }));
    assert!(folio.has(FolioFlags::ACTIVE | FolioFlags::DIRTY | FolioFlags::SWAPCACHE));
    assert!(!folio.has(FolioFlags::RECLAIM) && !folio.has(FolioFlags::WRITEBACK));
    let found = m.swap.swap_cache_get_folio(m.entry(0), CPU).expect("on the device").expect("cached");
    assert_eq!((found.pfn(), &found.bytes().expect("no views")[..64]), (folio.pfn(), &[1; 64][..]));
    drop(found);
    m.swap.check().expect("every invariant");
}

#[test]
fn devices_that_are_in_no_total_are_room_for_reclaim_all_the_same() {
    for visibility in [Visibility::Visible, Visibility::Listed, Visibility::Hidden] {
        let m = ghost_machine(visibility);
        // While zswap is off, `nr_swappable_pages` counts no free slots on a device that is not counted as swap
        // space, because the free room of zswap limits the space of such a device.
        let is_counted = visibility == Visibility::Visible;
        assert_eq!(m.swap.nr_swappable_pages() > 0, is_counted, "{visibility:?}");
        m.swap.zswap().set_options(ZswapOptions::default()).expect("percentages");
        (0..64).for_each(|page| m.map(page, 0).bytes_mut().expect("no views").fill(0));
        let freed = m.swap.try_to_free_pages(&|| m.swap.all_groups(), &ScanControl::global(1, CPU)).expect("a CPU");
        assert!(freed >= 32, "{visibility:?}: {freed} pages of zeros");
        m.swap.check().expect("every invariant");
    }
}

#[test]
fn without_a_device_nothing_is_scanned_for_anonymous_memory() {
    let m = machine(None);
    (0..64).for_each(|page| _ = m.map(page, 0));
    assert_eq!(m.swap.try_to_free_pages(&|| m.swap.all_groups(), &ScanControl::global(1, CPU)), Ok(0));
    assert_eq!(m.lruvec().stat(LruvecStat::Pgscan), 0);
}

#[test]
fn protected_groups_are_passed_over_until_nothing_else_is_left() {
    let m = ram_machine(1024);
    (0..100).for_each(|page| _ = m.map(page, 0));
    let root = m.lruvec();
    let seen = RefCell::new(0);
    let on_low = |_: &ReclaimGroup| *seen.borrow_mut() += 1;
    let sc = ScanControl { on_low: Some(&on_low), ..ScanControl::global(1, CPU) };
    let min = || {
        vec![ReclaimGroup { protection: Protection { usage_pages: 100, min_pages: 100, low_pages: 0 }, ..group(root) }]
    };
    assert_eq!(m.swap.try_to_free_pages(&min, &sc), Ok(0));
    assert_eq!((root.stat(LruvecStat::Pgscan), *seen.borrow()), (0, 0));
    let low = || {
        vec![ReclaimGroup { protection: Protection { usage_pages: 100, min_pages: 0, low_pages: 100 }, ..group(root) }]
    };
    let freed = m.swap.try_to_free_pages(&low, &sc).expect("a CPU");
    assert!((32..64).contains(&freed) && *seen.borrow() > 0, "{freed} pages");
    assert_eq!(root.stat(LruvecStat::Pgsteal), freed);
}

#[test]
fn a_partial_walk_goes_on_where_the_last_one_ended() {
    let m = ram_machine(4096);
    (0..400).for_each(|page| _ = m.map(page, 0));
    let root = m.lruvec();
    let empty = |id| Lruvec::new(MemcgId(id), 0, None);
    let (one, two, three) = (empty(1), empty(2), empty(3));
    let groups = || [&one, &two, root, &three].map(group).to_vec();
    assert_eq!([0, 1, 2, 3, 9].map(|id| first_turn(&groups(), CssId(id))), [0, 1, 2, 0, 0]);
    let sc = ScanControl { target_lruvec: Some(three.clone()), ..ScanControl::global(32, CPU) };
    three.set_reclaim_cursor(CssId(3));
    assert!(m.swap.try_to_free_pages(&groups, &sc).expect("a CPU") >= 32);
    assert_eq!(three.reclaim_cursor(), CssId(7), "the walk ended at root, because its lists had enough");
    // A walk that reclaims nothing ends with the last group, and the next walk starts with the first group.
    let no_swap = ScanControl { may_swap: false, ..sc };
    assert_eq!(m.swap.try_to_free_pages(&groups, &no_swap), Ok(0));
    assert_eq!(three.reclaim_cursor(), CssId(0));
}

/// Maps `nr_pages` pages and sets the accessed bit of the pages from `first_young` on.
fn map_with_young(m: &Machine, nr_pages: u64, first_young: u64) {
    for page in 0..nr_pages {
        let folio = m.map(page, 0);
        folio.set(FolioFlags::REFERENCED);
        if let Pte::Present { is_young, .. } = &mut m.vma.table(FIRST)[index(FIRST) + page as usize] {
            *is_young = page >= first_young;
        }
    }
}

/// Walks `nr_walks` times over the lists of root at priority 0 with a target of one batch. Returns the number of
/// freed pages after each walk.
fn shrink_walks(m: &Machine, nr_walks: usize) -> Vec<u64> {
    let sc = ScanControl { target_lruvec: Some(m.lruvec().clone()), ..ScanControl::global(1, CPU) };
    let now = Progress { nr_to_reclaim: 32, is_full_walk: true, ..Progress::default() };
    let mut reclaim = Reclaim { swap: &m.swap, sc: &sc, target: m.lruvec().clone(), now };
    let walk = |_| {
        reclaim.shrink_node(&[group(m.lruvec())]);
        reclaim.now.nr_reclaimed
    };
    (0..nr_walks).map(walk).collect()
}

#[test]
fn the_target_counts_anew_for_each_group_and_priority() {
    let m = ram_machine(1024);
    map_with_young(&m, 200, 200);
    assert_eq!(shrink_walks(&m, 2), [32, 64], "the second walk frees the target once more");
}

#[test]
fn a_scanned_page_that_stays_costs_a_rotation_and_an_activation_ages_after_its_batch() {
    let m = ram_machine(1024);
    // The first batch has 10 pages that are evicted and 22 pages that become active.
    map_with_young(&m, 40, 10);
    let age = m.lruvec().nonresident_age();
    shrink_walks(&m, 1);
    let mut on_cpu = m.swap.on_cpu(CPU).expect("a CPU");
    let mut eviction = |page| on_cpu.lookup(m.entry(page)).expect("a slot").shadow().expect("swapped out").eviction;
    let shadows: Vec<_> = (0..10).map(&mut eviction).collect();
    drop(on_cpu);
    assert!(shadows.iter().copied().eq(age..age + 10), "{shadows:?} from {age}");
    assert_eq!(m.lruvec().stat(LruvecStat::Pgactivate), 30);
    assert_eq!(m.lruvec().nonresident_age(), age + 10 + 30);
    // The first batch costs 10 * 32 + 22 = 342, and the second batch 8. The cost is halved after each batch, because it
    // exceeds a quarter of the pages on the lists.
    assert_eq!(m.lruvec().cost().anon_pages, (342 / 2 + 8) / 2);
}

#[test]
fn the_scan_of_the_active_list_clears_accessed_bits() {
    let m = ram_machine(1024);
    let folio = m.map(0, 0);
    m.touch();
    folio.lru_del();
    folio.set(FolioFlags::ACTIVE);
    folio.lru_add();
    let sc = ScanControl::global(1, CPU);
    let mut reclaim = Reclaim { swap: &m.swap, sc: &sc, target: m.lruvec().clone(), now: Progress::default() };
    reclaim.shrink_active_list(m.lruvec(), LruList::ActiveAnon, 32);
    assert!(matches!(m.pte(0), Pte::Present { is_young: false, .. }), "the accessed bit is cleared");
    assert!(folio.has(FolioFlags::WORKINGSET) && !folio.has(FolioFlags::ACTIVE));
}

#[test]
fn active_pages_age_when_inactive_ones_are_few() {
    let m = ram_machine(1024);
    let root = m.lruvec();
    for page in 0..100 {
        let folio = m.map(page, 0);
        folio.lru_del();
        folio.set(FolioFlags::ACTIVE);
        folio.lru_add();
    }
    // The scan deactivates one batch of active pages, because no page was inactive. This batch is enough to free
    // pages.
    assert!(m.swap.try_to_free_pages(&|| vec![group(root)], &ScanControl::global(1, CPU)).expect("a CPU") >= 32);
    let (refilled, deactivated) = (root.stat(LruvecStat::Pgrefill), root.stat(LruvecStat::Pgdeactivate));
    assert!(deactivated >= 32 && refilled == deactivated, "{deactivated} of {refilled} pages");
    assert!(root.cost().anon_pages > 0, "a pageout has a cost");
    m.swap.check().expect("every invariant");
}
