//! Tests of ghost devices whose size changes while the devices are on.

use swapcore::table::Shadow;
use swapcore::{DeviceSpec, FolioFlags, Order, Profile, Resize, Swap, SwapError, SwpEntry, SwpOffset};

use crate::common::{C, CPU, with_ghost};

fn fill(swap: &Swap) -> Vec<SwpEntry> {
    std::iter::from_fn(|| swap.alloc(Order::ZERO, CPU).ok()).collect()
}

fn sizes(max_pages: u32, limit_pages: u32) -> Result<Resize, SwapError> {
    Ok(Resize { max_pages, limit_pages })
}

#[test]
fn a_full_device_grows_and_serves_again() {
    let (swap, device) = with_ghost(1, Profile::Newest, 2 * C);
    assert_eq!(fill(&swap).len() as u32, 2 * C - 1);
    assert!(swap.dump_avail().is_empty());
    assert_eq!(swap.resize(&device, 3 * C), sizes(3 * C, 3 * C));
    swap.check().expect("every invariant");
    assert_eq!(fill(&swap).iter().map(|slot| slot.offset().0).collect::<Vec<_>>(), (2 * C..3 * C).collect::<Vec<_>>());
    assert_eq!((device.pages(), swap.total_swap_pages(), swap.nr_swap_pages()), (3 * C - 1, 3 * 512 - 1, 0));
    swap.check().expect("every invariant");
}

#[test]
fn a_tail_becomes_usable_when_the_device_grows_over_it() {
    let (swap, device) = with_ghost(1, Profile::Newest, C + 100);
    let slots = fill(&swap);
    assert_eq!((slots.len() as u32, device.nr_bad()), (C + 99, 1 + 412));
    assert_eq!(swap.resize(&device, 2 * C), sizes(2 * C, 2 * C));
    assert_eq!((device.nr_bad(), device.pages()), (1, 2 * C - 1));
    swap.check().expect("every invariant");
    assert_eq!(fill(&swap).first().map(|slot| slot.offset()), Some(SwpOffset(C + 100)));
    // The cluster of the tail has no slot in use, so the resize destroys this cluster.
    let (swap, device) = with_ghost(1, Profile::Newest, C + 100);
    fill(&swap).into_iter().for_each(|slot| swap.put(slot, 1, CPU).expect("in use"));
    assert_eq!((device.nr_live_clusters(), swap.resize(&device, 4 * C)), (2, sizes(4 * C, 4 * C)));
    assert_eq!(device.nr_live_clusters(), 1);
    swap.check().expect("every invariant");
}

#[test]
fn slots_in_use_keep_a_device_from_shrinking() {
    let (swap, device) = with_ghost(1, Profile::Newest, 4 * C);
    let slots = fill(&swap);
    let put = |offset: u32| swap.put(device.entry_at(SwpOffset(offset)), 1, CPU).expect("in use");
    put(5);
    put(4 * C - 1);
    assert_eq!(swap.resize(&device, 2 * C), sizes(4 * C, 2 * C));
    assert_eq!((device.limit_pages(), swap.total_swap_pages()), (2 * C, u64::from(4 * C - 1)));
    swap.check().expect("every invariant");
    assert_eq!(fill(&swap).iter().map(|slot| slot.offset().0).collect::<Vec<_>>(), [5], "no new slot beyond the limit");
    (2 * C..4 * C - 1).for_each(put);
    assert_eq!(swap.nr_swap_pages(), 0, "free slots beyond the limit are not counted");
    assert!(fill(&swap).is_empty(), "slots beyond the limit are not handed out again");
    swap.check().expect("every invariant");
    assert_eq!(swap.resize(&device, 2 * C), sizes(2 * C, 2 * C));
    swap.check().expect("every invariant");
    assert_eq!((swap.nr_swap_pages(), swap.dump_avail().len(), device.nr_live_clusters()), (0, 0, 2));
    let beyond = device.entry_at(SwpOffset(2 * C));
    assert_eq!(swap.put(beyond, 1, CPU), Err(SwapError::BadRange { entry: beyond, nr_pages: 1, max_pages: 2 * C }));
    assert_eq!(slots.len() as u32, 4 * C - 1);
}

#[test]
fn a_limit_is_lifted_by_growing_again() {
    let (swap, device) = with_ghost(1, Profile::Newest, 4 * C);
    let slots = fill(&swap);
    swap.put(slots[3 * C as usize], 1, CPU).expect("in use");
    assert_eq!(swap.resize(&device, C), sizes(4 * C, C));
    assert_eq!(swap.nr_swap_pages(), 0);
    swap.check().expect("every invariant");
    assert!(fill(&swap).is_empty());
    assert_eq!(swap.resize(&device, 2 * C), sizes(4 * C, 2 * C));
    assert_eq!(swap.nr_swap_pages(), 0);
    swap.swapoff(&device, |_, _| Err(SwapError::Interrupted)).expect_err("slots are in use");
    assert_eq!(swap.nr_swap_pages(), 0, "a failed swapoff keeps the limit");
    swap.check().expect("every invariant");
    assert_eq!(swap.resize(&device, 4 * C), sizes(4 * C, 4 * C));
    assert_eq!(swap.nr_swap_pages(), 1);
    swap.check().expect("every invariant");
    assert_eq!(fill(&swap), [slots[3 * C as usize]]);
}

/// A resize to a smaller size frees slots that have no references and that only the swap cache holds.
#[test]
fn cached_slots_without_references_do_not_keep_a_device_large() {
    let (swap, device) = with_ghost(1, Profile::Newest, 4 * C);
    let folio = swap.folio_zeroed(Order::MAX).expect("memory");
    let entry = swap.folio_alloc_swap(&folio, CPU).expect("room");
    assert_eq!(entry.offset(), SwpOffset(C));
    let mut on_cpu = swap.on_cpu(CPU).expect("a CPU");
    let pinned = swap.folio_zeroed(Order::MAX).expect("memory");
    on_cpu.folio_alloc_swap(pinned.folio()).expect("room");
    on_cpu.folio_dup_swap(pinned.folio(), None).expect("cached");
    drop(on_cpu);
    assert_eq!(swap.resize(&device, C), sizes(4 * C, C), "the slots of the second folio have references");
    assert!(!folio.has(FolioFlags::SWAPCACHE) && folio.has(FolioFlags::DIRTY) && pinned.has(FolioFlags::SWAPCACHE));
    let mut on_cpu = swap.on_cpu(CPU).expect("a CPU");
    on_cpu.folio_put_swap(pinned.folio(), None).expect("referenced");
    on_cpu.swap_cache_del_folio(pinned.folio(), Shadow::default()).expect("cached");
    drop(on_cpu);
    assert_eq!(swap.resize(&device, C), sizes(C, C));
    swap.check().expect("every invariant");
}

#[test]
fn what_cannot_be_resized_says_so() {
    let (swap, ghost) = with_ghost(1, Profile::Newest, 4 * C);
    let disk = swap.swapon(&DeviceSpec::new(4 * C).priority(1)).expect("a good device");
    assert_eq!(swap.resize(&disk, 8 * C), Err(SwapError::FixedSize(disk.ty().0)));
    assert_eq!(swap.resize(&ghost, 1000), Err(SwapError::BadSize(1000)));
    assert_eq!(swap.resize(&ghost, 0), Err(SwapError::BadSize(0)));
    assert_eq!(swap.resize(&ghost, u32::MAX - 511), sizes(u32::MAX - 511, u32::MAX - 511));
    swap.swapoff(&ghost, |_, _| Ok(())).expect("nothing in use");
    assert_eq!(swap.resize(&ghost, C).map_err(|error| error.errno()), Err(2));
}
