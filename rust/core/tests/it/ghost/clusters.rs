//! Tests of ghost devices: the creation and destruction of clusters, the choice of slots, sizes, and refused writes.

use std::sync::Arc;

use swapcore::cluster::ListId;
use swapcore::storage::header::SwapHeader;
use swapcore::storage::{Ghost, SwapStorage};
use swapcore::table::EntryKind;
use swapcore::{
    DeviceSpec, Discard, FolioFlags, GhostSpec, MappedFolio, Order, Orders, Profile, Swap, SwapDevice, SwapError,
    Swapin, SwpEntry, SwpOffset, Visibility,
};

use crate::common::{C, CPU, Dir, ghost_on, order, stat, virtual_spec, with_ghost};

/// Allocates up to `nr` single slots and returns their numbers.
fn take(swap: &Swap, nr: usize) -> Vec<u32> {
    (0..nr).map_while(|_| swap.alloc(Order::ZERO, CPU).ok()).map(|entry| entry.offset().0).collect()
}

fn entry(device: &SwapDevice, offset: u32) -> SwpEntry {
    device.entry_at(SwpOffset(offset))
}

fn live(device: &SwapDevice) -> Vec<u32> {
    device.cluster_infos().map(|info| info.idx.0).collect()
}

fn lists(swap: &Swap, device: &SwapDevice) -> Vec<(ListId, Vec<u32>)> {
    let dump = swap.dump_devices().into_iter().find(|dump| dump.ty == device.ty()).expect("the device is on");
    dump.lists.into_iter().map(|(list, members)| (list, members.into_iter().map(|idx| idx.0).collect())).collect()
}

fn ranges(slots: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &slot in slots {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => ranges.push((slot, slot)),
        }
    }
    ranges
}

/// Example E12 of `docs/steps.md` in profile `Series`. Cluster 0 is on no list, and the ghost refuses large orders.
#[test]
fn e12_series() {
    let (swap, device) = with_ghost(2, Profile::Series, 3072);
    assert_eq!(live(&device), [0]);
    assert_eq!(ranges(&take(&swap, 600)), [(512, 1111)]);
    (512..1024).for_each(|slot| swap.put(entry(&device, slot), 1, CPU).expect("in use"));
    assert_eq!(live(&device), [0, 2], "index 1 is destroyed");
    assert_eq!(ranges(&take(&swap, 1000)), [(1112, 1535), (512, 1023), (1536, 1599)], "the lowest free index is 1");
    assert_eq!(swap.alloc(order(4), CPU), Err(SwapError::NoSpace { nr_pages: 16 }));
    take(&swap, usize::MAX);
    assert_eq!((swap.inuse_pages(device.ty()), device.pages()), (2560, 3071), "cluster 0 is never used");
    assert_eq!(swap.dump_avail().len(), 1, "the device is still on the avail list");
    swap.check().expect("every invariant");
}

/// Example E12 of `docs/steps.md` in profile `Newest`. Cluster 0 is used, and the ghost serves large orders.
#[test]
fn e12_newest() {
    let (swap, device) = with_ghost(2, Profile::Newest, 3072);
    assert_eq!(lists(&swap, &device), [(ListId::Nonfull(Order::ZERO), vec![0])]);
    assert_eq!(ranges(&take(&swap, 600)), [(1, 600)]);
    assert_eq!(swap.alloc(order(4), CPU).map(|entry| entry.offset()), Ok(SwpOffset(1024)));
    assert_eq!(take(&swap, 5000).len(), 3071 - 600 - 16);
    assert_eq!(swap.alloc(Order::ZERO, CPU), Err(SwapError::NoSpace { nr_pages: 1 }));
    assert!(swap.dump_avail().is_empty(), "the device is full");
    swap.put(entry(&device, 700), 1, CPU).expect("in use");
    assert_eq!((swap.dump_avail().len(), take(&swap, 9)), (1, vec![700]));
    swap.check().expect("every invariant");
}

#[test]
fn slot_0_is_never_handed_out_and_its_cluster_stays() {
    let (swap, device) = with_ghost(2, Profile::Newest, 4 * C);
    let slots = take(&swap, usize::MAX);
    assert_eq!(ranges(&slots), [(1, 4 * C - 1)]);
    slots.iter().for_each(|&slot| swap.put(entry(&device, slot), 1, CPU).expect("in use"));
    assert_eq!((live(&device), device.get(SwpOffset(0)).kind()), (vec![0], EntryKind::Bad));
    assert_eq!(device.memory().table_bytes, 4096);
    swap.check().expect("every invariant");
}

#[test]
fn a_tail_is_bad_once_its_cluster_exists_and_the_cluster_stays() {
    let (swap, device) = with_ghost(2, Profile::Newest, 2 * C + 100);
    assert_eq!((live(&device), device.nr_bad()), (vec![0], 1));
    let slots = take(&swap, usize::MAX);
    assert_eq!((ranges(&slots), device.nr_bad()), (vec![(1, 2 * C + 99)], 1 + 412));
    swap.check().expect("every invariant");
    slots.iter().for_each(|&slot| swap.put(entry(&device, slot), 1, CPU).expect("in use"));
    assert_eq!(live(&device), [0, 2]);
    let tiny = ghost_on(&swap, 100, GhostSpec::default(), 5);
    assert_eq!((ranges(&take(&swap, 99)), tiny.nr_bad()), (vec![(1, 99)], 1 + 412));
    swap.check().expect("every invariant");
}

#[test]
fn the_lowest_free_index_is_the_next_one_used() {
    let (swap, device) = with_ghost(2, Profile::Newest, 64 * C);
    let runs: Vec<_> = (0..63).map(|_| swap.alloc(Order::MAX, CPU).expect("a cluster each")).collect();
    assert_eq!(live(&device), (0..64).collect::<Vec<_>>());
    for idx in [40, 7, 22] {
        swap.put(runs[idx - 1], C, CPU).expect("in use");
    }
    let again: Vec<_> = (0..3).map(|_| swap.alloc(Order::MAX, CPU).expect("room").offset().cluster().0).collect();
    assert_eq!(again, [7, 22, 40]);
    assert_eq!(swap.alloc(Order::MAX, CPU), Err(SwapError::NoSpace { nr_pages: C }));
    swap.check().expect("every invariant");
}

/// A request gets ENOSPC if it needs a new cluster and no cluster can be created. The existing clusters still serve
/// requests.
#[test]
fn a_cluster_that_cannot_be_made_is_no_room() {
    let (swap, device) = with_ghost(2, Profile::Newest, 64 * C);
    device.limit_clusters(2);
    assert_eq!(ranges(&take(&swap, usize::MAX)), [(1, 2 * C - 1)]);
    swap.put(entry(&device, 3), 1, CPU).expect("in use");
    assert_eq!((swap.alloc(order(1), CPU).map_err(|error| error.errno()), take(&swap, 9)), (Err(28), vec![3]));
    swap.check().expect("every invariant");
    device.limit_clusters(u32::MAX);
    assert_eq!(take(&swap, 1), [2 * C]);
    swap.check().expect("every invariant");
}

/// A ghost refuses to write a page, so the page stays in memory, dirty and mapped.
#[test]
fn a_write_is_refused_and_the_folio_stays() {
    let (swap, device) = with_ghost(2, Profile::Newest, 8 * C);
    let folio = MappedFolio::map(swap.folio_with(Order::ZERO, b"not zeros").expect("memory"));
    let kept = swap.swap_out(folio, CPU).expect_err("there is no place for it");
    assert_eq!(kept.error, SwapError::GhostWrite { first: 1, nr_pages: 1 });
    assert!(kept.folio.folio().has(FolioFlags::DIRTY | FolioFlags::SWAPCACHE | FolioFlags::UPTODATE));
    assert_eq!(&kept.folio.folio().bytes().expect("no views")[..9], b"not zeros");
    assert_eq!(stat(&swap, "write_errors"), 0, "no device failed");
    // A page of zeros is not written, because its slot gets a zero mark.
    let zeros = MappedFolio::map(swap.folio_zeroed(Order::ZERO).expect("memory"));
    let entry = swap.swap_out(zeros, CPU).expect("a zero mark is enough");
    assert_eq!((stat(&swap, "swpout_zero"), entry.ty()), (1, device.ty()));
    swap.put(entry, 1, CPU).expect("in use");
    swap.check().expect("every invariant");
}

/// A slot whose page was never written cannot be read, but the slot can be freed.
#[test]
fn a_read_of_nothing_is_an_error() {
    let (swap, device) = with_ghost(2, Profile::Newest, 8 * C);
    let slot = swap.alloc(Order::ZERO, CPU).expect("room");
    let error = swap.swap_in(slot, 1, &Swapin::new(CPU, Orders::ZERO)).map(|_| ()).expect_err("nothing there");
    assert_eq!((error.errno(), swap.inuse_pages(device.ty())), (5, 1));
    swap.put(slot, 1, CPU).expect("still in use");
    swap.check().expect("every invariant");
}

#[test]
fn nr_real_swapfiles_counts_devices_with_storage_and_room() {
    let (swap, ghost) = with_ghost(2, Profile::Newest, 8 * C);
    assert_eq!(swap.nr_real_swapfiles(), 0);
    let disk = swap.swapon(&DeviceSpec::new(C).priority(5)).expect("a good device");
    assert_eq!(swap.nr_real_swapfiles(), 1);
    let slots: Vec<_> = (0..C - 1).map(|_| swap.alloc(Order::ZERO, CPU).expect("room")).collect();
    assert!(slots.iter().all(|slot| slot.ty() == disk.ty()));
    assert_eq!(swap.nr_real_swapfiles(), 0, "a full device is not counted");
    assert_eq!(swap.alloc(Order::ZERO, CPU).map(|slot| slot.ty()), Ok(ghost.ty()));
    swap.put(slots[9], 1, CPU).expect("in use");
    assert_eq!(swap.nr_real_swapfiles(), 1);
    slots.iter().enumerate().filter(|(i, _)| *i != 9).for_each(|(_, &slot)| swap.put(slot, 1, CPU).expect("in use"));
    swap.swapoff(&disk, |_, _| Ok(())).expect("nothing in use");
    assert_eq!(swap.nr_real_swapfiles(), 0);
    swap.check().expect("every invariant");
}

#[test]
fn ghosts_that_are_not_visible_are_in_no_total() {
    let swap = Swap::new(1, Profile::Newest).expect("a CPU");
    swap.swapon(&DeviceSpec::new(1024).priority(1)).expect("a good device");
    for (visibility, total) in [(Visibility::Listed, 1023), (Visibility::Hidden, 1023), (Visibility::Visible, 5118)] {
        let ghost = ghost_on(&swap, 4096, GhostSpec { visibility, ..GhostSpec::default() }, 9);
        assert_eq!((swap.total_swap_pages(), swap.nr_swap_pages()), (total, total as i64), "{visibility:?}");
        let slots = take(&swap, 1000);
        let free = total as i64 - if visibility == Visibility::Visible { 1000 } else { 0 };
        assert_eq!((swap.inuse_pages(ghost.ty()), swap.nr_swap_pages()), (1000, free), "{visibility:?}");
        assert_eq!((ghost.visibility(), swap.vm_swap_full()), (Some(visibility), false));
        swap.check().expect("every invariant");
        slots.iter().for_each(|&slot| swap.put(entry(&ghost, slot), 1, CPU).expect("in use"));
        swap.swapoff(&ghost, |_, _| Ok(())).expect("nothing in use");
        assert_eq!((swap.total_swap_pages(), swap.nr_swap_pages()), (1023, 1023), "{visibility:?}");
        assert_eq!(Visibility::from_name(visibility.name()), Ok(visibility));
    }
}

/// A request with a folio gets slots of a virtual device even if another device has a higher priority. A request
/// without a folio gets slots of another device.
#[test]
fn virtual_devices_come_first_for_folios() {
    let swap = Swap::new(1, Profile::Newest).expect("a CPU");
    let disk = swap.swapon(&DeviceSpec::new(4 * C).priority(100)).expect("a good device");
    let spec = virtual_spec(Visibility::Hidden);
    let [low, high] = [1, 7].map(|priority| ghost_on(&swap, 2 * C, spec, priority));
    assert_eq!((swap.nr_real_swapfiles(), swap.alloc(Order::ZERO, CPU).map(|slot| slot.ty())), (1, Ok(disk.ty())));
    let mut folios = Vec::new();
    let mut place = |order: Order| {
        let folio = swap.folio_zeroed(order).expect("memory");
        let entry = swap.folio_alloc_swap(&folio, CPU).expect("room");
        folios.push(folio);
        (entry.ty(), entry.offset().0)
    };
    assert_eq!(place(Order::ZERO), (high.ty(), 1));
    assert_eq!(place(Order::MAX), (high.ty(), C), "large folios too");
    assert_eq!(place(Order::MAX), (disk.ty(), C), "the first device with room is tried, then those with storage");
    assert_eq!(place(Order::ZERO), (high.ty(), 2));
    (3..C).for_each(|slot| assert_eq!(place(Order::ZERO), (high.ty(), slot)));
    assert_eq!(place(Order::ZERO), (low.ty(), 1));
    assert_eq!(swap.alloc(Order::ZERO, CPU).map(|slot| slot.parts()), Ok(Some((disk.ty(), SwpOffset(2)))));
    assert_eq!(swap.devices().iter().map(|device| device.ty()).collect::<Vec<_>>(), [low.ty(), disk.ty(), high.ty()]);
    swap.check().expect("every invariant");
    drop(folios);
}

#[test]
fn slots_alone_go_to_virtual_devices_when_there_are_no_others() {
    let swap = Swap::new(1, Profile::Newest).expect("a CPU");
    let spec = virtual_spec(GhostSpec::default().visibility);
    let ghost = ghost_on(&swap, 4 * C, spec, 1);
    assert_eq!(ranges(&take(&swap, usize::MAX)), [(1, 4 * C - 1)]);
    assert!(swap.alloc_batch(Order::ZERO, CPU, &mut [SwpEntry::NONE; 4]) == Ok(0));
    swap.put(entry(&ghost, 5), 1, CPU).expect("in use");
    assert_eq!(take(&swap, 9), [5]);
    swap.check().expect("every invariant");
}

/// Two ghosts and a device with storage have two priorities. The test fills all three devices and turns them off
/// while they are in use.
#[test]
fn ghosts_and_others_together() {
    let swap = Swap::new(1, Profile::Newest).expect("a CPU");
    let first = ghost_on(&swap, 4 * C, GhostSpec::default(), 5);
    let disk = swap.swapon(&DeviceSpec::new(4 * C).priority(5)).expect("a good device");
    let second = ghost_on(&swap, 4 * C, GhostSpec::default(), 3);
    let slots: Vec<_> = (0..3 * (4 * C - 1)).map(|_| swap.alloc(Order::ZERO, CPU).expect("room")).collect();
    // Devices of equal priority take turns cluster by cluster.
    let types: Vec<_> = slots.iter().step_by(C as usize).map(|slot| slot.ty().0).take(4).collect();
    assert_eq!(types, [first.ty().0, disk.ty().0, first.ty().0, disk.ty().0]);
    assert_eq!(swap.inuse_pages(second.ty()), u64::from(4 * C - 1));
    swap.check().expect("every invariant");
    let mut nr_unused = 0;
    let unuse = |slot, count| {
        nr_unused += 1;
        assert_eq!(count, 1);
        swap.put(slot, 1, CPU)
    };
    swap.swapoff(&first, unuse).expect("all given back");
    assert_eq!(nr_unused, 4 * C - 1);
    assert_eq!(swap.devices().len(), 2);
    swap.check().expect("every invariant");
    let error = swap.swapoff(&second, |_, _| Err(SwapError::Interrupted)).expect_err("interrupted");
    assert_eq!(error, SwapError::Interrupted);
    swap.check().expect("it is on again");
}

#[test]
fn a_ghost_is_opened_by_its_header_page() {
    let dir = Dir::new("ghost");
    let path = dir.path().join("header");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("a file");
        Ghost::open(&path, GhostSpec::default())
    };
    let header = SwapHeader { last_page: 99_999, bad_pages: vec![], uuid: [0; 16], label: "ghost".into() }
        .build()
        .expect("a page");
    let ghost = open(&header).expect("a header");
    assert_eq!((ghost.spec().max_pages, ghost.kind()), (100_000, "ghost"));
    let swap = Swap::new(1, Profile::Newest).expect("a CPU");
    assert_eq!(swap.swapon_storage(Arc::new(ghost), None, Discard::None).map(|device| device.pages()), Ok(99_999));
    assert_eq!(open(&[header, vec![0]].concat()).map_err(|error| error.errno()), Err(22), "more than a page");
    assert_eq!(open(&[0; 4096]).map_err(|error| error.errno()), Err(22), "no header");
    assert_eq!(open(&[0; 100]).map_err(|error| error.errno()), Err(22), "less than a page");
    assert_eq!(Ghost::open(&dir.path().join("none"), GhostSpec::default()).map_err(|error| error.errno()), Err(2));
}

/// An empty ghost takes at most 64 KiB. A ghost with half a percent of its slots in use takes at most 8.5 bytes for
/// each slot in use.
#[test]
fn memory_follows_what_is_in_use() {
    let swap = Swap::new(1, Profile::Newest).expect("a CPU");
    let before = swap.percpu_bytes();
    let device = ghost_on(&swap, 15 << 28, GhostSpec::default(), 1);
    let empty = device.memory();
    assert!(empty.total_bytes() <= 64 << 10, "{empty:?}");
    assert_eq!((empty.table_bytes, empty.extend_bytes, swap.percpu_bytes()), (4096, 0, before));
    // The loop fills half a percent of the clusters, which is 39 thousand of 7.8 million clusters.
    let nr_clusters = (15 << 28) / C / 200;
    for _ in 0..nr_clusters {
        swap.alloc(Order::MAX, CPU).expect("room");
    }
    let used = device.memory();
    let live = f64::from(nr_clusters * C);
    assert_eq!(used.table_bytes, u64::from(nr_clusters + 1) * 4096);
    assert!(used.total_bytes() as f64 / live <= 8.5, "{used:?}");
    assert_eq!(device.nr_live_clusters(), nr_clusters + 1);
}

#[test]
fn an_unlisted_first_cluster_counts_as_used_memory_only() {
    let (swap, device) = with_ghost(2, Profile::Series, 3 * C);
    assert_eq!((device.pages(), swap.nr_swap_pages()), (3 * C - 1, i64::from(3 * C - 1)));
    assert_eq!(lists(&swap, &device), []);
    assert_eq!(take(&swap, usize::MAX).len() as u32, 2 * C);
    swap.check().expect("every invariant");
    swap.swapoff(&device, |slot, _| swap.put(slot, 1, CPU)).expect("all given back");
}
