//! The loop over groups, and single folios in states that address spaces reach only by races.

use std::cell::RefCell;

use super::*;
use crate::base::types::{Order, Pfn};
use crate::folio::{Folio, FolioRef};
use crate::machine::Config;
use crate::machine::profile::Profile;
use crate::readahead::Vpn;
use crate::rmap::{Pte, Vma, VmaOptions, index};
use crate::storage::spec::{Discard, GhostSpec, Visibility};
use crate::storage::{Ghost, Ram};

const CPU: CpuId = CpuId(0);
const FIRST: Vpn = Vpn(512);

fn machine(device_pages: u32) -> Swap {
    let swap = Swap::with_config(Config { memory_pages: 1024, ..Config::new(1, Profile::Newest) }).expect("a config");
    if device_pages > 0 {
        let storage = Arc::new(Ram::new(device_pages).expect("memory"));
        swap.swapon_storage(storage, Some(1), Discard::None).expect("a device");
    }
    swap
}

/// A mapping of old pages on root's lists.
struct Mapped<'s> {
    swap: &'s Swap,
    vma: Arc<Vma>,
}

impl<'s> Mapped<'s> {
    fn new(swap: &'s Swap, options: VmaOptions) -> Self {
        Self { swap, vma: Vma::new(FIRST..Vpn(FIRST.0 + 512), options, &swap.anon_vmas.alloc()) }
    }

    /// Maps a new folio of ones at a page. Nothing touches the page afterwards.
    fn map(&self, page: u64, order: u8) -> Folio<'s> {
        let order = Order::new(order).expect("an order");
        let folio: FolioRef<'s> = self.swap.folio_with(order, &[1; 64]).expect("memory");
        let at = Vpn(FIRST.0 + page);
        self.vma.set_anon_rmap(folio.folio(), Some(at));
        folio.add_mappings(order.nr_pages());
        for page in 0..order.nr_pages() {
            let mut pte = Pte::exclusive(folio.pfn(), page as u16);
            pte.test_and_clear_young();
            self.vma.table(at)[index(at) + page as usize] = pte;
        }
        folio.folio()
    }

    fn young(&self, page: u64) {
        if let Pte::Present { is_young, .. } = &mut self.vma.table(FIRST)[index(Vpn(FIRST.0 + page))] {
            *is_young = true;
        }
    }

    fn pte(&self, page: u64) -> Pte {
        self.vma.pte(Vpn(FIRST.0 + page))
    }
}

fn shrink(folio: Folio<'_>, swap: &Swap) -> (ReclaimStat, Vec<Pfn>) {
    let mut stat = ReclaimStat::default();
    assert!(folio.lru_del(), "it was on a list");
    let taken = folio.try_get().expect("mapped");
    let kept = swap.shrink_folio_list(
        vec![FolioRef::adopt(swap.memory_of_folios().folio(taken.into_raw()))],
        Shrink { references: References::Checked, level: crate::workingset::RefaultLevel::Owner, cpu: CPU },
        &mut stat,
    );
    kept.iter().for_each(|folio| folio.lru_add());
    (stat, kept.iter().map(|folio| folio.pfn()).collect())
}

fn group(lruvec: &Arc<Lruvec>) -> ReclaimGroup {
    ReclaimGroup {
        // Root's lists have no id in these tests.
        css: if lruvec.memcg().0 == 0 { CssId(7) } else { CssId(lruvec.memcg().0.into()) },
        lruvec: lruvec.clone(),
        swappiness: SWAPPINESS_DEFAULT,
        nr_swap_pages: 1000,
        is_online: true,
        is_below_min: false,
        is_below_low: false,
    }
}

#[test]
fn a_page_used_once_waits_and_one_used_often_becomes_active() {
    let swap = machine(1024);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    let folio = mapped.map(0, 0);
    mapped.young(0);
    assert_eq!(shrink(folio, &swap).0.nr_reclaimed, 0);
    assert!(folio.has(FolioFlags::REFERENCED) && !folio.has(FolioFlags::ACTIVE));
    mapped.young(0);
    let age = swap.memory_of_folios().lruvec().nonresident_age();
    assert_eq!(shrink(folio, &swap).0.nr_activate, 1);
    assert!(folio.has(FolioFlags::ACTIVE));
    assert_eq!(swap.memory_of_folios().lruvec().nonresident_age(), age + 1, "an activation ages the lists");
    assert_eq!(swap.memory_of_folios().lruvec().lru_pages(LruList::ActiveAnon), 1);
    // The page was not touched since, so its flags alone do not keep it.
    assert_eq!(shrink(folio, &swap).0.nr_reclaimed, 1);
    assert!(matches!(mapped.pte(0), Pte::Swap { is_exclusive: true, .. }));
    assert_eq!(swap.memory_of_folios().nr_used_pages(), 0);
}

#[test]
fn a_reference_of_somebody_else_keeps_a_page_as_it_is() {
    let swap = machine(1024);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    let folio = mapped.map(0, 0);
    let user = folio.try_get().expect("mapped");
    let (stat, kept) = shrink(folio, &swap);
    assert_eq!((stat.nr_reclaimed, stat.nr_activate, kept.len()), (0, 0, 1));
    assert!(matches!(stat.error, Some(crate::base::error::SwapError::FolioPinned { refs: 3, .. })));
    assert!(matches!(mapped.pte(0), Pte::Present { .. }) && !folio.has(FolioFlags::SWAPCACHE));
    drop(user);
    let locked = folio.lock();
    assert_eq!(shrink(folio, &swap).0.nr_reclaimed, 0, "a locked one");
    drop(locked);
    folio.hold_writeback(true);
    assert_eq!(shrink(folio, &swap).0.nr_reclaimed, 0, "one under writeback");
    folio.hold_writeback(false);
    assert!(!folio.has(FolioFlags::RECLAIM), "nobody would clear it");
    assert_eq!(shrink(folio, &swap).0.nr_reclaimed, 1);
}

#[test]
fn an_entry_that_the_reverse_map_does_not_know_keeps_the_folio_whole() {
    let swap = machine(1024);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    let folio = mapped.map(0, 2);
    folio.add_mappings(1);
    let (stat, _) = shrink(folio, &swap);
    assert_eq!((stat.nr_reclaimed, stat.nr_activate, folio.mapcount()), (0, 4, 1), "the rest of it is unmapped");
    let locked = folio.lock();
    assert!(swap.split_folio(&locked, CPU).is_err());
    drop(locked);
    folio.remove_mappings(1);
    assert_eq!(shrink(folio, &swap).0.nr_reclaimed, 4);
    swap.check().expect("every invariant");
}

#[test]
fn what_nobody_maps_of_a_large_folio_is_not_written() {
    let swap = machine(1024);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    let folio = mapped.map(0, 2);
    mapped.vma.table(FIRST)[1] = Pte::None;
    folio.remove_mappings(1);
    let (stat, kept) = shrink(folio, &swap);
    assert_eq!((stat.nr_reclaimed, stat.nr_pageout, stat.nr_split_folios, kept.len()), (4, 3, 0, 0));
    assert_eq!((swap.inuse_pages(crate::base::types::SwpType(0)), swap.memory_of_folios().nr_used_pages()), (3, 0));
}

#[test]
fn a_split_folio_goes_head_first_and_then_from_its_end() {
    let swap = machine(1024);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    let folio = mapped.map(4, 2);
    // Only single pages have room.
    let all: Vec<_> = std::iter::from_fn(|| swap.on_cpu(CPU).expect("a CPU").alloc(Order::ZERO).ok()).collect();
    for entry in all.iter().filter(|entry| entry.offset().0 % 2 == 0) {
        swap.put(*entry, 1, CPU).expect("allocated");
    }
    assert_eq!((shrink(folio, &swap).0.nr_split_folios, mapped.pte(3)), (1, Pte::None));
    let slots: Vec<u32> = (4..8)
        .map(|page| match mapped.pte(page) {
            Pte::Swap { entry, .. } => entry.offset().0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(slots[0] < slots[3] && slots[3] < slots[2] && slots[2] < slots[1], "{slots:?}");
}

fn ghost_machine(visibility: Visibility) -> Swap {
    let swap = machine(0);
    let ghost = Ghost::new(4096, GhostSpec { visibility, ..GhostSpec::default() }).expect("a size");
    swap.swapon_storage(Arc::new(ghost), Some(1), Discard::None).expect("a device");
    swap
}

#[test]
fn a_page_that_a_ghost_refuses_becomes_active_and_comes_back_without_a_read() {
    let swap = ghost_machine(Visibility::Visible);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    let folio = mapped.map(0, 0);
    let (stat, kept) = shrink(folio, &swap);
    assert_eq!((stat.nr_reclaimed, stat.nr_activate, kept.len()), (0, 1, 1));
    assert_eq!(stat.error, Some(crate::base::error::SwapError::GhostWrite { first: 1, nr_pages: 1 }));
    assert!(folio.has(FolioFlags::ACTIVE | FolioFlags::DIRTY | FolioFlags::SWAPCACHE));
    assert!(!folio.has(FolioFlags::RECLAIM) && !folio.has(FolioFlags::WRITEBACK));
    let Pte::Swap { entry, .. } = mapped.pte(0) else { panic!("{:?}", mapped.pte(0)) };
    let found = swap.swap_cache_get_folio(entry, CPU).expect("on the device").expect("cached");
    assert_eq!((found.pfn(), &found.bytes().expect("no views")[..64]), (folio.pfn(), &[1; 64][..]));
    drop(found);
    swap.check().expect("every invariant");
}

#[test]
fn devices_that_are_in_no_total_are_room_for_reclaim_all_the_same() {
    for visibility in [Visibility::Visible, Visibility::Listed, Visibility::Hidden] {
        let swap = ghost_machine(visibility);
        let mapped = Mapped::new(&swap, VmaOptions::default());
        // Space on uncounted devices is bounded by the room in zswap.
        let is_counted = visibility == Visibility::Visible;
        assert_eq!(swap.nr_swappable_pages() > 0, is_counted, "{visibility:?}");
        swap.zswap().set_options(crate::zswap::ZswapOptions::default()).expect("good ones");
        (0..64).for_each(|page| {
            let folio = mapped.map(page, 0);
            folio.bytes_mut().expect("no views").fill(0);
        });
        let freed = swap.try_to_free_pages(&|| swap.all_groups(), &ScanControl::global(1, CPU)).expect("a CPU");
        assert!(freed >= 32, "{visibility:?}: {freed} pages of zeros");
        swap.check().expect("every invariant");
    }
}

#[test]
fn without_a_device_nothing_is_scanned_for_anonymous_memory() {
    let swap = machine(0);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    (0..64).for_each(|page| _ = mapped.map(page, 0));
    assert_eq!(swap.try_to_free_pages(&|| swap.all_groups(), &ScanControl::global(1, CPU)), Ok(0));
    assert_eq!(swap.memory_of_folios().lruvec().stat(LruvecStat::Pgscan), 0);
}

#[test]
fn protected_groups_are_passed_over_until_nothing_else_is_left() {
    let swap = machine(1024);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    (0..100).for_each(|page| _ = mapped.map(page, 0));
    let root = swap.memory_of_folios().lruvec().clone();
    let seen = RefCell::new(0);
    let on_low = |_: &ReclaimGroup| *seen.borrow_mut() += 1;
    let sc = ScanControl { on_low: Some(&on_low), ..ScanControl::global(1, CPU) };
    let min = || vec![ReclaimGroup { is_below_min: true, ..group(&root) }];
    assert_eq!(swap.try_to_free_pages(&min, &sc), Ok(0));
    assert_eq!((root.stat(LruvecStat::Pgscan), *seen.borrow()), (0, 0));
    let low = || vec![ReclaimGroup { is_below_low: true, ..group(&root) }];
    let freed = swap.try_to_free_pages(&low, &sc).expect("a CPU");
    assert!((32..64).contains(&freed) && *seen.borrow() > 0, "{freed} pages");
    assert_eq!(root.stat(LruvecStat::Pgsteal), freed);
}

#[test]
fn a_partial_walk_goes_on_where_the_last_one_ended() {
    let swap = machine(4096);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    (0..400).for_each(|page| _ = mapped.map(page, 0));
    let root = swap.memory_of_folios().lruvec().clone();
    let empty = |id| Lruvec::new(crate::base::types::MemcgId(id), 0, None);
    let (one, two, three) = (empty(1), empty(2), empty(3));
    let groups = || vec![group(&one), group(&two), group(&root), group(&three)];
    assert_eq!([0, 1, 2, 3, 9].map(|id| first_turn(&groups(), CssId(id))), [0, 1, 2, 4, 0]);
    let sc = ScanControl { target_lruvec: Some(three.clone()), ..ScanControl::global(32, CPU) };
    three.set_reclaim_cursor(CssId(3));
    assert!(swap.try_to_free_pages(&groups, &sc).expect("a CPU") >= 32);
    assert_eq!(three.reclaim_cursor(), CssId(7), "root's lists had enough");
    // A full walk reaches every group when nothing can be reclaimed.
    let no_swap = ScanControl { may_swap: false, ..sc };
    assert_eq!(swap.try_to_free_pages(&groups, &no_swap), Ok(0));
    assert_eq!(three.reclaim_cursor(), CssId(7));
}

#[test]
fn active_pages_age_when_inactive_ones_are_few() {
    let swap = machine(1024);
    let mapped = Mapped::new(&swap, VmaOptions::default());
    let root = swap.memory_of_folios().lruvec().clone();
    for page in 0..100 {
        let folio = mapped.map(page, 0);
        folio.lru_del();
        folio.set(FolioFlags::ACTIVE);
        folio.lru_add();
    }
    // One batch is enough, because no page was inactive before.
    assert!(swap.try_to_free_pages(&|| vec![group(&root)], &ScanControl::global(1, CPU)).expect("a CPU") >= 32);
    let (refilled, deactivated) = (root.stat(LruvecStat::Pgrefill), root.stat(LruvecStat::Pgdeactivate));
    assert!(deactivated >= 32 && refilled == deactivated, "{deactivated} of {refilled}");
    assert!(root.cost().anon_pages > 0, "writing has its price");
    swap.check().expect("every invariant");
}
