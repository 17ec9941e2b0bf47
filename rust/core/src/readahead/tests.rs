//! Tests of the readahead windows. The expected values come from hand calculations and from a slow second
//! implementation of the computation of windows.

use proptest::prelude::*;

use super::*;

const MAX_PAGES: u32 = 1 << 20;

/// Computes the size of a window as `swap_ra_window` does, one step at a time.
fn naive_window(prev: u64, offset: u64, hits: u32, max_pages: u32, prev_window_pages: u32) -> u32 {
    let mut pages = u64::from(hits) + 2;
    if pages == 2 {
        if offset != prev.wrapping_add(1) && offset != prev.wrapping_sub(1) {
            pages = 1;
        }
    } else {
        let mut rounded = 4;
        while rounded < pages {
            rounded *= 2;
        }
        pages = rounded;
    }
    if pages > u64::from(max_pages) {
        pages = u64::from(max_pages);
    }
    if pages < u64::from(prev_window_pages / 2) {
        pages = u64::from(prev_window_pages / 2);
    }
    pages as u32
}

fn faults(state: &ClusterReadahead, steps: &[(u32, u32, u32, u32)]) {
    for &(offset, hits, first, last) in steps {
        state.hits.store(hits, Ordering::Relaxed);
        let window = state.window(SwpOffset(offset), MAX_PAGES);
        assert_eq!((window.first.0, window.last.0), (first, last), "slot {offset} with {hits} hits");
    }
}

#[test]
fn cluster_windows_follow_the_reference_vectors() {
    let state = ClusterReadahead::default();
    assert_eq!(state.hits.load(Ordering::Relaxed), 4);
    faults(&state, &[(1000, 4, 1000, 1007), (2000, 0, 2000, 2003), (3000, 0, 3000, 3001), (4000, 0, 4000, 4000)]);
    faults(&state, &[(5000, 0, 5000, 5000), (5001, 0, 5000, 5001), (5002, 0, 5002, 5003)]);
    faults(&state, &[(5003, 3, 5000, 5007), (5004, 7, 5000, 5007)]);
}

#[test]
fn previous_slot_moves_only_without_hits() {
    let state = ClusterReadahead::default();
    // The fault on slot 500 has a hit, so slot 9 stays the previous target. Slot 899 is the neighbour of slot 900, so
    // the last window has 2 slots.
    faults(&state, &[(9, 0, 9, 9), (500, 1, 500, 503), (10, 0, 10, 11), (900, 0, 900, 900), (899, 0, 898, 899)]);
}

#[test]
fn hits_are_taken_by_the_next_window() {
    let state = ClusterReadahead::default();
    assert_eq!(state.window(SwpOffset(64), MAX_PAGES).nr_pages(), 8);
    state.hit();
    state.hit();
    assert_eq!(state.window(SwpOffset(64), MAX_PAGES).nr_pages(), 4, "2 hits + 2 = 4 pages");
    (0..3).for_each(|_| state.hit());
    assert_eq!(state.window(SwpOffset(64), MAX_PAGES).nr_pages(), 8, "3 hits + 2 = 5 pages, rounded up to 8");
    assert_eq!(state.hits.load(Ordering::Relaxed), 0);
}

#[test]
fn header_and_end_of_device_are_cut_off() {
    for (offset, max_pages) in [(3, 6), (1, 2)] {
        let window = ClusterReadahead::default().window(SwpOffset(offset), max_pages);
        assert!(window.slots().map(|slot| slot.0).eq(1..max_pages));
        assert_eq!(window.nr_pages(), max_pages - 1);
    }
}

#[test]
fn page_cluster_zero_touches_no_state() {
    let state = ClusterReadahead::default();
    state.set_page_cluster(0).expect("in range");
    assert_eq!(state.window(SwpOffset(77), MAX_PAGES).nr_pages(), 1);
    assert_eq!(state.hits.load(Ordering::Relaxed), 4);
    state.set_page_cluster(4).expect("in range");
    state.hits.store(9, Ordering::Relaxed);
    assert_eq!(state.window(SwpOffset(77), MAX_PAGES).nr_pages(), 16);
}

#[test]
fn page_cluster_has_its_bounds() {
    let state = ClusterReadahead::default();
    assert_eq!(state.page_cluster(), 3);
    let error = state.set_page_cluster(32).expect_err("over 31");
    assert_eq!((error.to_string().as_str(), error.errno()), ("page_cluster 32 is not in 0..=31", 22));
    state.set_page_cluster(31).expect("the largest");
    state.hits.store(u32::MAX, Ordering::Relaxed);
    let window = state.window(SwpOffset(5), u32::MAX);
    assert_eq!((window.first.0, window.last.0), (1, (1 << 31) - 1));
}

#[test]
fn window_comes_down_by_halves_when_the_maximum_falls() {
    let state = ClusterReadahead::default();
    state.set_page_cluster(5).expect("in range");
    faults(&state, &[(4096, 30, 4096, 4127)]);
    state.set_page_cluster(1).expect("in range");
    faults(&state, &[(8192, 0, 8192, 8207), (9000, 0, 9000, 9007), (9100, 0, 9100, 9103), (9200, 0, 9200, 9201)]);
}

fn vma(start: u64, end: u64) -> Range<Vpn> {
    Vpn(start)..Vpn(end)
}

#[test]
fn vma_word_packs_address_window_and_hits() {
    let word = VmaRaWord::new(Vpn::of_address(0x7f12_3456_7fff), 8, 5);
    assert_eq!(word.0, 0x7f12_3456_7205);
    assert_eq!((word.fault(), word.window_pages(), word.hits()), (Vpn(0x7_f123_4567), 8, 5));
    let untouched = VmaRaWord::default();
    assert_eq!((untouched.fault(), untouched.window_pages(), untouched.hits()), (Vpn(0), 0, 4));
    assert_eq!(VmaRaWord(0x1000).hits(), 0, "a word that is not 0 has the hits of its hit bits");
}

#[test]
fn vma_window_lies_in_the_direction_of_the_last_step() {
    let state = VmaReadahead::default();
    for (fault, window_pages, window) in [
        // 4 hits give a window of 8 pages, because 4 + 2 rounds up to 8. The fault is no neighbour of the last
        // fault, so the window has 3 pages before the fault and 4 pages after it.
        (1000, 8, vma(997, 1005)),
        // A step forward without hits gives half of the last window: 4 pages that start at the fault.
        (1001, 4, vma(1001, 1005)),
        // A step backward gives 2 pages that end at the fault.
        (1000, 2, vma(999, 1001)),
        // A jump gives 1 page.
        (700, 1, vma(700, 701)),
        // A step backward after the jump gives 2 pages that end at the fault.
        (699, 2, vma(698, 700)),
    ] {
        assert_eq!(state.window(Vpn(fault), vma(0, 1 << 20), 3), window);
        assert_eq!(state.word(), VmaRaWord::new(Vpn(fault), window_pages, 0));
    }
}

#[test]
fn vma_window_is_cut_at_the_vma_and_at_its_page_table() {
    let at = |word, fault, area| VmaRaWord(word).after_fault(Vpn(fault), area, 3).0;
    assert_eq!(at(0, 1000, vma(999, 1002)), vma(999, 1002));
    assert_eq!(at(0, 1024, vma(0, 1 << 20)), vma(1024, 1029), "page 1024 is the first of its page table");
    assert_eq!(at(0, 1023, vma(0, 1 << 20)), vma(1020, 1024), "page 1023 is the last of its page table");
    assert_eq!(at(0, 2, vma(0, 1 << 20)), vma(0, 7), "nothing lies before page 0");
    assert_eq!(at(0, 1, vma(0, 1 << 20)), vma(1, 9), "the last fault of word 0 is page 0, so page 1 is a step forward");
    // Page 1536 is the first page of its page table. The window after a step backward ends at page 1536 and is cut at
    // the start of the page table, so the window has only this page.
    let word = VmaRaWord::new(Vpn(1537), 8, 6).0;
    assert_eq!(at(word, 1536, vma(0, 1 << 20)), vma(1536, 1537));
}

#[test]
fn vma_window_is_at_most_32_pages_and_off_at_page_cluster_zero() {
    let word = VmaRaWord::new(Vpn(10_000), 32, 63);
    let (pages, after) = word.after_fault(Vpn(10_001), vma(0, 1 << 20), 31);
    assert_eq!((pages, after), (vma(10_001, 10_033), VmaRaWord::new(Vpn(10_001), 32, 0)));
    assert_eq!(word.after_fault(Vpn(10_001), vma(0, 1 << 20), 0), (vma(10_001, 10_002), word));
}

#[test]
fn vma_hits_are_counted_up_to_63_and_the_address_always_moves() {
    let word = VmaRaWord::new(Vpn(50), 8, 62);
    let word = word.after_hit(Vpn(51), ReadaheadFlag::Set);
    assert_eq!(word, VmaRaWord::new(Vpn(51), 8, 63));
    assert_eq!(word.after_hit(Vpn(52), ReadaheadFlag::Set), VmaRaWord::new(Vpn(52), 8, 63));
    assert_eq!(word.after_hit(Vpn(40), ReadaheadFlag::Clear), VmaRaWord::new(Vpn(40), 8, 63));
    assert_eq!(VmaRaWord::default().after_hit(Vpn(9), ReadaheadFlag::Set), VmaRaWord::new(Vpn(9), 0, 5));
    let state = VmaReadahead::default();
    state.hit(Vpn(9), ReadaheadFlag::Clear);
    assert_eq!(state.word(), VmaRaWord::new(Vpn(9), 0, 4));
}

proptest! {
    #[test]
    fn windows_agree_with_the_slow_reading(
        prev in prop_oneof![Just(0u64), 1..100u64],
        offset in 0..100u64,
        hits in prop_oneof![0..70u32, Just(u32::MAX)],
        max_log in 1..32u32,
        prev_log in 0..32u32,
    ) {
        let (max_pages, prev_pages) = (1 << max_log, (1u32 << prev_log) & !1);
        let window_pages = swap_ra_window(prev, offset, hits, max_pages, prev_pages);
        prop_assert_eq!(window_pages, naive_window(prev, offset, hits, max_pages, prev_pages));
        prop_assert!(window_pages.is_power_of_two() && window_pages <= max_pages.max(prev_pages / 2));
    }

    #[test]
    fn vma_window_holds_the_fault_and_stays_inside(
        steps in prop::collection::vec((0..1500u64, 0..64u32), 1..50),
        page_cluster in 0..8u32,
        start in 0..300u64,
        len in 1..1200u64,
    ) {
        let area = vma(start, start + len);
        let mut word = VmaRaWord::default();
        for (at, hits) in steps {
            let fault = Vpn(start + at % len);
            let (pages, after) = word.after_fault(fault, area.clone(), page_cluster);
            prop_assert!(pages.contains(&fault) && pages.start >= area.start && pages.end <= area.end);
            // For each page of the VMA the test computes, from the distance to the last fault, whether the window has
            // the page.
            let win = i128::from(after.window_pages());
            for page in i128::from(start)..i128::from(start + len) {
                let distance = page - i128::from(fault.0);
                let is_wanted = match i128::from(fault.0) - i128::from(word.fault().0) {
                    _ if page_cluster == 0 => distance == 0,
                    1 => (0..win).contains(&distance),
                    -1 => (1 - win..1).contains(&distance),
                    _ => (-((win - 1) / 2)..win - (win - 1) / 2).contains(&distance),
                };
                let is_near = page / 512 == i128::from(fault.0) / 512;
                prop_assert_eq!(pages.contains(&Vpn(page as u64)), is_wanted && is_near);
            }
            word = if page_cluster == 0 { after } else { VmaRaWord::new(after.fault(), after.window_pages(), hits) };
        }
    }
}
