//! Ghost devices: clusters that come and go, placement, size, and what happens where nothing can be written.

use std::sync::Arc;

use swapcore::cluster::ListId;
use swapcore::storage::Ghost;
use swapcore::table::EntryKind;
use swapcore::{CpuId, Discard, GhostSpec, Order, Profile, Swap, SwapDevice, SwapError, SwpEntry, SwpOffset};

const CPU: CpuId = CpuId(0);
const C: u32 = 512;

fn order(order: u8) -> Order {
    Order::new(order).expect("an order")
}

fn ghost_on(swap: &Swap, max_pages: u32, spec: GhostSpec, priority: i16) -> Arc<SwapDevice> {
    let ghost = Arc::new(Ghost::new(max_pages, spec).expect("a size"));
    swap.swapon_storage(ghost, Some(priority), Discard::None).expect("a good device")
}

fn with_ghost(profile: Profile, max_pages: u32) -> (Swap, Arc<SwapDevice>) {
    let swap = Swap::new(2, profile).expect("two CPUs");
    let device = ghost_on(&swap, max_pages, GhostSpec::default(), 1);
    (swap, device)
}

/// Slots of `nr` requests of one page.
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

/// E12 as posted: the first cluster is on no list, large orders are refused.
#[test]
fn e12_series() {
    let (swap, device) = with_ghost(Profile::Series, 3072);
    assert_eq!(live(&device), [0]);
    assert_eq!(ranges(&take(&swap, 600)), [(512, 1111)]);
    (512..1024).for_each(|slot| swap.put(entry(&device, slot), 1, CPU).expect("in use"));
    assert_eq!(live(&device), [0, 2], "index 1 is destroyed");
    assert_eq!(ranges(&take(&swap, 1000)), [(1112, 1535), (512, 1023), (1536, 1599)], "the lowest free index is 1");
    assert_eq!(swap.alloc(order(4), CPU), Err(SwapError::NoSpace { nr_pages: 16 }));
    take(&swap, usize::MAX);
    assert_eq!((swap.inuse_pages(device.ty()), device.pages()), (2560, 3071), "no more can be used");
    assert_eq!(swap.dump_avail().len(), 1, "and it never counts as full");
    swap.check().expect("every invariant");
}

/// E12 as merged.
#[test]
fn e12_newest() {
    let (swap, device) = with_ghost(Profile::Newest, 3072);
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
    let (swap, device) = with_ghost(Profile::Newest, 4 * C);
    let slots = take(&swap, usize::MAX);
    assert_eq!(ranges(&slots), [(1, 4 * C - 1)]);
    slots.iter().for_each(|&slot| swap.put(entry(&device, slot), 1, CPU).expect("in use"));
    assert_eq!((live(&device), device.get(SwpOffset(0)).kind()), (vec![0], EntryKind::Bad));
    assert_eq!(device.memory().table_bytes, 4096);
    swap.check().expect("every invariant");
}

#[test]
fn a_tail_is_bad_once_its_cluster_exists_and_the_cluster_stays() {
    let (swap, device) = with_ghost(Profile::Newest, 2 * C + 100);
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
