//! Tests of requests that name their device: moves of data, groups whose policy names devices, and hooks. Such a
//! request does not change the slots that all other requests get.

use std::sync::{Arc, Mutex};

use swapcore::base::types::CssId;
use swapcore::memcg::{GroupPolicy, Hierarchy, MemcgPolicy};
use swapcore::table::Backing;
use swapcore::{
    Config, Discard, GroupHandle, MappedFolio, Moved, Order, Profile, Swap, SwapDevice, SwpEntry, SwpType, Visibility,
    Workers,
};

use crate::common::{C, CPU, ghost_on, order, ram, storage_on, virtual_spec};

const FAST_PRIORITY: i16 = 50;
const SLOW_PRIORITY: i16 = 5;

struct Machine {
    swap: Arc<Swap>,
    fast: Arc<SwapDevice>,
    slow: Arc<SwapDevice>,
}

fn machine_of(profile: Profile, nr_pages: u32) -> Machine {
    let config = Config { memcg: Some(Hierarchy::V2), ..Config::new(1, profile) };
    let swap = Arc::new(Swap::with_config(config).expect("a good config"));
    let fast = storage_on(&swap, ram(nr_pages), FAST_PRIORITY);
    let slow = storage_on(&swap, ram(nr_pages), SLOW_PRIORITY);
    Machine { swap, fast, slow }
}

impl Machine {
    fn out(&self, css: CssId, log2: u8) -> SwpEntry {
        let folio = self.swap.folio_with_in(order(log2), b"data", css, CPU).expect("memory");
        self.swap.swap_out(MappedFolio::map(folio), CPU).map_err(|kept| kept.error).expect("room")
    }

    /// Creates a group whose policy names `devices`.
    fn group(&self, name: &str, devices: &[SwpType]) -> GroupHandle {
        let group = GroupHandle::root(&self.swap).expect("memcg is on").create(name).expect("a new name");
        let policy = GroupPolicy { devices: Some(devices.to_vec()), ..GroupPolicy::default() };
        group.set_policy(policy).expect("the devices are on");
        group
    }

    fn inuse(&self) -> (u64, u64) {
        (self.swap.inuse_pages(self.fast.ty()), self.swap.inuse_pages(self.slow.ty()))
    }

    fn real_of(&self, entry: SwpEntry) -> SwpEntry {
        match self.swap.backing(entry, 1, CPU).expect("on").0 {
            Backing::Swapfile(real) => real,
            other => panic!("{entry} is on {other:?}"),
        }
    }
}

#[test]
fn a_page_of_a_group_with_a_device_table_leaves_the_placement_of_others() {
    for &profile in Profile::ALL {
        for log2 in [0, 4] {
            let machine = machine_of(profile, 16384);
            let batch = machine.group("batch", &[machine.slow.ty()]);
            let _first = machine.out(CssId::ROOT, log2);
            assert_eq!(machine.out(batch.css(), log2).ty(), machine.slow.ty(), "{profile:?}");
            for _ in 0..400 {
                assert_eq!(machine.out(CssId::ROOT, log2).ty(), machine.fast.ty(), "{profile:?}");
            }
            assert_eq!(machine.inuse(), (401 << log2, 1 << log2), "{profile:?}");
            machine.swap.check().expect("every invariant");
        }
    }
}

#[test]
fn a_move_of_data_leaves_the_placement_of_others() {
    let machine = machine_of(Profile::Newest, 4096);
    ghost_on(&machine.swap, 1 << 20, virtual_spec(Visibility::Visible), 10);
    let entry = machine.out(CssId::ROOT, 0);
    assert_eq!(machine.swap.move_backing(entry, machine.slow.ty(), CPU), Ok(Moved::Done));
    for _ in 0..400 {
        machine.out(CssId::ROOT, 0);
    }
    assert_eq!(machine.inuse(), (400, 1));
    machine.swap.check().expect("every invariant");
}

#[test]
fn requests_that_name_a_device_fill_its_clusters_in_order() {
    let machine = machine_of(Profile::Newest, 4096);
    let batch = machine.group("batch", &[machine.slow.ty()]);
    let out_both = |_| {
        machine.out(CssId::ROOT, 0);
        machine.out(batch.css(), 0)
    };
    let entries: Vec<SwpEntry> = (0..10).map(out_both).collect();
    assert_eq!(entries.iter().map(|entry| entry.offset().0).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!(machine.swap.dump_devices()[1].named_hints[0][0], entries[9].plus(1));
    machine.swap.check().expect("every invariant");
    entries.into_iter().for_each(|entry| machine.swap.put(entry, 1, CPU).expect("in use"));
    machine.swap.swapoff(&machine.slow, |_, _| Ok(())).expect("no slot is in use");
    machine.swap.check().expect("every invariant");
}

#[test]
fn a_request_that_names_a_device_discards_its_free_clusters() {
    let config = Config::new(1, Profile::Newest);
    let config = Config { memcg: Some(Hierarchy::V2), workers: Workers::Manual, ..config };
    let swap = Arc::new(Swap::with_config(config).expect("a good config"));
    let fast = storage_on(&swap, ram(C), FAST_PRIORITY);
    let slow = swap.swapon_storage(ram(2 * C), Some(SLOW_PRIORITY), Discard::Pages).expect("a good device");
    let machine = Machine { swap, fast, slow };
    let batch = machine.group("batch", &[machine.slow.ty()]);
    for _ in 0..3 {
        // All slots of cluster 1 are freed, so the cluster waits for its discard.
        let entries: Vec<_> = (1..2 * C).map(|_| machine.out(batch.css(), 0)).collect();
        entries.into_iter().for_each(|entry| machine.swap.put(entry, 1, CPU).expect("in use"));
    }
    assert_eq!(machine.inuse().1, 0);
    machine.swap.check().expect("every invariant");
}

#[test]
fn a_device_table_holds_behind_a_virtual_device() {
    let machine = machine_of(Profile::Newest, 4096);
    let ghost = ghost_on(&machine.swap, 1 << 20, virtual_spec(Visibility::Visible), 10);
    let batch = machine.group("batch", &[ghost.ty(), machine.slow.ty()]);
    let entry = machine.out(batch.css(), 4);
    assert_eq!((entry.ty(), machine.real_of(entry).ty()), (ghost.ty(), machine.slow.ty()));
    let below = machine.out(batch.create("below").expect("a new name").css(), 4);
    assert_eq!((below.ty(), machine.real_of(below).ty()), (ghost.ty(), machine.slow.ty()));
    let other = machine.out(CssId::ROOT, 4);
    assert_eq!(machine.real_of(other).ty(), machine.fast.ty());
    machine.swap.check().expect("every invariant");
}

#[test]
fn a_device_table_without_a_real_device_keeps_the_data_in_memory() {
    let machine = machine_of(Profile::Newest, 4096);
    let ghost = ghost_on(&machine.swap, 1 << 20, virtual_spec(Visibility::Visible), 10);
    let only_zswap = machine.group("only-zswap", &[ghost.ty()]);
    let folio = machine.swap.folio_with_in(Order::ZERO, b"data", only_zswap.css(), CPU).expect("memory");
    let kept = machine.swap.swap_out(MappedFolio::map(folio), CPU).expect_err("no device may hold the data");
    assert_eq!(kept.error.errno(), 28, "ENOSPC");
    machine.swap.folio_unmap(kept.folio, CPU).expect("a CPU");
    assert_eq!(machine.inuse(), (0, 0));
    machine.swap.check().expect("every invariant");
}

/// A hook that stores the devices that a call offers, and chooses the device `choice`.
#[derive(Debug)]
struct Chooser {
    choice: SwpType,
    offered: Mutex<Vec<SwpType>>,
}

impl MemcgPolicy for Chooser {
    fn choose_device(&self, _group: CssId, _order: Order, devices: &[SwpType]) -> Option<SwpType> {
        *self.offered.lock().expect("no panic") = devices.to_vec();
        Some(self.choice)
    }
}

#[test]
fn a_hook_may_choose_a_virtual_device() {
    let machine = machine_of(Profile::Newest, 4096);
    let ghost = ghost_on(&machine.swap, 1 << 20, virtual_spec(Visibility::Visible), 10);
    let hook = Arc::new(Chooser { choice: ghost.ty(), offered: Mutex::default() });
    machine.swap.set_policy(Some(Arc::clone(&hook) as Arc<dyn MemcgPolicy>));
    let entry = machine.out(CssId::ROOT, 0);
    assert_eq!((entry.ty(), machine.real_of(entry).ty()), (ghost.ty(), machine.fast.ty()));
    assert_eq!(*hook.offered.lock().expect("no panic"), [ghost.ty(), machine.fast.ty(), machine.slow.ty()]);
    machine.swap.check().expect("every invariant");
}
